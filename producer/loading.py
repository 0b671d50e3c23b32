"""A job while its documents arrive."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast
from uuid import UUID

import sqlalchemy as sa

from producer.pressure import check_pressure
from schema.documents import Document, JobId, JobOptions, Record, Rejected, Task
from schema.errors import ServiceUnavailableError
from schema.outcomes import ErrorCode, Stage
from schema.settings import IntakeSettings

if TYPE_CHECKING:
    import psycopg

BYTES_PER_TOKEN = 4
"""Of UTF-8: an English word piece has about four letters, a Chinese word of 1.5 characters 4.5."""


class Load:
    """One job in state `loading`, inside the transactions of `connection`'s owner.

    Attributes:
        job_id: id of the job, set by the first batch.
        accepted: records added so far.
        rejected: of these, the refused ones; after `open` the duplicates count too.
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
        self._chunks = 0
        self._created = False

    def add(self, records: Sequence[Record]) -> None:
        """COPY a batch of records, with their chunks, into the job."""
        if not self._created:
            self._create()
        first = self.accepted + 1
        self._copy_documents(first, records)
        self._copy_failures(first, records)
        self._copy_chunks(first, records)
        self.accepted += len(records)
        self.rejected += sum(isinstance(record, Rejected) for record in records)
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

        Raises:
            PendingLimitError: a limit would be exceeded.
        """
        check_pressure(self._connection, self._submitter, self.accepted, self._limits)
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

    def _copy_documents(self, first: int, records: Sequence[Record]) -> None:
        job_id = str(self.job_id)  # written out once, not for every row
        rows = (
            (
                job_id,
                seq,
                record.external_id if record.external_id is not None else str(seq),
                record.text,
                json.dumps(record.metadata, ensure_ascii=False) if record.metadata else None,
                record.line,
            )
            if isinstance(record, Document)
            else (job_id, seq, record.external_id, None, None, record.line)
            for seq, record in enumerate(records, first)
        )
        self._copy("document (job_id, seq, external_id, text, metadata, line)", rows)

    def _copy_failures(self, first: int, records: Sequence[Record]) -> None:
        rows = (
            (self.job_id, seq, record.code, Stage.INTAKE, record.message, 0)
            for seq, record in enumerate(records, first)
            if isinstance(record, Rejected)
        )
        self._copy("failure (job_id, seq, code, stage, message, attempt)", rows)

    def _copy_chunks(self, first: int, records: Sequence[Record]) -> None:
        rows = []
        for start, stop, tokens in cut(records, self._limits):
            rows.append((self.job_id, self._chunks, first + start, first + stop - 1, tokens))
            self._chunks += 1
        self._copy("chunk (job_id, chunk_no, first_seq, last_seq, tokens)", rows)

    def _copy(self, target: str, rows: Iterable[tuple[object, ...]]) -> None:
        driver = self._connection.connection.driver_connection
        with (
            cast("psycopg.Connection", driver).cursor() as cursor,
            cursor.copy(f"copy textmill.{target} from stdin") as copy,
        ):
            for row in rows:
                copy.write_row(row)

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


def cut(records: Sequence[Record], limits: IntakeSettings) -> Iterator[tuple[int, int, int]]:
    """Cut records into chunks, bounded by documents and by estimated tokens.

    Yields:
        `(start, stop, tokens)` of each chunk, half-open positions in `records`. Refused records
        take no part in the bounds; a run of nothing else is no chunk.
    """
    start = documents = tokens = 0
    for position, record in enumerate(records):
        if isinstance(record, Rejected):
            continue
        cost = len(record.text.encode()) // BYTES_PER_TOKEN + 1
        full = documents == limits.chunk_documents or tokens + cost > limits.chunk_tokens
        if documents and full:
            yield start, position, tokens
            start, documents, tokens = position, 0, 0
        documents += 1
        tokens += cost
    if documents:
        yield start, len(records), tokens


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
