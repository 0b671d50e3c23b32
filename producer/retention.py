"""Old months are dropped with their documents and outcomes, and at last the jobs' own rows.

`document`, `result` and `failure` have a partition for each month of job ids. A partition is
detached, which waits for open transactions that have read the table without holding up anybody,
and is then dropped. `document` goes first: a document whose outcome is gone could be run again, but
without documents a job cannot be retried. Whatever is interrupted is completed by the next call.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg
import sqlalchemy as sa

from schema.database import reachable
from schema.documents import JobId
from schema.errors import ServiceUnavailableError, SettingsError

_PARENTS: Final = ("document", "result", "failure")
_JOBS_AT_ONCE: Final = 1000
_LOWEST: Final = UUID(int=0)

_FIRST_KEPT: Final = sa.text(
    "select (date_trunc('month', now() at time zone 'UTC') - make_interval(months => :kept))"
    " at time zone 'UTC'"
)

_OLD_MONTHS: Final = sa.text(
    """
    with held as (
        select right(relname, 6) as month, sum(pg_total_relation_size(oid))::bigint as size
        from pg_class
        where relnamespace = 'textmill'::regnamespace and relkind = 'r'
            and relname ~ '^(document|result|failure)_[0-9]{6}$'
        group by 1
    )
    select month, size, first_id, end_id,
        (select count(*) from textmill.job where job_id >= first_id and job_id < end_id) as jobs
    from held
    cross join lateral (select to_date(month, 'YYYYMM')::timestamp as begins) as dates
    cross join lateral (
        select textmill.job_id_at(begins at time zone 'UTC') as first_id,
            textmill.job_id_at((begins + interval '1 month') at time zone 'UTC') as end_id
    ) as ids
    where begins at time zone 'UTC' < :before
    order by month
    """
)

_UNFINISHED: Final = sa.text(
    "select job_id from textmill.job"
    " where job_id >= :first_id and job_id < :end_id and finished_at is null"
    " order by job_id limit 1"
)

_FORGET: Final = sa.text(
    """
    with page as (
        select job_id from textmill.job
        where finished_at is not null and job_id > :last and job_id < textmill.job_id_at(:before)
        order by job_id limit :batch
    ), forgotten as (
        delete from textmill.job j using page
        where j.job_id = page.job_id and j.finished_at is not null
            and not exists (select from textmill.document d where d.job_id = j.job_id)
            and not exists (select from textmill.result r where r.job_id = j.job_id)
            and not exists (select from textmill.failure f where f.job_id = j.job_id)
            and not exists (select from textmill.feedback b where b.job_id = j.job_id)
        returning j.job_id
    )
    select (select max(job_id::text)::uuid from page) as last, (select count(*) from forgotten)
    """
)


@dataclass(frozen=True, slots=True)
class Month:
    """A month that is older than those to keep.

    Attributes:
        month: as in 2026-03; months are those of UTC.
        jobs: number of jobs that were created in it.
        size: bytes that its documents and outcomes take, indexes included.
        unfinished: a job of it that is not over, for which the month is kept; None if there is
            none.
    """

    month: str
    jobs: int
    size: int
    unfinished: JobId | None


def old_months(engine: sa.Engine, kept: int) -> list[Month]:
    """The months that `drop_old_months` would drop, or keep for an unfinished job, oldest first.

    Args:
        engine: the database.
        kept: number of months to keep beside the current one.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with _autocommit(engine) as connection:
        return [_described(row, _unfinished(connection, row)) for row in _rows(connection, kept)]


def drop_old_months(engine: sa.Engine, kept: int) -> Iterator[Month]:
    """Drop the documents and outcomes of old months, oldest first; jobs and feedback stay.

    Args:
        engine: the database, as its owner.
        kept: number of months to keep beside the current one.

    Yields:
        Each month once it is dropped, or left because a job of it is unfinished.

    Raises:
        ServiceUnavailableError: Postgres does not answer, or somebody else changes the partitions.
        SettingsError: the login is not the owner.
    """
    with _autocommit(engine) as connection:
        _check_owner(connection)
        for row in _rows(connection, kept):
            yield _described(row, _drop(connection, row))


