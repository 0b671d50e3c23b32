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
