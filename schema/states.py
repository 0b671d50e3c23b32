"""States, and every legal transition between them.

Triggers enforce these tables for jobs and chunks; a test compares the two.
"""

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    """The state of a job.

    `loading` jobs are invisible. `cancelling` jobs end as soon as their chunks are closed: as
    `cancelled` if a person ended them, as `expired` if their deadline did.
    """

    LOADING = "loading"
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class DocumentStatus(StrEnum):
    """What became of a document so far: its outcome, or `pending`."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PENDING = "pending"


class ChunkState(StrEnum):
    """The state of a chunk; `split` chunks were replaced by their halves."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    DONE = "done"
    SPLIT = "split"
    CANCELLED = "cancelled"


class AttemptEnd(StrEnum):
    """How an attempt that wrote no outcomes ends, as an argument of `textmill.end_attempt`.

    `released` does not count against the chunk, `crashed` makes it a suspect, `retry` makes it
    wait, and `given_up` halves it.
    """

    RELEASED = "released"
    CRASHED = "crashed"
    RETRY = "retry"
    GIVEN_UP = "given_up"


class SweepRunState(StrEnum):
    """The state of a sweep's run.

    A `settling` run waits for rows that are committed late, a `running` one for its job. A run
    that finds no rows finishes without a job.
    """

    SETTLING = "settling"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class TrainingRunState(StrEnum):
    """The state of a training run on feedback."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


class Agreement(StrEnum):
    """What a verdict says about a result: that it is right, or not."""

    AGREE = "agree"
    DISAGREE = "disagree"


class FeedbackState(StrEnum):
    """The state of the verdicts on a document, computed again with each verdict.

    `agreed`: all give the same answer; `disputed`: they do not; `adjudicated`: one decides for all.
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
    JobState.CANCELLED: frozenset({JobState.PENDING, JobState.RUNNING}),  # retry
    JobState.EXPIRED: frozenset({JobState.PENDING, JobState.RUNNING}),  # retry
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
    ChunkState.CANCELLED: frozenset({ChunkState.PENDING}),  # retry
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
"""States of jobs whose chunks are dispatched and claimed; the SQL that does so spells them out."""

TERMINAL_JOB_STATES = (JobState.COMPLETED, JobState.CANCELLED, JobState.EXPIRED)
"""States of jobs in which every document has its outcome."""
