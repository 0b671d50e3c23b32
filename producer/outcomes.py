"""The outcomes of a job, one by one, and why some were rejected."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict, cast

import sqlalchemy as sa

from producer import jobs
from schema.database import reachable
from schema.documents import JobId
from schema.errors import DocumentsGoneError
from schema.outcomes import ErrorCode
from schema.states import DocumentStatus

ROWS_AT_ONCE = 1000
"""Most outcomes fetched, and held, at once."""

BYTES_AT_ONCE = 16_000_000
"""Bytes of texts, if these are requested, after which no further outcome is fetched at once."""


class OutcomeRow(TypedDict):
    """A document with its outcome; what does not apply is None.

    Attributes:
        external_id: the producer's id; None if a rejected record had none that could be read.
        status: a `DocumentStatus`.
        result: the result of the task, as `schema.outcomes` describes it.
        error: `code`, `stage` and `message` of a failure.
        metadata: what was submitted with the text.
        line: the document's line in its file.
        text: the document's text, if requested; None if the document was rejected or erased.
    """

    external_id: str | None
    status: str
    result: dict[str, Any] | None
    error: dict[str, str] | None
    metadata: dict[str, Any] | None
    line: int | None
    text: NotRequired[str | None]


TEXT = "text"
"""The field for a document's text, which a row has if texts are requested."""

FIELDS = tuple(name for name in OutcomeRow.__annotations__ if name != TEXT)
"""The other fields of a row, in this order."""


def outcomes(
    engine: sa.Engine,
    job_id: JobId,
    *,
    texts: bool = False,
    status: DocumentStatus | None = None,
) -> Generator[OutcomeRow]:
    """Stream every document of a job with its outcome, in the order of submission.

    A slow reader blocks nothing: each page of rows is read by a separate statement, and between two
    pages no transaction is open and no connection is held. Every document appears once, and each
    page shows a single moment, but different pages show different moments. If the job meanwhile
    continues, is retried or cancelled, or has a document erased, the first rows may be older than
    the last ones: they add up to the job's counters only if it had ended before.

    Args:
        engine: database of the job.
        job_id: the job.
        texts: whether rows also hold the documents' texts.
        status: only documents of this status; None: of any. All are read all the same.

    Raises:
        DocumentsGoneError: the job's month was pruned, perhaps while it was read; the rows read so
            far are not all.
        JobNotFoundError: there is no such job.
        ServiceUnavailableError: Postgres does not answer, here or while rows are read.
    """
    accepted = jobs.status(engine, job_id).accepted
    if are_gone(engine, job_id):
        raise documents_gone(job_id)
    rows = _outcomes(engine, job_id, accepted, texts=texts)
    return rows if status is None else (row for row in rows if row["status"] == status)


class RejectedCount(NamedTuple):
    """How often an error code of intake occurs in a job, with one of its messages."""

    code: str
    documents: int
    example: str


def rejected_counts(engine: sa.Engine, job_id: JobId) -> list[RejectedCount]:
    """Why documents of a job were rejected at intake, the most frequent reason first.

    A damaged file precedes all other reasons: it is rejected once for any number of documents.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(
            sa.text("""
                select code, documents, example from textmill.job_failure_summary
                where job_id = :job_id and stage = 'intake'
                order by code = :damaged desc, documents desc, code
            """),
            {"job_id": job_id, "damaged": ErrorCode.DAMAGED_FILE},
        )
        return [RejectedCount(*row) for row in rows]


def are_gone(engine: sa.Engine, job_id: JobId) -> bool:
    """Whether a job has counted documents, results or failures of which none is left."""
    with reachable(engine), engine.connect() as connection:
        return _are_gone(connection, job_id)


def _are_gone(connection: sa.Connection, job_id: JobId) -> bool:
    return bool(
        connection.scalar(
            sa.text("""
                select accepted > 0
                        and not exists (select from textmill.document where job_id = :job_id)
                    or succeeded > 0
                        and not exists (select from textmill.result where job_id = :job_id)
                    or failed > 0
                        and not exists (select from textmill.failure where job_id = :job_id)
                from textmill.job_status where job_id = :job_id
            """),
            {"job_id": job_id},
        )
    )


def documents_gone(job_id: JobId) -> DocumentsGoneError:
    """The error for a job whose month was pruned."""
    return DocumentsGoneError(
        f"the documents of job {job_id} are gone, or their outcomes: their month was pruned;"
        " `textmill status` has what was counted"
    )


def _outcomes(
    engine: sa.Engine, job_id: JobId, accepted: int, *, texts: bool
) -> Generator[OutcomeRow]:
    fields = (*FIELDS, TEXT) if texts else FIELDS
    last = 0
    while last < accepted:
        page = _page(engine, job_id, last, texts=texts)
        last = page[-1].seq if page else last + ROWS_AT_ONCE
        for row in page:
            # Takes half as long as _asdict(); `seq`, the last column, is left out.
            yield cast("OutcomeRow", dict(zip(fields, row, strict=False)))


_DOCUMENTS = """
    select * from textmill.document where job_id = :job_id and seq between :first and :last
"""
_WITH_TEXTS = f"""
    select * from (
        select *, sum(octet_length(text)) over (
            order by seq rows between unbounded preceding and 1 preceding) as before
        from ({_DOCUMENTS}) as d
    ) as d where coalesce(before, 0) < :bytes
"""  # noqa: S608


def _page(engine: sa.Engine, job_id: JobId, last: int, *, texts: bool) -> Sequence[sa.Row[Any]]:
    """The documents after position `last`; a job has positions from 1 to `accepted`.

    The status is computed as in `textmill.document_status`. That view holds no results: with it,
    results and documents would be read twice. Even without statistics about a job, Postgres must
    read this page only. The query therefore selects a range: with a limit, Postgres may sort all
    documents that follow. The joins are full joins, although every outcome has a document, since a
    full join cannot run as a nested loop, which searches the outcomes of the page for each of its
    documents. A condition that `d.seq` is not null would make them left joins.
    """
    with (
        reachable(engine),
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
    ):
        page = connection.execute(
            sa.text(f"""
                select d.external_id,
                    case
                        when r.seq is not null then 'succeeded'
                        when f.seq is not null then 'failed'
                        when (select state from textmill.job where job_id = :job_id)
                            in ('cancelled', 'expired') then 'cancelled'
                        else 'pending'
                    end as status,
                    r.payload as result,
                    case when r.seq is null and f.seq is not null then jsonb_build_object(
                        'code', f.code, 'stage', f.stage, 'message', f.message) end as error,
                    d.metadata, d.line{", d.text" if texts else ""}, d.seq
                from ({_WITH_TEXTS if texts else _DOCUMENTS}) as d
                full join (
                    select * from textmill.result
                    where job_id = :job_id and seq between :first and :last
                ) as r on r.seq = d.seq
                full join (
                    select * from textmill.failure
                    where job_id = :job_id and seq between :first and :last
                ) as f on f.seq = d.seq
                where coalesce(d.seq, 0) > 0
                order by d.seq
            """),  # noqa: S608
            {
                "job_id": job_id,
                "first": last + 1,
                "last": last + ROWS_AT_ONCE,
                "bytes": BYTES_AT_ONCE,
            },
        ).all()
        # Dropped rows look as if they had never existed; a page that is whole needs no check.
        whole = len(page) == ROWS_AT_ONCE and all(row.result or row.error for row in page)
        if not whole and _are_gone(connection, job_id):
            raise documents_gone(job_id)
    return page
