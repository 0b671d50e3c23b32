"""What a claim took, and what fences the writes of its attempt."""

from dataclasses import dataclass
from typing import NamedTuple

from schema.documents import JobId, Lane, Task


class Fence(NamedTuple):
    """The values that every write after the claim must match."""

    job_id: JobId
    chunk_no: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim took: one attempt at a chunk, and the job's options for it.

    Attributes:
        job_id: the chunk's job.
        chunk_no: its number in the job.
        attempt: number of this attempt, from 1; the fencing token.
        task: the job's task.
        lane: the job's lane.
        first_seq: first document of the chunk.
        last_seq: last document of the chunk.
        errors: previous attempts that failed as a whole.
        explain: whether results say what moved their scores.
        generate: whether results give keywords that do not occur in the text.
        model_version: the model that the job is pinned to; None for the model that serves.
    """

    job_id: JobId
    chunk_no: int
    attempt: int
    task: Task
    lane: Lane
    first_seq: int
    last_seq: int
    errors: int
    explain: bool
    generate: bool
    model_version: str | None

    @property
    def fence(self) -> Fence:
        """The attempt as the database identifies it."""
        return Fence(self.job_id, self.chunk_no, self.attempt)
