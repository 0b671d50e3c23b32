"""What a producer hands over: documents, rejected records, and a job's options."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, NewType
from uuid import UUID

from pydantic import AwareDatetime, Field, JsonValue, StringConstraints

from schema.base import Frozen
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS, ErrorCode

JobId = NewType("JobId", UUID)


class Task(StrEnum):
    """The three kinds of analysis."""

    SENTIMENT = "sentiment"
    KEYWORDS = "keywords"
    MODERATION = "moderation"


LABELS: Mapping[Task, tuple[str, ...]] = {
    Task.SENTIMENT: SENTIMENT_LABELS,
    Task.MODERATION: MODERATION_LABELS,
}
"""The labels of the tasks that have a closed set of them."""


class Lane(StrEnum):
    """Interactive jobs go first; bulk jobs fill the rest of the machine."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


class Document(Frozen):
    """One input text.

    Attributes:
        external_id: the producer's own id, unique within the job; None lets intake use the
            document's position in the job, counted from 1.
        text: what is analysed; spans in results count its code points.
        metadata: stored with the document and returned with its outcome.
        line: where the document stood in its file, counted from 1.
    """

    external_id: str | None = None
    text: str
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    line: int | None = None


class Rejected(Frozen):
    """A record rejected at intake; it counts as a failed document of its job.

    Attributes:
        external_id: the producer's id, if it could be read.
        line: the record's line in its file, counted from 1.
        code: why it was rejected.
        message: what is wrong and how to fix it; never holds the text itself.
    """

    external_id: str | None = None
    line: int | None = None
    code: ErrorCode
    message: str


Record = Document | Rejected

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Deadline = Annotated[
    AwareDatetime,
    Field(ge=datetime(1970, 1, 1, tzinfo=UTC), le=datetime(9999, 1, 1, tzinfo=UTC)),
]
"""What `job.deadline_at` accepts: a time that every program can read, in any time zone."""


class JobOptions(Frozen):
    """How a job is to be run.

    Attributes:
        name: name of the job, for people.
        lane: which queue it goes through.
        idempotency_key: submitting again with the same key and content returns the first job.
        weight: share of the machine, relative to the other jobs of its lane.
        deadline_at: when to end the job, keeping what is done.
        explain: whether results say which parts of a document moved its score, at the cost of about
            twice as many forward passes as there are words; for sentiment and moderation.
        generate: whether results also give keywords that do not occur in the text; for keywords, if
            the model has a generator.
        model_version: version of the model to use, or at least its first 8 characters, whatever is
            promoted; None uses the model that serves when a chunk begins.
    """

    name: ShortText | None = None
    lane: Lane = Lane.BULK
    idempotency_key: ShortText | None = None
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    deadline_at: Deadline | None = None
    explain: bool = False
    generate: bool = False
    model_version: ShortText | None = None


def option_fault(task: Task, *, explain: bool, generate: bool) -> tuple[str, str] | None:
    """The option that does not fit the task, and why; None if all fit."""
    if explain and task is Task.KEYWORDS:
        return "explain", "keywords have no score of the document to explain"
    if generate and task is not Task.KEYWORDS:
        return "generate", f"only keywords can be generated, not {task}"
    return None
