"""The lightweight side of Textmill: submit documents, follow jobs, read outcomes."""

from producer.client import Textmill
from producer.feedback import Verdict
from producer.submit import Submission
from schema.documents import Document, JobOptions, Lane, Task
from schema.errors import (
    DocumentsGoneError,
    IdempotencyConflictError,
    InputError,
    JobNotFoundError,
    PendingLimitError,
    SchemaVersionError,
    ServiceUnavailableError,
    SettingsError,
    TextmillError,
)
from schema.states import DocumentStatus, JobState

__all__ = [
    "Document",
    "DocumentStatus",
    "DocumentsGoneError",
    "IdempotencyConflictError",
    "InputError",
    "JobNotFoundError",
    "JobOptions",
    "JobState",
    "Lane",
    "PendingLimitError",
    "SchemaVersionError",
    "ServiceUnavailableError",
    "SettingsError",
    "Submission",
    "Task",
    "Textmill",
    "TextmillError",
    "Verdict",
]
