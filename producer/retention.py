"""Old months are emptied of their documents and outcomes, and at last of the jobs' own rows.

`document`, `result` and `failure` have a partition for each month of job ids. The three of a month
are locked and truncated in one transaction, which first sees that no job needs them. So a job has
all of its documents or none, and whatever is interrupted has changed nothing. The partitions
themselves stay: to detach one would hide a month before anybody could know that nobody needs it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import psycopg
import sqlalchemy as sa

from schema.database import reachable, unblocked
from schema.documents import JobId
from schema.errors import ServiceUnavailableError, SettingsError

LOCK_TIMEOUT: Final = "150ms"
"""How long others may wait behind each of three locks that is not granted. Postgres takes longer to
find a deadlock (1 s), so no other session is ended."""
PAUSE: Final = 1.0
"""Seconds between two tries to lock a month."""
PATIENCE: Final = 600.0
"""Seconds after which a month that others hold is given up."""

_JOBS_AT_ONCE: Final = 1000

_FIRST_KEPT: Final = sa.text(
    "select (date_trunc('month', now() at time zone 'UTC') - make_interval(months => :kept))"
    " at time zone 'UTC'"
)

_OLD_MONTHS: Final = sa.text(
    """
    with held as (
        select right(relname, 6) as month, sum(pg_total_relation_size(oid))::bigint as size,
            string_agg(oid::regclass::text, ', ' order by inhparent) as partitions
        from pg_inherits join pg_class on oid = inhrelid
        where inhparent in ('textmill.document'::regclass, 'textmill.result'::regclass,
                'textmill.failure'::regclass)
            and relname ~ '^(document|result|failure)_[0-9]{4}(0[1-9]|1[0-2])$'
        group by 1
        having sum(pg_relation_size(oid)) > 0
    )
    select month, size, partitions, first_id, end_id,
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

_NEEDED: Final = sa.text(
    """
    (select job_id from textmill.job
        where job_id >= :first_id and job_id < :end_id and finished_at is null
        order by job_id limit 1)
    union all
    -- A run of a sweep counts what its job flagged once that is over.
    (select job_id from textmill.sweep_run
        where job_id >= :first_id and job_id < :end_id and state = 'running' limit 1)
    limit 1
    """
)

_FORGET: Final = sa.text(
    # Without `offset 0`, Postgres would read all documents and outcomes for each page.
    """
    with page as (
        select job_id from textmill.job
        where finished_at is not null and job_id > :last and job_id < textmill.job_id_at(:before)
        order by job_id limit :batch
    ), unlocked as (
        select j.job_id from textmill.job j join page using (job_id)
        where j.finished_at is not null
            and not exists (select from textmill.document d where d.job_id = j.job_id offset 0)
            and not exists (select from textmill.result r where r.job_id = j.job_id offset 0)
            and not exists (select from textmill.failure f where f.job_id = j.job_id offset 0)
            and not exists (select from textmill.feedback b where b.job_id = j.job_id offset 0)
            and not exists (select from textmill.sweep_run s
                where s.job_id = j.job_id and s.state = 'running')
        for update of j skip locked
    ), forgotten as (
        delete from textmill.job j using unlocked
        where j.job_id = unlocked.job_id
        returning j.job_id
    )
    select (select max(job_id::text)::uuid from page) as last, (select count(*) from forgotten)
    """
)


@dataclass(frozen=True, slots=True)
class Month:
    """A month that is older than those to keep, and not empty.

    Attributes:
        month: as in 2026-03; months are those of UTC.
        jobs: number of jobs that were created in it.
        size: bytes that its documents and outcomes take, indexes included.
        needed_by: a job of it that is not over, or that a sweep has not counted yet, for which the
            month is kept; None if there is none.
    """

    month: str
    jobs: int
    size: int
    needed_by: JobId | None


