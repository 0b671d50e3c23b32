"""The views that people read."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from producer import control, jobs
from producer.submit import submit
from producer.workers import live_workers
from schema.documents import Document, JobOptions, Rejected, Task
from schema.outcomes import ErrorCode, Failure, Stage
from schema.settings import IntakeSettings
from tests.fixtures.outcomes import RESULTS, work_off
from tests.fixtures.sql_page import PAGE, with_views


@pytest.fixture
def loaded(producer_engine: sa.Engine, worker_engine: sa.Engine) -> None:
    """A job of each task, with one document succeeded, two failed and one pending."""
    for task, result in RESULTS.items():
        job_id = submit(
            producer_engine,
            task,
            [
                Document(external_id="a", text="one"),
                Document(external_id="b", text="two"),
                Rejected(line=3, code=ErrorCode.EMPTY_TEXT, message="the text is empty"),
                Document(external_id="d", text="four"),
            ],
            JobOptions(name=f"night {task}"),
            submitter="tester",
            limits=IntakeSettings(chunk_documents=2),
        ).job_id
        failure = Failure(code=ErrorCode.STAGE_ERROR, stage=Stage.PREDICT, message="it failed")
        work_off(
            producer_engine,
            worker_engine,
            job_id,
            lambda document, result=result, failure=failure: (  # type: ignore[misc]
                failure if document.seq == 2 else result
            ),
            chunks=1,
        )


def test_every_view_and_column_has_a_comment(engine: sa.Engine) -> None:
    """Without it, a person in a database client has to guess."""
    with engine.connect() as connection:
        silent = connection.execute(
            sa.text(
                "select c.relname, a.attname from pg_class c"
                " join pg_attribute a on a.attrelid = c.oid and a.attnum >= 0"
                " where c.relnamespace = 'textmill'::regnamespace and c.relkind = 'v'"
                " and (col_description(c.oid, a.attnum) is null"
                " or obj_description(c.oid, 'pg_class') is null)"
            )
        ).all()

    assert silent == []


def test_page_describes_every_view_and_column(
    engine: sa.Engine, pytestconfig: pytest.Config
) -> None:
    """Without it, nobody knows the interface that we promise to keep.

    `pytest --rewrite-docs` rewrites the descriptions.
    """
    page = PAGE.read_text(encoding="utf-8")
    with engine.connect() as connection:
        described = with_views(page, connection)

    if pytestconfig.getoption("--rewrite-docs"):
        PAGE.write_text(described, encoding="utf-8")
    assert described == PAGE.read_text(encoding="utf-8")


@pytest.mark.usefixtures("loaded")
def test_counts_of_the_views_agree(reader_engine: sa.Engine) -> None:
    """Without it, two people who look at one job see different numbers."""
    with reader_engine.connect() as connection:
        jobs = connection.execute(sa.text("select * from textmill.job_status")).all()
        counted = connection.execute(
            sa.text(
                "select job_id, status, count(*) as documents from textmill.document_status"
                " group by job_id, status"
            )
        ).all()

    for job in jobs:
        mine = {row.status: row.documents for row in counted if row.job_id == job.job_id}
        assert mine == {
            "succeeded": job.succeeded,
            "failed": job.failed,
            "pending": job.pending,
        }
        assert job.accepted == job.succeeded + job.failed + job.cancelled + job.pending
    assert {job.task for job in jobs} == set(Task)


@pytest.mark.usefixtures("loaded")
def test_what_was_cancelled_is_not_counted_as_done(producer_engine: sa.Engine) -> None:
    """Without it, a job that was cancelled before anything ran looks like one that was done."""
    cancelled, *_ = jobs.latest(producer_engine, 1)
    empty = submit(
        producer_engine,
        Task.SENTIMENT,
        [],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    )

    control.cancel(producer_engine, cancelled.job_id)

    seen = jobs.status(producer_engine, cancelled.job_id)
    assert (seen.succeeded, seen.failed, seen.cancelled, seen.pending) == (1, 2, 1, 0)
    assert seen.percent == 75
    assert jobs.status(producer_engine, empty.job_id).percent == 100


@pytest.mark.parametrize(
    ("succeeded", "percent"), [(0, 0), (9_994, 99.9), (9_999, 99.9), (10_000, 100)]
)
def test_only_a_job_without_anything_left_shows_100_percent(
    engine: sa.Engine, succeeded: int, percent: float
) -> None:
    """Without it, a program that waits for 100 percent reads results before all are there."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into textmill.job (task, lane, state, accepted, succeeded, started_at)"
                " values ('sentiment', 'bulk', 'running', 10000, :succeeded, now())"
            ),
            {"succeeded": succeeded},
        )

    (job,) = jobs.latest(engine, 1)

    assert job.percent == percent


