"""A job while its documents are loaded."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa
from psycopg.pq import TransactionStatus

from producer.batches import CHUNK_COLUMNS, DOCUMENT_COLUMNS, FAILURE_COLUMNS, Batch
from producer.pending_limits import check_pending
from schema.database_errors import condition
from schema.documents import JobId, JobOptions, Task
from schema.errors import ServiceUnavailableError
from schema.settings import IntakeSettings

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger(__name__)

PURGED_AT_ONCE = 20_000
"""Documents that one transaction removes from an abandoned load."""


class Load:
    """One job in state `loading`, inside the transactions of `connection`'s owner.

    Args:
        connection: in whose transactions the job is loaded.
        task: of the job.
        options: how the job is to be run.
        submitter: in whose name it is submitted; idempotency keys are unique per submitter.
        limits: how many documents may be pending.

    Attributes:
        job_id: id of the job, set by the first batch.
        accepted: records added so far.
        rejected: the rejected ones among them; after `open`, duplicates count too.
    """

    job_id: JobId

    def __init__(
        self,
        connection: sa.Connection,
        task: Task,
        options: JobOptions,
        *,
        submitter: str,
        limits: IntakeSettings,
    ) -> None:
        self.accepted = 0
        self.rejected = 0
        self._connection = connection
        self._task = task
        self._options = options
        self._submitter = submitter
        self._limits = limits
        self._created = False
        self._opened = False

    def add(self, batch: Batch) -> None:
        """COPY a batch of records, with their chunks, into the job.

        Raises:
            ServiceUnavailableError: part of what was committed before is gone.
        """
        if not self._created:
            self._create()
        before = self.accepted
        self.accepted += len(batch.documents)
        self.rejected += len(batch.failures)
        # This comes first: it locks the job against a purge, and begins a transaction that
        # SQLAlchemy knows about, since COPY bypasses SQLAlchemy.
        updated = self._connection.execute(
            sa.text(
                "update textmill.job set accepted = :accepted, rejected = :rejected,"
                " failed = :rejected, loaded_at = now()"
                " where job_id = :job_id and accepted = :before"
            ),
            {
                "accepted": self.accepted,
                "rejected": self.rejected,
                "job_id": self.job_id,
                "before": before,
            },
        )
        if updated.rowcount == 0:
            msg = (
                "the job was purged while it loaded, because no documents came for"
                f" {self._limits.abandoned_after:.0f} s, or Postgres lost part of it in a crash;"
                " submit again; against a purge, raise TEXTMILL_ABANDONED_AFTER"
            )
            raise ServiceUnavailableError(msg)
        self._copy_documents(batch.documents)
        self._copy("chunk", CHUNK_COLUMNS, batch.chunks)
        self._copy("failure", FAILURE_COLUMNS, batch.failures)

    def commit(self) -> None:
        """Commit what was added; no transaction is open afterwards.

        Once the job is open, all of it survives a crash of the server. Before that, it need not:
        the next batch finds that something is missing, and the load is given up.

        Raises:
            PendingLimitError: a limit would be exceeded.
        """
        adding = self.accepted - self.rejected  # rejected records are not pending
        check_pending(self._connection, self._submitter, adding, self._limits)
        if not self._opened:
            self._connection.execute(sa.text("set local synchronous_commit = off"))
        self._connection.commit()

    def open(self, content_hash: bytes | None) -> bool:
        """Reject duplicates and make the job visible.

        Args:
            content_hash: of all records; None without an idempotency key.

        Returns:
            False if another job holds the idempotency key; this one was then not opened.
        """
        self.rejected += self._connection.execute(
            sa.text("select textmill.reject_duplicates(:job_id)"), {"job_id": self.job_id}
        ).scalar_one()
        key = self._options.idempotency_key
        if key is not None and not self._take_key(key, content_hash):
            return False
        self._connection.execute(
            sa.text("select textmill.open_job(:job_id, :accepted, :rejected)"),
            {"job_id": self.job_id, "accepted": self.accepted, "rejected": self.rejected},
        )
        self._opened = True
        return True

    def discard(self) -> None:
        """Undo the load, including what earlier transactions committed.

        If Postgres prevents this, dispatch does it later, since it purges abandoned loads.
        """
        if self._connection.invalidated or self._connection.closed:
            return
        try:
            self._undo()
        except sa.exc.DBAPIError as error:
            logger.warning("what was loaded is left for dispatch to purge: %s", condition(error))

    def _undo(self) -> None:
        if self._driver.info.transaction_status is TransactionStatus.ACTIVE:
            # Interrupted in the middle of a statement: only another connection can be used.
            self._connection.invalidate()
        self._connection.rollback()
        done = not self._created
        while not done:
            done = purge_part(self._connection, self.job_id)
            self._connection.commit()

    @property
    def _driver(self) -> "psycopg.Connection":
        return cast("psycopg.Connection", self._connection.connection.driver_connection)

    def _create(self) -> None:
        self._connection.execute(sa.text("select textmill.make_partitions(1)"))
        self.job_id = self._connection.execute(
            sa.text(
                "insert into textmill.job"
                " (task, lane, name, submitted_by, weight, deadline_at, options)"
                " values (:task, :lane, :name, :submitter, :weight, :deadline_at,"
                " cast(:options as jsonb))"
                " returning job_id"
            ),
            {
                "task": self._task,
                "lane": self._options.lane,
                "name": self._options.name,
                "submitter": self._submitter,
                "weight": self._options.weight,
                "deadline_at": self._options.deadline_at,
                "options": self._options.model_dump_json(
                    include={"explain", "generate", "model_version"}, exclude_defaults=True
                ),
            },
        ).scalar_one()
        self._created = True

    def _copy_documents(self, rows: Sequence[bytes]) -> None:
        if not rows:
            return
        job_id = f"{self.job_id}\t".encode()
        # The session's encoding may differ from that of the rows.
        with self._copying("document", DOCUMENT_COLUMNS, "(encoding 'UTF8')") as copy:
            copy.write(job_id + (b"\n" + job_id).join(rows) + b"\n")

    def _copy(self, table: str, columns: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        with self._copying(table, columns) as copy:
            for row in rows:
                copy.write_row((self.job_id, *row))

    @contextmanager
    def _copying(self, table: str, columns: str, options: str = "") -> Iterator["psycopg.Copy"]:
        statement = f"copy textmill.{table} (job_id, {columns}) from stdin {options}"
        with self._driver.cursor() as cursor, cursor.copy(statement) as copy:
            yield copy

    def _take_key(self, key: str, content_hash: bytes | None) -> bool:
        try:
            with self._connection.begin_nested():
                self._connection.execute(
                    sa.text(
                        "update textmill.job set idempotency_key = :key,"
                        " content_hash = :content_hash where job_id = :job_id"
                    ),
                    {"key": key, "content_hash": content_hash, "job_id": self.job_id},
                )
        except sa.exc.IntegrityError:
            return False
        return True


def purge_part(connection: sa.Connection, job_id: JobId) -> bool:
    """Remove a part of a loading job, the last documents first; at the end, remove the job.

    The job's count is lowered to the documents that are left, so a process that is still loading it
    finds a count that it did not leave, and adds no more. The next check for abandoned loads
    continues a purge that was interrupted.

    Returns:
        Whether nothing is left.
    """
    left = connection.scalar(
        sa.text(
            "update textmill.job set accepted = greatest(accepted - :most, 0),"
            " rejected = 0, failed = 0"
            " where job_id = :job_id and state = 'loading' returning accepted"
        ),
        {"job_id": job_id, "most": PURGED_AT_ONCE},
    )
    if left is None:
        return True
    # Deletes a range instead of searching for the last rows: a search would pass over all rows
    # that were deleted before and have not been vacuumed.
    for table in ("failure", "document"):
        connection.execute(
            sa.text(
                f"delete from textmill.{table} where job_id = :job_id"  # noqa: S608
                " and seq > :left and seq <= :left + :most"
            ),
            {"job_id": job_id, "left": left, "most": PURGED_AT_ONCE},
        )
    if left > 0:
        return False
    connection.execute(
        sa.text("delete from textmill.job where job_id = :job_id"), {"job_id": job_id}
    )
    return True
