"""Old months are dropped while people submit, read and retry."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from producer.feedback import add
from producer.jobs import status
from producer.outcomes import outcomes
from producer.retention import drop_old_months, forget_jobs, old_months
from schema.documents import JobId
from schema.errors import DocumentsGoneError, JobNotFoundError, ServiceUnavailableError
from schema.outcomes import ErrorCode, Failure, Stage
from tests.fixtures.chunks import add_job
from tests.fixtures.commands import invoke
from tests.fixtures.feedback import verdict
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.past import months_ago
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.waiting import until_blocked

FAILURE = Failure(code=ErrorCode.STAGE_ERROR, stage=Stage.PREDICT, message="it broke")

AddOld = Callable[..., JobId]


@pytest.fixture
def add_old(engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine) -> AddOld:
    """Makes a job of a past month, with an outcome of each kind unless it stays unfinished."""

    def add(months: int, *, finished: bool = True) -> JobId:
        with months_ago(engine, months):
            job_id = add_job(producer_engine, 2)
        if finished:
            work_off(
                *(producer_engine, worker_engine, job_id),
                lambda document: POSITIVE if document.seq == 1 else FAILURE,
            )
        return job_id

    return add


def test_old_months_are_dropped_and_others_are_kept(
    engine: sa.Engine, producer_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, either nothing is ever freed, or documents vanish that were to be kept."""
    old, older, kept, recent = add_old(4), add_old(14), add_old(3), add_job(producer_engine, 2)

    dropped = list(drop_old_months(engine, 3))

    assert [(month.jobs, month.unfinished) for month in dropped] == [(1, None), (1, None)]
    assert [month.month for month in dropped] == sorted(month.month for month in dropped)
    assert all(month.size > 0 for month in dropped)
    assert list(drop_old_months(engine, 3)) == []
    for job_id in (old, older):
        with pytest.raises(DocumentsGoneError):
            list(outcomes(producer_engine, job_id))
    for job_id in (kept, recent):
        assert len(list(outcomes(producer_engine, job_id))) == 2


def test_month_with_a_job_that_is_not_over_is_kept(engine: sa.Engine, add_old: AddOld) -> None:
    """Without it, a paused job loses its documents, and never ends."""
    add_old(5)
    waiting = add_old(5, finished=False)

    (left,) = drop_old_months(engine, 3)

    assert (left.unfinished, left.jobs) == (waiting, 2)
    assert old_months(engine, 3) == [left]


