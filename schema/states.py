"""Job and chunk states, and every legal transition between them.

Triggers hold the database to these tables; a test compares the two.
"""

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands.

    `loading` jobs are invisible; `cancelling` ones end as soon as their chunks are closed:
    `cancelled` when a person ended them, `expired` when their deadline did.
    """

    LOADING = "loading"
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class ChunkState(StrEnum):
    """Where a chunk stands; `split` chunks were replaced by their halves."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    DONE = "done"
    SPLIT = "split"
    CANCELLED = "cancelled"


class AttemptEnd(StrEnum):
    """How an attempt ends that wrote no outcomes, as `textmill.end_attempt` takes it.

    A `released` one counts for nothing, `crashed` makes its chunk a suspect, after `retry` it
    waits, and a `given_up` chunk is halved.
    """

    RELEASED = "released"
    CRASHED = "crashed"
    RETRY = "retry"
    GIVEN_UP = "given_up"


JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.LOADING: frozenset({JobState.PENDING, JobState.COMPLETED}),
    JobState.PENDING: frozenset({JobState.RUNNING, JobState.PAUSED, JobState.CANCELLING}),
    JobState.RUNNING: frozenset({JobState.COMPLETED, JobState.PAUSED, JobState.CANCELLING}),
    JobState.PAUSED: frozenset(
        {JobState.PENDING, JobState.RUNNING, JobState.COMPLETED, JobState.CANCELLING}
    ),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.EXPIRED}),
    JobState.COMPLETED: frozenset({JobState.RUNNING}),  # retry of its failures
    JobState.CANCELLED: frozenset(),
    JobState.EXPIRED: frozenset(),
}

CHUNK_TRANSITIONS: Mapping[ChunkState, frozenset[ChunkState]] = {
    ChunkState.PENDING: frozenset({ChunkState.DISPATCHED, ChunkState.CANCELLED}),
    ChunkState.DISPATCHED: frozenset(
        {ChunkState.RUNNING, ChunkState.PENDING, ChunkState.CANCELLED}
    ),
    ChunkState.RUNNING: frozenset(
        {ChunkState.DONE, ChunkState.PENDING, ChunkState.SPLIT, ChunkState.CANCELLED}
    ),
    ChunkState.DONE: frozenset({ChunkState.PENDING}),  # retry of its failures
    ChunkState.SPLIT: frozenset(),
    ChunkState.CANCELLED: frozenset(),
}

TERMINAL_JOB_STATES = frozenset({JobState.COMPLETED, JobState.CANCELLED, JobState.EXPIRED})
