"""The Celery message: a pointer to a chunk, never its content."""

from typing import Annotated, Final, Literal

from pydantic import Field

from schema.base import Frozen
from schema.documents import JobId, Lane, Task

MESSAGE_VERSION: Final = 1
TASK_NAME = "textmill.process_chunk"

PENDING_CHANNEL: Final = "textmill_pending"
"""Channel on which Postgres announces submitted and finished chunks, whether from here or SQL."""


class ChunkMessage(Frozen):
    """Points at one chunk of one job."""

    v: Literal[1] = MESSAGE_VERSION
    job_id: JobId
    chunk_no: Annotated[int, Field(ge=0)]
    task: Task


def queue_name(task: Task, lane: Lane) -> str:
    """The queue that carries chunks of `task` in `lane`; its name holds the message version."""
    return f"textmill.v{MESSAGE_VERSION}.{task}.{lane}"


def broker_options(key_prefix: str) -> dict[str, object]:
    """Options of the Redis transport, the same for every publisher and consumer.

    Args:
        key_prefix: put before every key, since several applications may share a Redis.
    """
    return {
        "global_keyprefix": key_prefix,
        # Far longer than a chunk takes: a redelivered message is only noise, because dispatch
        # publishes unclaimed chunks again. It has to be the same everywhere.
        "visibility_timeout": 3600,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 15,
    }