def forget_jobs(engine: sa.Engine, kept: int) -> int:
    """Delete the rows of old jobs, and of their chunks, of which nothing else is left.

    Jobs on which people gave feedback stay. The idempotency keys of the others become free.

    Args:
        engine: the database, as its owner.
        kept: number of months, beside the current one, whose jobs stay.

    Returns:
        The number of jobs.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
        SettingsError: the login is not the owner.
    """
    with reachable(engine), engine.connect() as connection:
        _check_owner(connection)
    forgotten = 0
    last: UUID | None = _LOWEST
    while last is not None:
        with reachable(engine), engine.begin() as connection:
            before = connection.scalar(_FIRST_KEPT, {"kept": kept})
            page = {"before": before, "last": last, "batch": _JOBS_AT_ONCE}
            last, count = connection.execute(_FORGET, page).one()
        forgotten += count
    return forgotten


@contextmanager
def _autocommit(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection without transactions, since none may detach a partition concurrently."""
    own = engine.execution_options(isolation_level="AUTOCOMMIT")
    with reachable(engine), own.connect() as connection:
        try:
            yield connection
        except sa.exc.DBAPIError as error:
            if isinstance(
                error.orig,
                psycopg.errors.ObjectNotInPrerequisiteState | psycopg.errors.UndefinedTable,
            ):
                msg = "somebody else is changing the partitions of Textmill's tables; try again"
                raise ServiceUnavailableError(msg) from error
            raise


def _check_owner(connection: sa.Connection) -> None:
    """Refuse a login that may not drop what there is to drop, even if there is nothing yet.

    Raises:
        SettingsError: the login is not the owner.
    """
    owns = (
        "select pg_has_role(relowner, 'usage') from pg_class where oid = 'textmill.job'::regclass"
    )
    if not connection.scalar(sa.text(owns)):
        msg = (
            "only the owner of the tables drops old months;"
            " let TEXTMILL_DATABASE_URL name a login that is a member of that role"
        )
        raise SettingsError(msg)


def _rows(connection: sa.Connection, kept: int) -> list[sa.Row[Any]]:
    before = connection.scalar(_FIRST_KEPT, {"kept": kept})
    return list(connection.execute(_OLD_MONTHS, {"before": before}).all())


def _described(row: sa.Row[Any], unfinished: JobId | None) -> Month:
    return Month(f"{row.month[:4]}-{row.month[4:]}", row.jobs, row.size, unfinished)


def _unfinished(connection: sa.Connection, row: sa.Row[Any]) -> JobId | None:
    job_id: JobId | None = connection.scalar(
        _UNFINISHED, {"first_id": row.first_id, "end_id": row.end_id}
    )
    return job_id


def _drop(connection: sa.Connection, row: sa.Row[Any]) -> JobId | None:
    """Drop a month, or return a job of it that is not over."""
    document, *outcomes = (f"{parent}_{row.month}" for parent in _PARENTS)
    if unfinished := _unfinished(connection, row):
        return unfinished
    _detach(connection, "document", document)
    if unfinished := _unfinished(connection, row):
        # Somebody retried it just before; from here on nobody can.
        _attach(connection, "document", document, row)
        return unfinished
    for parent, partition in zip(_PARENTS[1:], outcomes, strict=True):
        _detach(connection, parent, partition)
    names = ", ".join(f"textmill.{name}" for name in (document, *outcomes))
    connection.exec_driver_sql(f"drop table if exists {names}")
    return None


def _detach(connection: sa.Connection, parent: str, partition: str) -> None:
    """Detach a partition, or complete that; nothing if it is detached, or not there."""
    pending = connection.scalar(
        sa.text(
            "select inhdetachpending from pg_inherits"
            " where inhrelid = to_regclass('textmill.' || :partition)"
        ),
        {"partition": partition},
    )
    if pending is not None:
        how = "finalize" if pending else "concurrently"
        connection.exec_driver_sql(
            f"alter table textmill.{parent} detach partition textmill.{partition} {how}"
        )


def _attach(connection: sa.Connection, parent: str, partition: str, row: sa.Row[Any]) -> None:
    connection.exec_driver_sql(
        f"alter table textmill.{parent} attach partition textmill.{partition}"
        f" for values from ('{row.first_id}') to ('{row.end_id}')"
    )
