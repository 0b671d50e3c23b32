"""The light side of Textmill: hand documents over, watch jobs, read outcomes."""

from producer.client import Textmill
from producer.submit import Submission
from schema.documents import Document, JobOptions, Lane, Task

__all__ = ["Document", "JobOptions", "Lane", "Submission", "Task", "Textmill"]