def test_current_month_is_kept_whatever_is_asked(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, the partitions go that the next job needs."""
    job_id = add_job(producer_engine, 1)
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    add_old(1)

    assert len(list(drop_old_months(engine, 0))) == 1

    assert len(list(outcomes(producer_engine, job_id))) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "alter table textmill.document detach partition textmill.document_{month}",
        "drop table textmill.document_{month}",
        "drop table textmill.document_{month}, textmill.result_{month}",
    ],
    ids=["detached", "dropped", "two dropped"],
)
def test_month_that_was_dropped_in_part_is_dropped_whole(
    engine: sa.Engine, add_old: AddOld, sql: str
) -> None:
    """Without it, whatever an interrupted call left keeps its room for ever."""
    add_old(5)
    (month,) = old_months(engine, 3)
    with engine.begin() as connection:
        connection.exec_driver_sql(sql.format(month=month.month.replace("-", "")))

    assert [month.unfinished for month in drop_old_months(engine, 3)] == [None]

    assert _tables(engine, month.month) == []


def test_nobody_waits_for_a_month_that_waits_for_a_reader(
    engine: sa.Engine, producer_engine: sa.Engine, reader_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, one open transaction of an analyst stops every submit and every worker."""
    add_old(5)
    with reader_engine.connect() as reader, ThreadPoolExecutor(1) as pool:
        reader.exec_driver_sql("select count(*) from textmill.document_status")

        dropping = pool.submit(lambda: list(drop_old_months(engine, 3)))
        until_blocked(engine, dropping)
        add_job(producer_engine, 1)
        assert not dropping.done()
        reader.rollback()

        assert [month.unfinished for month in dropping.result()] == [None]


def test_job_that_is_retried_meanwhile_keeps_its_month(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, the job runs without documents, and never ends."""
    job_id = add_old(5)
    with producer_engine.connect() as retrying, ThreadPoolExecutor(1) as pool:
        retrying.execute(sa.text("select textmill.retry(:job_id)"), {"job_id": job_id})

        dropping = pool.submit(lambda: list(drop_old_months(engine, 3)))
        until_blocked(engine, dropping)
        retrying.commit()

        assert [month.unfinished for month in dropping.result()] == [job_id]
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert [row["status"] for row in outcomes(producer_engine, job_id)] == ["succeeded"] * 2
    assert [month.unfinished for month in drop_old_months(engine, 3)] == [None]


def test_two_calls_at_once_drop_a_month_once(engine: sa.Engine, add_old: AddOld) -> None:
    """Without it, a second administrator gets a stack trace, or half a month is left."""
    add_old(5)
    with engine.connect() as reader, ThreadPoolExecutor(2) as pool:
        reader.exec_driver_sql("select count(*) from textmill.document")

        calls = [pool.submit(lambda: list(drop_old_months(engine, 3))) for _ in range(2)]
        until_blocked(engine, *calls)
        reader.rollback()

    errors = [call.exception() for call in calls]
    assert errors.count(None) >= 1
    assert all(isinstance(error, ServiceUnavailableError | None) for error in errors)
    assert old_months(engine, 3) == []


def test_call_that_is_interrupted_is_completed_by_the_next(
    engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, a partition that is half detached stands in the way of every later call."""
    add_old(5)
    with engine.connect() as reader, ThreadPoolExecutor(1) as pool:
        reader.exec_driver_sql("select count(*) from textmill.document")
        dropping = pool.submit(lambda: list(drop_old_months(engine, 3)))
        until_blocked(engine, dropping)
        reader.exec_driver_sql(
            "select pg_cancel_backend(pid) from pg_stat_activity"
            " where starts_with(query, 'alter table')"
        )
        assert dropping.exception() is not None
        reader.rollback()

    (month,) = drop_old_months(engine, 3)

    assert month.unfinished is None
    assert _tables(engine, month.month) == []


def test_jobs_of_which_nothing_is_left_are_forgotten(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    add_old: AddOld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, rows of jobs pile up, or jobs vanish whose documents or verdicts are there."""
    monkeypatch.setattr("producer.retention._JOBS_AT_ONCE", 1)
    judged, gone, also_gone, recent = add_old(15), add_old(15), add_old(14), add_old(5)
    add(producer_engine, verdict(judged, "1", labels=["neutral"]), annotator="tester")
    assert forget_jobs(engine, 12) == 0

    list(drop_old_months(engine, 3))

    assert forget_jobs(engine, 12) == 2
    for job_id in (gone, also_gone):
        with pytest.raises(JobNotFoundError):
            status(producer_engine, job_id)
    for job_id in (judged, recent):
        assert status(producer_engine, job_id).state == "completed"
    with engine.connect() as connection:
        left = set(connection.scalars(sa.text("select job_id from textmill.chunk")))
    assert left == {judged, recent}


def test_command_says_what_it_drops(database: DatabaseUrls, add_old: AddOld) -> None:
    """Without it, administrators cannot see what a call did, or would do."""
    add_old(6)
    waiting = add_old(5, finished=False)

    tried = invoke(database, "db", "prune", "--months", 3, "--dry-run")
    pruned = invoke(
        *(database, "db", "prune", "--months", 3, "--json"), TEXTMILL_DATABASE_URL=database.owner
    )
    again = invoke(
        *(database, "db", "prune", "--months", 6, "--job-months", 5),
        TEXTMILL_DATABASE_URL=database.owner,
    )

    assert [ended.exit_code for ended in (tried, pruned, again)] == [0, 0, 0]
    first, second = map(json.loads, pruned.stdout.splitlines())
    assert (first["jobs"], first["unfinished"]) == (1, None)
    assert second["unfinished"] == str(waiting)
    assert (first["done"], second["done"]) == ("dropped", "kept")
    assert tried.stdout.splitlines() == [
        f"{first['month']} would be dropped: 1 job, {first['size'] / 1e6:.1f} MB",
        f"{second['month']} kept: job {waiting} is not over",
    ]
    assert "no month is older than those to keep" in again.stderr
    assert "rows of jobs deleted: 1" in again.stderr


def test_only_the_owner_drops_months(
    database: DatabaseUrls, engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, a nightly call with the wrong login looks healthy until a month is old enough."""
    early = invoke(database, "db", "prune", "--months", 3)
    add_old(5)

    ended = invoke(database, "db", "prune", "--months", 3)

    for refused in (early, ended):
        assert refused.exit_code == 2
        assert "only the owner of the tables drops old months" in refused.stderr
    assert len(old_months(engine, 3)) == 1


def _tables(engine: sa.Engine, month: str) -> list[str]:
    with engine.connect() as connection:
        return list(
            connection.scalars(
                sa.text(
                    "select relname from pg_class where relkind = 'r' and relname like :ending"
                ),
                {"ending": f"%\\_{month.replace('-', '')}"},
            )
        )