@pytest.mark.parametrize(
    ("since", "done", "eta"),
    [
        ("120 days", 1, None),
        ("400000 days", 1, None),
        ("1 day", 0, None),
        ("1 day", 10_000, timedelta(days=99)),
    ],
)
@pytest.mark.usefixtures("loaded")
def test_one_slow_job_hides_no_other(
    engine: sa.Engine, reader_engine: sa.Engine, since: str, done: int, eta: timedelta | None
) -> None:
    """Without it, a large job that was retried months later breaks everybody's status."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "update textmill.job set accepted = 1000000, rejected = 0, failed = 0,"
                " succeeded = :done, started_at = now() - cast(:since as interval)"
                " where task = 'sentiment'"
            ),
            {"since": since, "done": done},
        )

    with reader_engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select task, date_trunc('day', eta - now() + interval '1 hour') as eta"
                " from textmill.job_status"
            )
        )
        etas = {row.task: row.eta for row in rows}

    assert set(etas) == set(Task)
    assert etas[Task.SENTIMENT] == eta


def test_time_goes_on_in_an_open_transaction(engine: sa.Engine, reader_engine: sa.Engine) -> None:
    """Without it, a monitor that never commits takes dead workers for alive."""
    with reader_engine.connect() as connection:
        connection.exec_driver_sql("select now()")  # begins the transaction
        with engine.begin() as other:
            other.exec_driver_sql(
                "insert into textmill.worker (worker, host, pid, device, tasks, threads,"
                " heartbeat_at) values ('mill-1', 'mill', 1, 'cpu', '{keywords}', 4,"
                " clock_timestamp())"
            )
            other.exec_driver_sql(
                "insert into textmill.job (task, lane, state, accepted, succeeded, created_at,"
                " started_at) values ('keywords', 'bulk', 'running', 2, 1, clock_timestamp(),"
                " clock_timestamp());"
                "insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)"
                " select job_id, 0, 1, 2, 2 from textmill.job"
            )

        passed = connection.execute(
            sa.text("""
                select w.silent > '0', j.age > '0', j.documents_per_second > 0, q.oldest > '0'
                from textmill.worker_status w, textmill.job_status j, textmill.queue_status q
                where q.task = 'keywords' and q.lane = 'bulk'
            """)
        ).one()

    assert tuple(passed) == (True, True, True, True)


def test_views_count_the_workers_that_dispatch_counts(
    engine: sa.Engine, reader_engine: sa.Engine
) -> None:
    """Without it, views show threads to which dispatch gives no work."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into textmill.worker (worker, host, pid, device, tasks, threads,"
                " heartbeat_at, documents_per_second)"
                " select 'mill-' || silent, 'mill', 1, 'cpu', '{keywords}', 4,"
                " now() - make_interval(secs => silent), 5"
                " from unnest(cast(:silent as double precision[])) as silent"
            ),
            {"silent": [20, 31]},
        )
        known = live_workers(connection)

    with reader_engine.connect() as connection:
        speeds = connection.scalars(
            sa.text("select documents_per_second from textmill.worker_status order by silent")
        ).all()
        threads = connection.scalars(
            sa.text("select threads from textmill.queue_status where task = 'keywords'")
        ).all()

    assert speeds == [5, 0]
    assert threads == [4, 4]  # one row per lane
    assert [worker.threads for worker in known] == [4]
