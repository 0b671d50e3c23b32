"""Recognise a submit that was made before, by its idempotency key.

The same key with the same content stands for the first job, with other content for a mistake.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import sqlalchemy as sa

from schema.documents import Document, JobId, Record, Task
from schema.errors import IdempotencyConflictError
from schema.tables import job


class FirstJob(NamedTuple):
    """The job that took an idempotency key."""

    job_id: JobId
    content_hash: bytes
    accepted: int
    rejected: int


class Idempotency:
    """The idempotency key of a submit, if it has one, and the hash of what is submitted.

    Args:
        submitter: in whose name the job is submitted; keys are unique per submitter.
        key: the key; without one, nothing is hashed and no job is found.
        task: hashed together with the records.
    """

    def __init__(self, submitter: str, key: str | None, task: Task) -> None:
        self._submitter = submitter
        self._key = key
        self._hash = hashlib.sha256(task.encode())

    @property
    def content_hash(self) -> bytes | None:
        """SHA-256 of the task and the records that were read; None without a key."""
        return None if self._key is None else self._hash.digest()

    def hashing(self, records: Iterable[Record]) -> Iterable[Record]:
        """The same records, which are hashed while they are read."""
        return records if self._key is None else self._hashed(records)

    def first_job(self, connection: sa.Connection) -> FirstJob | None:
        """The job that has the key; None if there is none."""
        if self._key is None:
            return None
        row = connection.execute(
            sa.select(job.c.job_id, job.c.content_hash, job.c.accepted, job.c.rejected).where(
                job.c.submitted_by == self._submitter, job.c.idempotency_key == self._key
            )
        ).one_or_none()
        return None if row is None else FirstJob(*row)

    def check(self, first: FirstJob | None) -> FirstJob:
        """Check that the first job holds the content that was hashed, and return it.

        Raises:
            IdempotencyConflictError: it holds other content, or is gone.
        """
        if first is None:
            msg = "the job that held the idempotency key is gone; submit again"
            raise IdempotencyConflictError(msg)
        if first.content_hash != self.content_hash:
            msg = (
                f"the idempotency key was used before, by job {first.job_id}, for another task or"
                " other documents; choose another key"
            )
            raise IdempotencyConflictError(msg)
        return first

    def _hashed(self, records: Iterable[Record]) -> Iterator[Record]:
        for record in records:
            fields = (
                (record.external_id, record.text, record.metadata)
                if isinstance(record, Document)
                else (record.external_id, record.code, record.line)
            )
            self._hash.update(json.dumps(fields, sort_keys=True).encode() + b"\n")
            yield record
