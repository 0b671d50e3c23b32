"""Transactions left open by people at a prompt, slow pipes and frozen programs."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from producer.submit import submit
from schema.documents import Document, JobOptions, Lane, Task
from schema.settings import IntakeSettings
from tests.fixtures.commands import invoke
from tests.fixtures.mill import Mill
from tests.fixtures.processes import environment

TEXTS = ["The tea was lovely and warm", "味道很差，不会再来", "The shop opens at nine", "物流很快"]
BATCH = 1500
LINES = 2000
PROMPT = 20
"""Seconds within which anything that is not blocked finishes."""


@pytest.mark.parametrize("limited", [False, True], ids=["unlimited", "limited"])
def test_submit_that_waits_for_its_input_holds_nobody_up(mill: Mill, *, limited: bool) -> None:
    """Without it, one `(head file; sleep) | textmill submit` stops all intake and all dispatch."""
    limits = {"TEXTMILL_LOAD_BATCH": str(BATCH)}
    if limited:
        limits["TEXTMILL_MAX_PENDING"] = "10000"
    slow = subprocess.Popen(
        [sys.executable, "-m", "producer.cli", "submit", "sentiment", "-", "--name", "slow"],
        env=environment(mill.database.producer, mill.broker_url, mill.key_prefix) | limits,
        stdin=subprocess.PIPE,
        text=True,
    )
    assert slow.stdin is not None
    try:
        for number in range(LINES):
            slow.stdin.write(f'{{"id":{number},"text":"tea","note":"{"x" * 200}"}}\n')
        slow.stdin.flush()
        mill.until(
            lambda: mill.scalars("select accepted from textmill.job") == [BATCH],
            "it has handed over its first batch, and waits for the rest of the second",
        )

        quick = invoke(
            mill.database,
            "submit",
            "sentiment",
            "-",
            stdin='{"text":"quick"}\n',
            PGOPTIONS=f"-c lock_timeout={PROMPT}s",
            **limits,
        )
        mill.dispatch()
        mill.workers()
        mill.until(
            lambda: mill.scalars("select succeeded from textmill.job where name is null") == [1],
            "the other job is done",
            bound=PROMPT * 3,
        )

        assert quick.exit_code == 0
        assert slow.poll() is None
        slow.stdin.close()
        assert slow.wait(PROMPT * 3) == 0
    finally:
        slow.kill()
        slow.wait()
    mill.until(
        lambda: mill.scalars("select succeeded from textmill.job where name = 'slow'") == [LINES],
        "the slow job is done as well",
    )
    mill.check()


def test_open_transactions_stop_neither_submits_nor_dispatch(mill: Mill) -> None:
    """Without it, a `commit` forgotten at a prompt stops every job of the company."""
    late = submit(
        mill.engine,
        Task.SENTIMENT,
        [Document(text=text) for text in TEXTS],
        JobOptions(deadline_at=datetime.now(UTC) + timedelta(seconds=1)),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    ended, closing = mill.submit(TEXTS), mill.submit(TEXTS)
    cancel = sa.text("select textmill.cancel(:job_id)")
    with mill.engine.begin() as connection:
        connection.execute(cancel, {"job_id": closing})
    mill.workers()
    with mill.engine.connect() as person, mill.engine.begin() as other:
        other.exec_driver_sql("select set_config('lock_timeout', '5s', true)")
        person.exec_driver_sql("select textmill.submit('sentiment', '[{\"text\": \"a b\"}]')")
        person.execute(cancel, {"job_id": ended})
        person.execute(sa.text("select textmill.close_chunks(:job_id)"), {"job_id": ended})
        person.execute(sa.text("select textmill.pause(:job_id)"), {"job_id": late})
        person.execute(
            sa.text("select from textmill.job where job_id = :job_id for update"),
            {"job_id": closing},
        )
        other.exec_driver_sql("select textmill.submit('sentiment', '[{\"text\": \"c d\"}]')")
        other.commit()

        mill.dispatch()
        quick = mill.finished(mill.submit(TEXTS))

        assert quick.succeeded == len(TEXTS)
        assert "met a lock" not in mill.log()
        person.rollback()
    assert mill.finished(ended).succeeded == len(TEXTS)
    assert mill.finished(closing).cancelled == len(TEXTS)
    assert mill.finished(late).finished


@pytest.mark.timeout(240)
def test_open_transaction_on_a_running_job_stops_no_worker(mill: Mill) -> None:
    """Without it, every process on every host considers itself stuck, and none is restarted."""
    mill.dispatch()
    mill.workers(TEXTMILL_CHUNK_TIMEOUT="8")
    (process,) = mill.pids()
    mill.hold()
    held = mill.submit(TEXTS * 8)
    mill.until(lambda: len(mill.running()) > 0, "the job runs")
    with mill.engine.connect() as person:
        person.execute(
            sa.text("update textmill.job set weight = 2 where job_id = :job"), {"job": held}
        )
        mill.let_go()
        began = time.monotonic()

        other = mill.finished(mill.submit(TEXTS, lane=Lane.INTERACTIVE))
        mill.until(
            lambda: time.monotonic() - began > 16 and mill.log().count("55P03") > 8,
            "every thread has tried for longer than a chunk may be in work",
        )

        assert other.succeeded == len(TEXTS)
        assert mill.pids() == [process]
        person.rollback()
    assert mill.finished(held).succeeded == len(TEXTS) * 8
    assert mill.pids() == [process]
    assert mill.scalars("select sum(errors + crashes) from textmill.chunk") == [0]


def test_open_transaction_on_a_worker_costs_no_lease(mill: Mill, engine: sa.Engine) -> None:
    """Without it, locking rows of workers silently makes live workers look dead."""
    mill.dispatch()
    mill.workers(TEXTMILL_LEASE="9")
    mill.hold()
    held = mill.submit(TEXTS)
    mill.until(lambda: len(mill.running()) == 1, "the chunk is in work")
    with engine.connect() as person:
        person.exec_driver_sql("select from textmill.worker for update")

        mill.until(
            lambda: mill.log().count("no heartbeat") > 2, "it is said for longer than a lease"
        )

        person.rollback()
    mill.let_go()
    assert mill.finished(held).succeeded == len(TEXTS)
    assert mill.attempts(held) == [1]


@pytest.mark.timeout(240)
def test_open_transaction_on_a_chunk_keeps_no_process_from_its_place(mill: Mill) -> None:
    """Without it, a forgotten `commit` keeps a supervisor from replacing a dead process."""
    mill.dispatch()
    mill.workers()
    (victim,) = mill.pids()
    mill.hold()
    held = mill.submit(TEXTS)
    mill.until(lambda: len(mill.running()) == 1, "the chunk is in work")
    with mill.engine.connect() as person:
        person.exec_driver_sql("select from textmill.chunk for update")

        os.kill(victim, signal.SIGKILL)
        mill.until(
            lambda: any(process != victim for process in mill.pids()), "another process serves"
        )

        person.rollback()
    mill.let_go()
    assert mill.finished(held).succeeded == len(TEXTS)