def old_months(engine: sa.Engine, kept: int) -> list[Month]:
    """The months that `empty_old_months` would empty, or keep for a job, oldest first.

    Args:
        engine: the database.
        kept: number of months to keep beside the current one.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        return [_described(row, _needed(connection, row)) for row in _rows(connection, kept)]


def empty_old_months(engine: sa.Engine, kept: int) -> Iterator[Month]:
    """Delete the documents and outcomes of old months, oldest first; jobs and feedback stay.

    Args:
        engine: the database, as its owner.
        kept: number of months to keep beside the current one.

    Yields:
        Each month once it is empty, or kept because a job needs it.

    Raises:
        ServiceUnavailableError: Postgres does not answer, or others hold a month for minutes.
        SettingsError: the login is not the owner.
    """
    with reachable(engine), engine.connect() as connection:
        _check_owner(connection)
        rows = _rows(connection, kept)
    for row in rows:
        with reachable(engine):
            needed_by = _empty(engine, row)
        yield _described(row, needed_by)


def forget_jobs(engine: sa.Engine, kept: int) -> int:
    """Delete the rows of old jobs, and of their chunks, of which nothing else is left.

    Jobs on which people gave feedback stay, and so do those that somebody has locked; the next call
    deletes the latter. The idempotency keys of the others become free.

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
    last: UUID | None = UUID(int=0)
    while last is not None:
        with reachable(engine), engine.begin() as connection:
            before = connection.scalar(_FIRST_KEPT, {"kept": kept})
            page = {"before": before, "last": last, "batch": _JOBS_AT_ONCE}
            last, count = connection.execute(_FORGET, page).one()
        forgotten += count
    return forgotten


def _check_owner(connection: sa.Connection) -> None:
    """Refuse a login that may not delete what there is to delete, even if there is nothing yet.

    Raises:
        SettingsError: the login is not the owner.
    """
    owns = (
        "select pg_has_role(relowner, 'usage') from pg_class where oid = 'textmill.job'::regclass"
    )
    if not connection.scalar(sa.text(owns)):
        msg = (
            "only the owner of the tables empties old months;"
            " let TEXTMILL_DATABASE_URL name a login that is a member of that role"
        )
        raise SettingsError(msg)


def _rows(connection: sa.Connection, kept: int) -> list[sa.Row[Any]]:
    before = connection.scalar(_FIRST_KEPT, {"kept": kept})
    return list(connection.execute(_OLD_MONTHS, {"before": before}).all())


def _described(row: sa.Row[Any], needed_by: JobId | None) -> Month:
    return Month(f"{row.month[:4]}-{row.month[4:]}", row.jobs, row.size, needed_by)


def _needed(connection: sa.Connection, row: sa.Row[Any]) -> JobId | None:
    ids = {"first_id": row.first_id, "end_id": row.end_id}
    job_id: JobId | None = connection.scalar(_NEEDED, ids)
    return job_id


def _empty(engine: sa.Engine, row: sa.Row[Any]) -> JobId | None:
    """Empty a month as soon as nobody reads it, or return a job that needs it.

    Raises:
        ServiceUnavailableError: others hold it for longer than `PATIENCE`.
    """
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            with unblocked(engine, lock_timeout=LOCK_TIMEOUT) as connection:
                return _emptied(connection, row)
        except sa.exc.OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            if time.monotonic() > ends:
                msg = (
                    f"open transactions have read the month {row.month} for minutes;"
                    " see pg_stat_activity, and try again"
                )
                raise ServiceUnavailableError(msg) from error
        time.sleep(PAUSE)


def _emptied(connection: sa.Connection, row: sa.Row[Any]) -> JobId | None:
    connection.exec_driver_sql(f"lock table {row.partitions} in access exclusive mode")
    # Whoever opened a job meanwhile had locked a partition, and is seen from here on.
    if needed_by := _needed(connection, row):
        return needed_by
    connection.exec_driver_sql(f"truncate {row.partitions}")
    return None
