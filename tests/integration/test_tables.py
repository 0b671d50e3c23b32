"""What no row may hold, whoever writes it and however they do."""

import psycopg
import pytest
import sqlalchemy as sa

from producer.jobs import latest, status
from tests.fixtures.chunks import add_job

LOADING = "insert into textmill.job (task, lane, %s) values ('sentiment', 'bulk', %s)"


@pytest.mark.parametrize("time", ["infinity", "-infinity", "0044-03-15 BC", "9999-12-31"])
def test_deadline_that_programs_cannot_read_is_refused(
    producer_engine: sa.Engine, time: str
) -> None:
    """Without it, one job with "no deadline" breaks the status of all jobs, for everybody."""
    job_id = add_job(producer_engine, 1)

    with pytest.raises(sa.exc.IntegrityError, match="job_deadline_at"):
        _execute(producer_engine, f"update textmill.job set deadline_at = '{time}'")

    assert [job.job_id for job in latest(producer_engine, 2)] == [job_id]
    assert status(producer_engine, job_id).deadline_at is None


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [
        ("name", "''", "job_name"),
        ("name", "repeat('x', 201)", "job_name"),
        ("options", "'[]'", "job_options"),
        ("options", """'{"explain": "maybe"}'""", "job_options"),
        ("options", """'{"generate": {}}'""", "job_options"),
        ("options", """'{"generate": true, "explain": null}'""", "job_options"),
        ("options", """'{"model_version": 1}'""", "job_options"),
    ],
)
def test_job_that_no_worker_could_run_is_not_made(
    producer_engine: sa.Engine, column: str, value: str, constraint: str
) -> None:
    """Without it, every claim of such a job raises, and its chunks are published for ever."""
    with pytest.raises(sa.exc.IntegrityError, match=constraint):
        _execute(producer_engine, LOADING % (column, value))


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ("0, 1, 9223372036854775807, 1", "chunk_range"),
        ("0, 1, 1, 9223372036854775807", "chunk_numbers"),
    ],
)
def test_no_chunk_is_so_large_that_sums_overflow(
    producer_engine: sa.Engine, values: str, constraint: str
) -> None:
    """Without it, one row of a producer breaks the view of the queue for everybody."""
    with producer_engine.connect() as connection:
        connection.exec_driver_sql(LOADING % ("name", "'x'"))
        with pytest.raises(sa.exc.IntegrityError, match=constraint):
            connection.exec_driver_sql(
                "insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)"
                f" select job_id, {values} from textmill.job"
            )


def test_no_job_is_so_large_that_sums_overflow(producer_engine: sa.Engine) -> None:
    """Without it, one row of a producer lets every limited submit fail."""
    with producer_engine.connect() as connection:
        connection.exec_driver_sql(LOADING % ("name", "'x'"))
        with pytest.raises(sa.exc.IntegrityError, match="job_accepted"):
            connection.exec_driver_sql("update textmill.job set accepted = 9223372036854775807")


@pytest.mark.parametrize("counts", ["1, 0", "3, 0", "2, 1", "2, 2"])
def test_job_is_opened_with_the_documents_and_rejections_that_it_has(
    producer_engine: sa.Engine, counts: str
) -> None:
    """Without it, a job completes without the outcome of a document, or never completes."""
    with producer_engine.connect() as connection:
        connection.exec_driver_sql(LOADING % ("name", "'x'"))
        connection.exec_driver_sql(
            "insert into textmill.document (job_id, seq, text)"
            " select job_id, seq, 'x' from textmill.job, generate_series(1, 2) as seq"
        )
        with pytest.raises(sa.exc.IntegrityError, match="has another number"):
            connection.exec_driver_sql(
                f"select textmill.open_job(job_id, {counts}) from textmill.job"
            )


@pytest.mark.parametrize(
    ("time", "job_id"),
    [
        ("-infinity", "00000000-0000-0000-0000-000000000000"),
        ("1960-01-01Z", "00000000-0000-0000-0000-000000000000"),
        ("infinity", "ffffffff-ffff-0000-0000-000000000000"),
        ("12000-01-01Z", "ffffffff-ffff-0000-0000-000000000000"),
    ],
)
def test_times_that_no_job_id_holds_come_before_or_after_all_jobs(
    engine: sa.Engine, time: str, job_id: str
) -> None:
    """Without it, a query for jobs since 1960 finds none."""
    with engine.connect() as connection:
        found = connection.scalar(sa.text("select textmill.job_id_at(:time)"), {"time": time})

    assert str(found) == job_id


def test_failure_has_a_code_that_programs_know(engine: sa.Engine) -> None:
    """Without it, a misspelt code in SQL reaches users, and no program knows what it means."""
    add_job(engine, 1)

    with pytest.raises(sa.exc.IntegrityError, match="failure_code") as refused:
        _execute(
            engine,
            "insert into textmill.failure (job_id, seq, code, stage, message, attempt)"
            " select job_id, 1, 'stage_eror', 'run', '', 1 from textmill.job",
        )

    assert isinstance(refused.value.orig, psycopg.errors.CheckViolation)


def _execute(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execution_options(no_parameters=True).exec_driver_sql(statement)
