"""Worker processes that die, freeze, or are told to stop."""

import os
import signal
import subprocess
import time

import psycopg
import pytest
from psycopg import sql

from tests.faults.planted import Plant
from tests.fixtures.mill import SHORT, Mill
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.recovery import Recovered

TEXTS = ["The tea was lovely and warm", "味道很差，不会再来", "The shop opens at nine", "物流很快"]


def test_worker_killed_mid_chunk_loses_and_repeats_nothing(mill: Mill, recovery: Recovered) -> None:
    """Without it, the chunks that a process held when it died are lost."""
    mill.dispatch()
    # A lease too long to wait for: the supervisor must give the chunks back.
    mill.workers(TEXTMILL_LEASE="3600")
    mill.hold()
    job_id = mill.submit(TEXTS * 10)
    mill.until(lambda: len(mill.running()) > 1, "chunks are in work")
    held, (victim,) = mill.running(), mill.pids()

    os.kill(victim, signal.SIGKILL)
    began = time.monotonic()
    mill.let_go()

    recovery(mill.recovered(held, began))
    assert mill.finished(job_id).succeeded == 40
    assert set(mill.outcomes(job_id).values()) == {"succeeded"}


@pytest.mark.slow
def test_worker_killed_between_commit_and_ack_repeats_nothing(
    mill: Mill, recovery: Recovered
) -> None:
    """Without it, a redelivered message has its chunk's outcomes written again."""
    mill.dispatch()
    mill.workers()
    job_id = mill.submit([f"{Plant.DIE_AFTER_COMMIT} {text}" for text in TEXTS], chunk=4)

    mill.finished(job_id)
    began = time.monotonic()
    after = mill.submit(TEXTS)

    assert mill.finished(after).succeeded == 4
    recovery(time.monotonic() - began)
    assert mill.attempts(job_id) == [1]
    assert set(mill.outcomes(job_id).values()) == {"succeeded"}


def test_process_that_ends_for_want_of_a_heartbeat_charges_no_chunk(
    mill: Mill, database: DatabaseUrls
) -> None:
    """Without it, a fault of the heartbeat makes documents fail as if they had killed processes."""
    mill.dispatch()
    mill.workers(TEXTMILL_LEASE="3600")
    mill.hold()
    job_id = mill.submit(TEXTS * 10)
    mill.until(lambda: len(mill.running()) > 1, "chunks are in work")
    (victim,) = mill.pids()

    with psycopg.connect(database.owner) as owner:
        owner.execute(
            "create function refuse() returns trigger language plpgsql as"
            " 'begin raise insufficient_privilege; end'"
        )
        owner.execute(
            sql.SQL(
                "create trigger refuse before update on textmill.worker for each row"
                " when (old.pid = {}) execute function refuse()"
            ).format(victim)
        )
    mill.until(lambda: mill.pids() not in ([], [victim]), "another process takes its place")
    suspects = mill.scalars("select chunk_no from textmill.chunk where suspect")
    mill.let_go()

    assert mill.finished(job_id).succeeded == 40
    assert suspects == []


def test_process_that_hangs_as_a_whole_is_replaced(mill: Mill, recovery: Recovered) -> None:
    """Without it, a driver call that never returns keeps a GPU idle for ever, unnoticed."""
    mill.dispatch()
    mill.workers(PLANTED_SILENT="8", TEXTMILL_LEASE="3600")
    mill.hold()
    job_id = mill.submit(TEXTS)
    mill.until(lambda: len(mill.running()) == 1, "the chunk is in work")
    held, (hung,) = mill.running(), mill.pids()

    os.kill(hung, signal.SIGSTOP)
    began = time.monotonic()
    mill.let_go()

    recovery(mill.recovered(held, began))
    assert mill.finished(job_id).succeeded == 4
    assert "has not run for" in mill.log()
    assert hung not in mill.pids()


def test_process_outlives_its_supervisor_by_its_drain_time_alone(mill: Mill) -> None:
    """Without it, a process whose Postgres never returns holds its GPU for ever, unnoticed."""
    mill.dispatch()
    supervisor = mill.workers(TEXTMILL_DRAIN="1")
    mill.hold()
    job_id = mill.submit(TEXTS)
    mill.until(lambda: len(mill.running()) == 1, "a chunk is in work that does not end")

    supervisor.kill()

    mill.until(lambda: "the supervisor is gone" in mill.log(), "the process ends itself")
    mill.let_go()
    mill.workers()
    assert mill.finished(job_id).succeeded == 4


def test_zombie_that_wakes_after_its_lease_writes_nothing(mill: Mill, recovery: Recovered) -> None:
    """Without it, a process that was given up for dead overwrites its successor's outcomes."""
    mill.dispatch()
    supervisor = mill.workers()
    (zombie,) = mill.pids()
    mill.hold()
    job_id = mill.submit(TEXTS * 4)
    mill.until(lambda: len(mill.running()) > 1, "chunks are in work")
    held = mill.running()

    os.kill(zombie, signal.SIGSTOP)
    began = time.monotonic()
    mill.let_go()
    mill.workers()
    recovery(mill.recovered(held, began))
    os.kill(zombie, signal.SIGCONT)
    mill.finished(job_id)

    mill.until(lambda: "are dropped" in mill.log(), "the zombie finds that its lease is lost")
    mill.check()
    assert set(mill.outcomes(job_id).values()) == {"succeeded"}
    assert max(mill.attempts(job_id)) == 2
    assert supervisor.poll() is None


@pytest.mark.slow
def test_rolling_restart_under_load_loses_and_repeats_nothing(mill: Mill) -> None:
    """Without it, every deployment charges attempts and does work twice."""
    mill.dispatch()
    # No lease runs out meanwhile, so only the restart could cause a second attempt.
    long = SHORT | {"TEXTMILL_LEASE": "600"}
    serving = [mill.workers(1, **long), mill.workers(1, **long)]
    job_ids = []

    for old in serving:
        mill.workers(1, **long)
        mill.hold()
        job_ids.append(mill.submit(TEXTS * 100))
        mill.until(lambda: len(mill.running()) > 3, "all are at work")
        old.send_signal(signal.SIGTERM)
        mill.let_go()
        assert old.wait(60) == 0

    for job_id in job_ids:
        assert mill.finished(job_id).succeeded == 400
        assert set(mill.attempts(job_id)) == {1}


@pytest.mark.slow
def test_second_sigterm_ends_at_once_and_loses_nothing(mill: Mill, recovery: Recovered) -> None:
    """Without it, an operator in a hurry uses SIGKILL, and chunks wait for their leases."""
    mill.dispatch()
    supervisor = mill.workers(TEXTMILL_DRAIN="600", TEXTMILL_LEASE="3600")
    mill.hold()
    job_id = mill.submit(TEXTS * 4)
    mill.until(lambda: len(mill.running()) > 1, "chunks are in work")
    held = mill.running()

    supervisor.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        supervisor.wait(2)
    supervisor.send_signal(signal.SIGTERM)
    supervisor.wait(60)
    began = time.monotonic()
    mill.let_go()
    mill.workers()

    recovery(mill.recovered(held, began))
    assert mill.finished(job_id).succeeded == 16
