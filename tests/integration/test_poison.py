"""Documents that kill real worker processes, among innocent ones."""

import signal
import subprocess
import time
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from producer import jobs
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.chunks import chunks
from tests.fixtures.processes import Start
from tests.fixtures.waiting import until

PATIENCE = 280
"""Seconds to wait for a job; each crash costs the start of a process."""

pytestmark = pytest.mark.timeout(300)
INNOCENT = "The delivery was quick and the tea tastes wonderful."


def submit_texts(engine: sa.Engine, texts: Sequence[str], chunk: int = 256) -> JobId:
    return submit(
        engine,
        Task.SENTIMENT,
        [Document(text=text) for text in texts],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(chunk_documents=chunk),
    ).job_id


def start_mill(start: Start, **variables: str) -> subprocess.Popen[str]:
    start("producer.cli", "dispatch")
    return start(
        "tests.fixtures.deadly",
        "run",
        "--devices",
        "cpu",
        "--processes",
        "1",
        "--tasks",
        "sentiment",
        **variables,
    )


def codes(engine: sa.Engine, job_id: JobId) -> list[tuple[int, str | None]]:
    """`(seq, code)` of every document that has no result."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select seq, code from textmill.document_status"
                " where job_id = :job_id and status <> 'succeeded' order by seq"
            ),
            {"job_id": job_id},
        )
        return [(row.seq, row.code) for row in rows]


def test_hundred_innocent_jobs_beside_a_killer(start: Start, producer_engine: sa.Engine) -> None:
    """Without it, one document that kills the process makes the jobs beside it fail."""
    innocent = [submit_texts(producer_engine, [INNOCENT]) for _ in range(50)]
    killer = submit_texts(producer_engine, ["kill me"])
    innocent += [submit_texts(producer_engine, [INNOCENT]) for _ in range(50)]
    start_mill(start)

    ends = [list(jobs.statuses(producer_engine, job_id, PATIENCE))[-1] for job_id in innocent]
    *_, end = jobs.statuses(producer_engine, killer, PATIENCE)

    assert [(seen.state, seen.succeeded, seen.failed) for seen in ends] == [
        ("completed", 1, 0)
    ] * 100
    assert (end.state, end.failed) == ("completed", 1)
    assert codes(producer_engine, killer) == [(1, "worker_crashed")]


@pytest.mark.slow
@pytest.mark.parametrize("death", ["segfault", "exit"])
def test_only_the_deadly_document_of_a_chunk_fails(
    start: Start, producer_engine: sa.Engine, death: str
) -> None:
    """Without it, all documents of a chunk fail with the poison one."""
    texts = [INNOCENT] * 8
    texts[5] = f"{death} here"
    job_id = submit_texts(producer_engine, texts)
    start_mill(start)

    *_, seen = jobs.statuses(producer_engine, job_id, PATIENCE)

    assert (seen.succeeded, seen.failed) == (7, 1)
    assert codes(producer_engine, job_id) == [(6, "worker_crashed")]


@pytest.mark.slow
def test_document_that_hangs_is_found_like_one_that_crashes(
    start: Start, producer_engine: sa.Engine
) -> None:
    """Without it, a document that hangs blocks a thread, its chunk and its job for ever."""
    job_id = submit_texts(producer_engine, [INNOCENT, "hang here", INNOCENT], chunk=1)
    start_mill(start, TEXTMILL_CHUNK_TIMEOUT="2", TEXTMILL_HEARTBEAT="0.5")

    *_, seen = jobs.statuses(producer_engine, job_id, PATIENCE)

    assert (seen.succeeded, seen.failed) == (2, 1)
    assert codes(producer_engine, job_id) == [(2, "worker_crashed")]


@pytest.mark.slow
@pytest.mark.parametrize(("drain", "signals"), [("1", 1), ("600", 2)])
def test_what_cannot_finish_is_given_back_and_not_charged(
    start: Start, producer_engine: sa.Engine, drain: str, signals: int
) -> None:
    """Without it, a deployment brings long chunks closer to failing, or takes for ever."""
    submit_texts(producer_engine, ["hang here"])
    supervisor = start_mill(start, TEXTMILL_DRAIN=drain, TEXTMILL_LEASE="600")
    until(lambda: [chunk.state for chunk in chunks(producer_engine)] == ["running"])

    for _ in range(signals):
        supervisor.send_signal(signal.SIGTERM)
        time.sleep(0.5)  # two signals at the same moment count as one

    assert supervisor.wait(PATIENCE) == 0
    (chunk,) = chunks(producer_engine)
    assert chunk.state in ("pending", "dispatched")
    assert (chunk.attempt, chunk.suspect, chunk.crashes, chunk.errors) == (1, False, 0, 0)
