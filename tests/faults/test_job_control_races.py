"""Cancel, pause, resume and deadlines while chunks finish at the same moment."""

import random
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from producer.jobs import status
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.mill import Mill
from tests.fixtures.waiting import waiting_for_locks

TEXTS = ["The tea was lovely and warm", "味道很差，不会再来", "The shop opens at nine", "物流很快"]
SEED = 20


def call(mill: Mill, function: str, job_id: JobId) -> None:
    with mill.engine.begin() as connection:
        connection.execute(sa.text(f"select textmill.{function}(:job_id)"), {"job_id": job_id})


def submit_until(mill: Mill, deadline: datetime) -> JobId:
    return submit(
        mill.engine,
        Task.SENTIMENT,
        [Document(text=text) for text in TEXTS * 4],
        JobOptions(deadline_at=deadline),
        submitter="tester",
        limits=IntakeSettings(chunk_documents=4),
    ).job_id


def test_job_control_holds_against_chunks_in_work(mill: Mill) -> None:
    """Without it, a cancelled job still gets outcomes, and its counters never add up."""
    mill.dispatch()
    mill.workers()
    mill.hold()
    cancelled, paused = mill.submit(TEXTS * 4), mill.submit(TEXTS * 40)
    late = submit_until(mill, datetime.now(UTC) + timedelta(seconds=2))
    mill.until(lambda: len(mill.running()) > 1, "chunks are in work")

    call(mill, "cancel", cancelled)
    call(mill, "pause", paused)
    ended = mill.finished(cancelled), mill.finished(late)  # while the device holds their chunks
    mill.let_go()
    mill.until(lambda: not mill.running(), "what was in work is finished")

    assert [job.state for job in ended] == ["cancelled", "expired"]
    for job in ended:
        assert status(mill.engine, job.job_id).cancelled == job.cancelled == 16
    held = status(mill.engine, paused)
    assert held.state == "paused"
    assert held.pending > 0
    mill.check()
    call(mill, "resume", paused)
    assert mill.finished(paused).succeeded == 160


def test_job_paused_while_its_first_chunk_is_claimed_ends_after_resume(mill: Mill) -> None:
    """Without it, the chunk runs in a job that never started, which is then pending for ever."""
    job_id = mill.submit(TEXTS)
    mill.workers()
    with mill.engine.begin() as connection:
        connection.execute(sa.text("select textmill.pause(:job_id)"), {"job_id": job_id})
        mill.dispatch()
        mill.until(lambda: waiting_for_locks(mill.engine) > 0, "a claim waits for the pause")

    mill.until(lambda: waiting_for_locks(mill.engine) == 0, "the claim goes on")
    assert mill.running() == []
    call(mill, "resume", job_id)

    assert mill.finished(job_id).succeeded == len(TEXTS)


@pytest.mark.slow
def test_job_control_at_random_moments_keeps_every_count(mill: Mill) -> None:
    """Without it, a cancel that races with the last chunk leaves a job that never finishes."""
    chance = random.Random(SEED)  # noqa: S311  # reproducible
    mill.dispatch()
    mill.workers(PLANTED_DELAY="0.01")
    soon = timedelta(seconds=0.5)
    job_ids = [
        submit_until(mill, datetime.now(UTC) + soon)
        if number % 5 == 0
        else mill.submit(TEXTS * 5, chunk=2)
        for number in range(60)
    ]

    for _ in range(300):
        action = chance.choices(("cancel", "pause", "resume"), (1, 4, 4))[0]
        call(mill, action, chance.choice(job_ids))
        mill.check()
    for job_id in job_ids:
        call(mill, "resume", job_id)

    states = {mill.finished(job_id).state for job_id in job_ids}
    assert "completed" in states
    assert "cancelled" in states
    mill.check()
