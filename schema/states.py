"""States, and every legal transition between them.

Triggers hold jobs and chunks to these tables; a test compares the two.
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


class SweepRunState(StrEnum):
    """Where a run of a sweep stands.

    A `settling` one waits for rows that are committed late, a `running` one for its job. One that
    finds no row finishes without a job.
    """

    SETTLING = "settling"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class TrainingRunState(StrEnum):
    """Where a training on feedback stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class Agreement(StrEnum):
    """What a verdict says of a result: that it is right, or not."""

    AGREE = "agree"
    DISAGREE = "disagree"


class FeedbackState(StrEnum):
    """Where the verdicts on a document stand; worked out anew with each of them.

    `agreed`: all give one answer; `disputed`: they do not; `adjudicated`: someone decided for all.
    """

    AGREED = "agreed"
    DISPUTED = "disputed"
    ADJUDICATED = "adjudicated"


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

SWEEP_RUN_TRANSITIONS: Mapping[SweepRunState, frozenset[SweepRunState]] = {
    SweepRunState.SETTLING: frozenset(
        {SweepRunState.RUNNING, SweepRunState.FINISHED, SweepRunState.FAILED}
    ),
    SweepRunState.RUNNING: frozenset({SweepRunState.FINISHED}),
    SweepRunState.FINISHED: frozenset(),
    SweepRunState.FAILED: frozenset(),
}

RUNNABLE_JOB_STATES = (JobState.PENDING, JobState.RUNNING)
"""Those of jobs whose chunks are dispatched and claimed; the statements that do so spell them."""

TERMINAL_JOB_STATES = (JobState.COMPLETED, JobState.CANCELLED, JobState.EXPIRED)
"""Those of jobs in which every document has its outcome."""
