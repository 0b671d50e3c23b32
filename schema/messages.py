"""The Celery message: a pointer to a chunk, never its content."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from schema.base import Frozen
from schema.documents import Lane, Task

MESSAGE_VERSION = 1
KEY_PREFIX = "textmill:"
TASK_NAME = "textmill.process_chunk"


class ChunkMessage(Frozen):
    """Points at one chunk of one job."""

    v: Literal[1] = MESSAGE_VERSION
    job_id: UUID
    chunk_no: Annotated[int, Field(ge=0)]
    task: Task


def queue_name(task: Task, lane: Lane) -> str:
    """The queue that carries chunks of `task` in `lane`; its name holds the message version."""
    return f"textmill.v{MESSAGE_VERSION}.{task}.{lane}"
