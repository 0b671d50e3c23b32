"""`textmill cancel`, `pause`, `resume` and `retry`, and the deadline of `submit`."""

import json
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from producer import control
from tests.fixtures.chunks import add_job
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import FAILURE, POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls


def test_commands_control_jobs(
    database: DatabaseUrls, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, people need SQL to stop a job."""
    job_id = add_job(producer_engine, 2)

    printed = [
        invoke(database, "pause", job_id).stdout,
        invoke(database, "resume", job_id, "--json").stdout,
    ]
    work_off(producer_engine, worker_engine, job_id, FAILURE)
    printed += [
        invoke(database, "retry", job_id, "--json").stdout,
        invoke(database, "cancel", job_id, job_id).stdout,
    ]

    assert printed[0] == f"{job_id} paused\n"
    assert json.loads(printed[1]) == {"job_id": str(job_id), "state": "pending"}
    assert json.loads(printed[2]) == {"job_id": str(job_id), "documents": 2}
    assert printed[3] == f"{job_id} cancelled\n" * 2


def test_commands_say_when_there_was_nothing_to_do(
    database: DatabaseUrls, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, anyone who pauses a job that is over believes that it is paused."""
    job_id = add_job(producer_engine, 1)

    early = invoke(database, "retry", job_id)
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    ended = [
        invoke(database, command, job_id) for command in ("pause", "resume", "cancel", "retry")
    ]
    said = [one.stderr for one in ended]
    refused = invoke(database, "submit", "sentiment", "-", stdin="{").stdout.strip()
    hopeless = invoke(database, "retry", refused)

    assert early.stdout == f"{job_id} documents to run again: 0\n"
    assert early.stderr == f"job {job_id} is pending; only a job that is over can be retried\n"
    assert said == [
        f"job {job_id} is completed; nothing to pause\n",
        f"job {job_id} is completed; nothing to resume\n",
        f"job {job_id} is completed; nothing to cancel\n",
        f"job {job_id} has no failures; nothing to retry\n",
    ]
    assert [one.exit_code for one in (*ended, early, hopeless)] == [2, 2, 2, 0, 0, 0]
    assert f"job {refused}: all its failures (1) would fail again" in hopeless.stderr


def test_retry_of_a_job_that_is_paused_is_refused(
    database: DatabaseUrls, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a script continues as if the failures were being run again."""
    failed = add_job(producer_engine, 1)
    work_off(producer_engine, worker_engine, failed, FAILURE)
    stopped = add_job(producer_engine, 1)
    invoke(database, "pause", stopped)

    alone = invoke(database, "retry", stopped)
    beside = invoke(database, "retry", stopped, failed)

    assert (alone.exit_code, beside.exit_code) == (2, 0)
    why = f"job {stopped} is paused; continue it with: textmill resume {stopped}\n"
    assert alone.stderr == beside.stderr == why


@pytest.mark.parametrize("command", ["cancel", "pause", "resume", "retry"])
def test_job_that_another_session_holds_is_given_up_with_a_reason(
    database: DatabaseUrls,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """Without it, the command hangs as long as somebody's transaction is open, without a word."""
    monkeypatch.setattr(control, "LOCK_TIMEOUT", "100ms")
    job_id = add_job(producer_engine, 1)
    if command == "resume":
        control.pause(producer_engine, job_id)
    if command == "retry":
        work_off(producer_engine, worker_engine, job_id, FAILURE)

    with producer_engine.begin() as prompt:
        prompt.execute(
            sa.text("update textmill.job set weight = 2 where job_id = :job_id"),
            {"job_id": job_id},
        )
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(invoke, database, command, job_id)
            wait([held], timeout=20)
            done = held.done()
            prompt.rollback()

    assert done
    assert held.result().exit_code == 3
    assert "another session of Postgres was in the way" in held.result().stderr
    assert invoke(database, command, job_id).exit_code == 0


def test_deadline_option_reaches_the_job(
    database: DatabaseUrls, producer_engine: sa.Engine
) -> None:
    """Without it, a job continues long after its results are of use."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)

    done = invoke(
        database,
        "submit",
        "sentiment",
        "-",
        "--deadline",
        tomorrow.isoformat(),
        stdin='{"text":"a"}',
    )
    wrong = invoke(database, "submit", "sentiment", "-", "--deadline", "soon", stdin="")
    past = invoke(database, "submit", "sentiment", "-", "--deadline", "2020-01-01", stdin="")

    with producer_engine.connect() as connection:
        assert connection.scalar(sa.text("select deadline_at from textmill.job")) == tomorrow
    assert done.exit_code == 0
    assert wrong.exit_code == 2
    assert "2026-01-31T06:00" in wrong.stderr
    assert past.exit_code == 2
    assert "name a later one" in past.stderr
