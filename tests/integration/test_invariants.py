"""The invariant checker, which ends every test of a fault, finds what is wrong."""

import pytest
import sqlalchemy as sa

from producer.submit import submit
from schema.documents import Document, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.invariants import broken
from tests.fixtures.outcomes import POSITIVE, work_off

COPY_OF_A_RESULT = """
    insert into textmill.result (job_id, seq, payload, model_version, attempt)
    select job_id, 99, payload, model_version, attempt from textmill.result limit 1"""
SECOND_OUTCOME = """
    insert into textmill.failure (job_id, seq, code, stage, message, attempt)
    select job_id, seq, 'stage_error', 'run', '', attempt from textmill.result limit 1"""
LOST_OUTCOME = "delete from textmill.result where seq = 1"


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (SECOND_OUTCOME, "a document has one outcome at most"),
        (COPY_OF_A_RESULT, "an outcome belongs to a document"),
        (LOST_OUTCOME, "counters say what the tables hold"),
        (LOST_OUTCOME, "the views agree with the counters"),
        (LOST_OUTCOME, "a chunk that is done has left no document without outcome"),
        (
            "delete from textmill.chunk where chunk_no = 0",
            "a document with text is in exactly one chunk that was not split",
        ),
        ("update textmill.chunk set state = 'pending'", "a finished job has no chunk to run"),
    ],
)
def test_damage_is_found(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    engine: sa.Engine,
    damage: str,
    rule: str,
) -> None:
    """Without it, tests of faults pass whatever happens."""
    job_id = submit(
        producer_engine,
        Task.SENTIMENT,
        [Document(text=f"text {number}") for number in range(4)],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(chunk_documents=2),
    ).job_id
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    assert broken(engine) == {}

    with engine.begin() as connection:
        connection.execute(sa.text(damage))

    assert rule in broken(engine)
