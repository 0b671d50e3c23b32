"""Old months are emptied while people submit, read and retry."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from producer.feedback import add
from producer.jobs import status
from producer.outcomes import outcomes
from producer.retention import empty_old_months, forget_jobs, old_months
from producer.sweeps.counting import finish_runs
from schema.documents import JobId
from schema.errors import DocumentsGoneError, JobNotFoundError, ServiceUnavailableError
from tests.fixtures.chunks import add_job
from tests.fixtures.commands import invoke
from tests.fixtures.feedback import verdict
from tests.fixtures.outcomes import FAILURE, POSITIVE, work_off
from tests.fixtures.past import months_ago
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.waiting import until_blocked

SWEEP = """
    with added as (
        insert into textmill.sweep (name, cron, timezone, source, query, watermark_column,
            watermark_kind, watermark, next_run_at)
        values ('posts', '0 2 * * *', 'UTC', 'textmill', 'select', 'id', 'number', '0', now())
        returning sweep_id
    )
    insert into textmill.sweep_run (sweep_id, state, scheduled_for, from_watermark, job_id)
    select sweep_id, 'running', now(), '0', :job_id from added
"""

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


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.retention.PAUSE", 0.05)


def test_old_months_are_emptied_and_others_are_kept(
    engine: sa.Engine, producer_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, either nothing is ever freed, or documents vanish that were to be kept."""
    old, older, kept, recent = add_old(4), add_old(14), add_old(3), add_job(producer_engine, 2)

    emptied = list(empty_old_months(engine, 3))

    assert [(month.jobs, month.needed_by) for month in emptied] == [(1, None), (1, None)]
    assert [month.month for month in emptied] == sorted(month.month for month in emptied)
    assert all(month.size > 0 for month in emptied)
    assert list(empty_old_months(engine, 3)) == []
    for job_id in (old, older):
        with pytest.raises(DocumentsGoneError):
            list(outcomes(producer_engine, job_id))
    for job_id in (kept, recent):
        assert len(list(outcomes(producer_engine, job_id))) == 2


def test_month_with_a_job_that_is_not_over_is_kept(engine: sa.Engine, add_old: AddOld) -> None:
    """Without it, a paused job loses its documents, and never ends."""
    add_old(5)
    waiting = add_old(5, finished=False)

    (left,) = empty_old_months(engine, 3)

    assert (left.needed_by, left.jobs) == (waiting, 2)
    assert old_months(engine, 3) == [left]


def test_month_is_kept_until_its_sweeps_are_counted(engine: sa.Engine, add_old: AddOld) -> None:
    """Without it, a sweep says that it flagged nothing, or its run never ends."""
    job_id = add_old(5)
    with engine.begin() as connection:
        connection.execute(sa.text(SWEEP), {"job_id": job_id})

    (kept,) = empty_old_months(engine, 3)
    forgotten = forget_jobs(engine, 3)
    finish_runs(engine)
    (emptied,) = empty_old_months(engine, 3)

    assert (kept.needed_by, forgotten) == (job_id, 0)
    assert emptied.needed_by is None
    assert forget_jobs(engine, 3) == 1


