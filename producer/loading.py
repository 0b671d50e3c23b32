"""A job while its documents arrive."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast
from uuid import UUID

import sqlalchemy as sa

from producer.batches import Batch
from producer.pressure import check_pressure
from schema.documents import JobId, JobOptions, Task
from schema.errors import ServiceUnavailableError
from schema.outcomes import ErrorCode, Stage
from schema.settings import IntakeSettings

if TYPE_CHECKING:
    import psycopg


def reserve(connection: sa.Connection) -> JobId:
    """An id for a job, and the partition that its rows will lie in; commits."""
    connection.execute(sa.text("select textmill.make_partitions(1)"))
    job_id = connection.execute(sa.text("select textmill.new_job_id()")).scalar_one()
    connection.commit()
    return JobId(job_id)


class Load:
    """One job in state `loading`, inside the transactions of `connection`'s owner.

    Attributes:
        job_id: id of the job, which exists from the first batch on.
        accepted: records added so far.
        rejected: of these, the refused ones; after `open` the duplicates count too.
    """

    def __init__(
        self,
        connection: sa.Connection,
        job_id: JobId,
        task: Task,
        options: JobOptions,
        *,
        submitter: str,
        limits: IntakeSettings,
    ) -> None:
        self.job_id = job_id
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
        """COPY a batch of records, with their chunks, into the job."""
        if not self._created:
            self._create()
        self._copy("document (job_id, seq, external_id, text, metadata, line)", batch.documents)
        self._copy_rows("chunk (job_id, chunk_no, first_seq, last_seq, tokens)", batch.chunks)
        self._copy_rows("failure (job_id, seq, code, stage, message, attempt)", batch.failures)
        self.accepted += batch.accepted
        self.rejected += len(batch.failures)
        updated = self._connection.execute(
            sa.text(
                "update textmill.job set accepted = :accepted, rejected = :rejected,"
                " failed = :rejected, loaded_at = now() where job_id = :job_id"
            ),
            {"accepted": self.accepted, "rejected": self.rejected, "job_id": self.job_id},
        )
        if updated.rowcount == 0:
            msg = (
                "the job was purged while it loaded, because no documents came for"
                f" {self._limits.abandoned_after:.0f} s; submit again,"
                " or raise TEXTMILL_ABANDONED_AFTER"
            )
            raise ServiceUnavailableError(msg)

    def commit(self) -> None:
        """Keep what was added; no transaction is open after it.

        Once the job is open, what was committed survives a crash of the server. Before, it need
        not: a load that lost its server is given up.

        Raises:
            PendingLimitError: a limit would be exceeded.
        """
        check_pressure(self._connection, self._submitter, self.accepted, self._limits)
        if not self._opened:
            self._connection.execute(sa.text("set local synchronous_commit = off"))
        self._connection.commit()

    def open(
        self, content_hash: bytes | None, on_open: Callable[[sa.Connection, JobId], None]
    ) -> bool:
        """Refuse duplicates and make the job visible.

        Args:
            content_hash: of all records; None without an idempotency key.
            on_open: takes part in the transaction, once the job is open.

        Returns:
            False when another job holds the idempotency key; this one was not opened.
        """
        self._refuse_duplicates()
        key = self._options.idempotency_key
        if key is not None and not self._take_key(key, content_hash):
            return False
        self._connection.execute(
            sa.text(
                "update textmill.job set rejected = :rejected, failed = :rejected,"
                " state = case when accepted = :rejected then 'completed' else 'pending' end,"
                " finished_at = case when accepted = :rejected then now() end"
                " where job_id = :job_id and state = 'loading'"
            ),
            {"rejected": self.rejected, "job_id": self.job_id},
        )
        self._connection.execute(sa.text("notify textmill_pending"))
        on_open(self._connection, self.job_id)
        self._opened = True
        return True

    def discard(self) -> None:
        """Undo the load, also what earlier transactions committed of it."""
        if self._connection.invalidated or self._connection.closed:
            return  # the purge of abandoned loads will do it
        self._connection.rollback()
        if self._created:
            purge(self._connection, self.job_id)
            self._connection.commit()

    def _create(self) -> None:
        self._connection.execute(
            sa.text(
                "insert into textmill.job"
                " (job_id, task, lane, name, submitted_by, weight, deadline_at, options)"
                " values (:job_id, :task, :lane, :name, :submitter, :weight, :deadline_at,"
                " cast(:options as jsonb))"
            ),
            {
                "job_id": self.job_id,
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
        )
        self._created = True

    def _copy(self, target: str, rows: bytes) -> None:
        with self._copying(target) as copy:
            copy.write(rows)

    def _copy_rows(self, target: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        with self._copying(target) as copy:
            for row in rows:
                copy.write_row(row)

    @contextmanager
    def _copying(self, target: str) -> Iterator["psycopg.Copy"]:
        driver = self._connection.connection.driver_connection
        with (
            cast("psycopg.Connection", driver).cursor() as cursor,
            cursor.copy(f"copy textmill.{target} from stdin") as copy,
        ):
            yield copy

    def _refuse_duplicates(self) -> None:
        """Fail every document whose id another document of the job had before it."""
        refused = self._connection.execute(
            sa.text("""
                with ranked as (
                    select seq, external_id,
                        row_number() over (partition by external_id order by seq) as n,
                        first_value(seq) over (partition by external_id order by seq) as first
                    from textmill.document
                    where job_id = :job_id and text is not null
                ), refused as (
                    insert into textmill.failure (job_id, seq, code, stage, message, attempt)
                    select :job_id, seq, :code, :stage,
                        format('id %s was given before, by document %s of this job; '
                            'ids are unique within a job', to_json(external_id), first), 0
                    from ranked where n > 1
                    returning seq
                )
                update textmill.document d set text = null, metadata = null
                from refused where d.job_id = :job_id and d.seq = refused.seq
            """),
            {"job_id": self.job_id, "code": ErrorCode.DUPLICATE_ID, "stage": Stage.INTAKE},
        )
        self.rejected += refused.rowcount

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


def purge(connection: sa.Connection, job_id: UUID) -> None:
    """Remove a job that is still loading, with all that was loaded of it."""
    found = connection.execute(
        sa.text(
            "delete from textmill.job where job_id = :job_id and state = 'loading' returning job_id"
        ),
        {"job_id": job_id},
    )
    if found.rowcount:
        for table in ("document", "failure"):
            connection.execute(
                sa.text(f"delete from textmill.{table} where job_id = :job_id"),  # noqa: S608
                {"job_id": job_id},
            )
