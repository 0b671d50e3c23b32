"""Postgres announces the end of every job to whoever listens."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import pytest
import sqlalchemy as sa

from producer import control
from schema.documents import JobId
from tests.fixtures.chunks import add_job
from tests.fixtures.outcomes import FAILURE, POSITIVE, work_off

if TYPE_CHECKING:
    import psycopg


CHANNEL = "textmill_job_ended"

Heard = Callable[[], list[dict[str, str]]]


@pytest.fixture
def heard(reader_engine: sa.Engine) -> Iterator[Heard]:
    """What was announced since it was last called."""
    with reader_engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"listen {CHANNEL}")
        driver = cast("psycopg.Connection", connection.connection.driver_connection)

        def heard_since() -> list[dict[str, str]]:
            # Notifications come in the order of their commits, so none is missing before this one.
            connection.exec_driver_sql(f"notify {CHANNEL}, 'that is all'")
            told = (notification.payload for notification in driver.notifies(timeout=10))
            return [json.loads(payload) for payload in iter(told.__next__, "that is all")]

        yield heard_since


def end(job_id: JobId, state: str) -> dict[str, str]:
    return {"job_id": str(job_id), "task": "sentiment", "state": state}


def test_the_last_outcome_announces_the_end(
    producer_engine: sa.Engine, worker_engine: sa.Engine, heard: Heard
) -> None:
    """Without it, whoever needs the results has to ask for the state again and again."""
    job_id = add_job(producer_engine, 4, chunk=2)

    work_off(producer_engine, worker_engine, job_id, POSITIVE, chunks=1)
    control.pause(producer_engine, job_id)
    control.resume(producer_engine, job_id)
    assert heard() == []
    work_off(producer_engine, worker_engine, job_id, FAILURE)
    assert heard() == [end(job_id, "completed")]

    control.retry(producer_engine, job_id)
    assert heard() == []
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert heard() == [end(job_id, "completed")]


def test_a_cancelled_job_is_announced_once_its_chunks_are_closed(
    producer_engine: sa.Engine, heard: Heard
) -> None:
    """Without it, who waits for the end of a job that someone cancelled waits for ever."""
    job_id = add_job(producer_engine, 2)

    control.cancel(producer_engine, job_id)

    assert heard() == [end(job_id, "cancelled")]


def test_an_expired_job_is_announced(
    engine: sa.Engine, producer_engine: sa.Engine, heard: Heard
) -> None:
    """Without it, who waits for the end of a job past its deadline waits for ever."""
    job_id = add_job(producer_engine, 2)
    with engine.begin() as connection:
        connection.exec_driver_sql("update textmill.job set deadline_at = now()")
    with producer_engine.begin() as connection:
        connection.exec_driver_sql("select textmill.expire_jobs()")
    assert heard() == []

    control.close_chunks(producer_engine, job_id)

    assert heard() == [end(job_id, "expired")]


def test_a_job_with_nothing_to_run_is_announced_as_it_opens(
    producer_engine: sa.Engine, heard: Heard
) -> None:
    """Without it, a job that was over at once would never be announced."""
    with producer_engine.begin() as connection:
        job_id = connection.exec_driver_sql(
            """select textmill.submit('sentiment', '[{"id": "1", "text": ""}]', '{}')"""
        ).scalar_one()

    assert heard() == [end(job_id, "completed")]


def test_an_end_that_is_rolled_back_is_not_announced(
    producer_engine: sa.Engine, heard: Heard
) -> None:
    """Without it, someone would look for results that are not there."""
    with producer_engine.connect() as connection:
        connection.exec_driver_sql("select textmill.submit('sentiment', '[]', '{}')")
        connection.rollback()

    assert heard() == []