def test_current_month_is_kept_whatever_is_asked(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, the documents go that were submitted a minute ago."""
    job_id = add_job(producer_engine, 1)
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    add_old(1)

    assert len(list(empty_old_months(engine, 0))) == 1

    assert len(list(outcomes(producer_engine, job_id))) == 1


def test_submit_over_the_end_of_a_month_keeps_its_documents(
    engine: sa.Engine, producer_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, the job opens without documents, and counts as done."""
    add_old(1)
    with (
        months_ago(engine, 1),
        producer_engine.connect() as submitting,
        ThreadPoolExecutor(1) as pool,
    ):
        submitted = submitting.scalar(
            sa.text("select textmill.submit('sentiment', '[{\"text\": \"good\"}]'::jsonb)")
        )
        emptying = pool.submit(lambda: list(empty_old_months(engine, 0)))
        until_blocked(engine, emptying)
        submitting.commit()

    assert [month.needed_by for month in emptying.result()] == [submitted]
    assert [row["status"] for row in outcomes(producer_engine, submitted)] == ["pending"]


def test_nobody_waits_for_a_month_that_somebody_reads(
    engine: sa.Engine, producer_engine: sa.Engine, reader_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, one open transaction of an analyst stops every submit and every worker."""
    old = add_old(5)
    with reader_engine.connect() as reader, ThreadPoolExecutor(1) as pool:
        reader.exec_driver_sql("select count(*) from textmill.document_status")

        emptying = pool.submit(lambda: list(empty_old_months(engine, 3)))
        until_blocked(engine, emptying)
        add_job(producer_engine, 1)
        assert len(list(outcomes(producer_engine, old))) == 2
        assert not emptying.done()
        reader.rollback()

        assert [month.needed_by for month in emptying.result()] == [None]


def test_month_that_somebody_reads_for_too_long_is_given_up_whole(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    reader_engine: sa.Engine,
    add_old: AddOld,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, a nightly call waits for ever behind a forgotten prompt."""
    old = add_old(5)
    monkeypatch.setattr("producer.retention.PATIENCE", 0)
    with reader_engine.connect() as reader:
        reader.exec_driver_sql("select count(*) from textmill.document_status")

        with pytest.raises(ServiceUnavailableError, match="see pg_stat_activity, and try again"):
            list(empty_old_months(engine, 3))

    assert len(list(outcomes(producer_engine, old))) == 2
    assert [month.needed_by for month in empty_old_months(engine, 3)] == [None]


def test_job_that_is_retried_meanwhile_keeps_its_month(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, the job runs without documents, and never ends."""
    job_id = add_old(5)
    with producer_engine.connect() as retrying, ThreadPoolExecutor(1) as pool:
        retrying.execute(sa.text("select textmill.retry(:job_id)"), {"job_id": job_id})

        emptying = pool.submit(lambda: list(empty_old_months(engine, 3)))
        until_blocked(engine, emptying)
        retrying.commit()

        assert [month.needed_by for month in emptying.result()] == [job_id]
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert [row["status"] for row in outcomes(producer_engine, job_id)] == ["succeeded"] * 2
    assert [month.needed_by for month in empty_old_months(engine, 3)] == [None]


def test_two_calls_at_once_empty_a_month(engine: sa.Engine, add_old: AddOld) -> None:
    """Without it, a second administrator gets a stack trace."""
    add_old(5)
    with engine.connect() as reader, ThreadPoolExecutor(2) as pool:
        reader.exec_driver_sql("select count(*) from textmill.document")

        calls = [pool.submit(lambda: list(empty_old_months(engine, 3))) for _ in range(2)]
        until_blocked(engine, calls[0])
        reader.rollback()

        for call in calls:
            assert {month.needed_by for month in call.result()} <= {None}
    assert old_months(engine, 3) == []


@pytest.mark.parametrize(
    "lost", ["drop table {}", "alter table textmill.result detach partition {}"]
)
def test_month_that_lacks_a_partition_is_emptied_of_the_others(
    engine: sa.Engine, add_old: AddOld, lost: str
) -> None:
    """Without it, what was dropped by hand keeps the rest for ever, or an archive is emptied."""
    add_old(5)
    with months_ago(engine, 5) as month, engine.begin() as connection:
        connection.exec_driver_sql(lost.format(f"textmill.result_{month}"))

    assert len(list(empty_old_months(engine, 3))) == 1

    assert old_months(engine, 3) == []
    if "detach" in lost:
        with engine.connect() as connection:
            archived = sa.text(f"select count(*) from textmill.result_{month}")
            assert connection.scalar(archived) == 1


@pytest.mark.parametrize("name", ["document_202613", "failure_202600", "result_202401"])
def test_table_that_is_no_month_is_left_alone(
    engine: sa.Engine, add_old: AddOld, name: str
) -> None:
    """Without it, an archive of an administrator is deleted, or stops every call."""
    add_old(5)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"create table textmill.{name} as select 'archived' as text")

    assert len(list(empty_old_months(engine, 3))) == 1

    with engine.connect() as connection:
        assert connection.scalar(sa.text(f"select text from textmill.{name}")) == "archived"


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

    list(empty_old_months(engine, 3))

    assert forget_jobs(engine, 12) == 2
    for job_id in (gone, also_gone):
        with pytest.raises(JobNotFoundError):
            status(producer_engine, job_id)
    for job_id in (judged, recent):
        assert status(producer_engine, job_id).state == "completed"
    with engine.connect() as connection:
        left = set(connection.scalars(sa.text("select job_id from textmill.chunk")))
    assert left == {judged, recent}


def test_job_that_somebody_has_locked_is_forgotten_later(
    engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, a forgotten prompt keeps each night's call waiting for ever, without a word."""
    locked, _ = add_old(3), add_old(3)
    list(empty_old_months(engine, 1))

    with engine.connect() as prompt, ThreadPoolExecutor(1) as pool:
        prompt.execute(
            sa.text("select from textmill.job where job_id = :job_id for update"),
            {"job_id": locked},
        )
        forgetting = pool.submit(forget_jobs, engine, 1)
        try:
            assert forgetting.result(timeout=10) == 1
        finally:
            prompt.rollback()

    assert forget_jobs(engine, 1) == 1


def test_key_whose_job_is_deleted_meanwhile_is_said_to_be_free(producer_engine: sa.Engine) -> None:
    """Without it, SQL is told to choose another key for what may be submitted again."""
    with producer_engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as refused:
        connection.exec_driver_sql("select textmill.same_job('night-1', 'hash'::bytea)")

    assert "was deleted meanwhile" in str(refused.value)


def test_command_says_what_it_empties(database: DatabaseUrls, add_old: AddOld) -> None:
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
    assert (first["jobs"], first["needed_by"]) == (1, None)
    assert second["needed_by"] == str(waiting)
    assert (first["done"], second["done"]) == ("pruned", "kept")
    assert tried.stdout.splitlines() == [
        f"{first['month']} would be pruned: 1 job, {first['size'] / 1e6:.1f} MB",
        f"{second['month']} kept: job {waiting} is not over, or its sweep not counted",
    ]
    assert "no month is older than those to keep" in again.stderr
    assert "rows of jobs deleted: 1" in again.stderr


def test_only_the_owner_empties_months(
    database: DatabaseUrls, engine: sa.Engine, add_old: AddOld
) -> None:
    """Without it, a nightly call with the wrong login looks healthy until a month is old enough."""
    early = invoke(database, "db", "prune", "--months", 3)
    add_old(5)

    ended = invoke(database, "db", "prune", "--months", 3)

    for refused in (early, ended):
        assert refused.exit_code == 2
        assert "only the owner of the tables empties old months" in refused.stderr
    assert len(old_months(engine, 3)) == 1
