"""Worker processes on real servers: from dispatched chunks to rows."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from producer import jobs
from producer.outcomes import outcomes
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.outcomes import RESULT
from schema.settings import IntakeSettings
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import Start
from tests.fixtures.waiting import PATIENCE, until

TEXTS = [
    "The delivery was quick and the tea tastes wonderful, I am so happy!",
    "太差了，再也不会买了，客服态度恶劣。",
    "   \u200b ",
    "这个 app 的 UI 很好看，but it crashes every day, very disappointed.",
]


def submit_texts(engine: sa.Engine, task: Task, copies: int = 1) -> JobId:
    return submit(
        engine,
        task,
        [Document(text=text) for text in TEXTS * copies],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(chunk_documents=8),
    ).job_id


def workers(engine: sa.Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(sa.text("select pid from textmill.worker")))


def progress(engine: sa.Engine) -> int:
    """Documents that the live processes report as finished."""
    with engine.connect() as connection:
        rows = connection.execute(sa.text("select * from textmill.worker_status")).all()
    return sum(row.documents for row in rows if row.documents_per_second > 0)


@pytest.fixture
def running(start: Start, producer_engine: sa.Engine) -> subprocess.Popen[str]:
    """Start dispatch and one worker process; return its supervisor once the process is ready."""
    start("producer.cli", "dispatch")
    supervisor = start("worker.cli", "run", "--devices", "cpu", "--processes", "1")
    until(lambda: supervisor.poll() is not None or len(workers(producer_engine)) == 1)
    return supervisor


def test_files_of_the_working_directory_are_not_imported(
    start: Start, producer_engine: sa.Engine, tmp_path: Path
) -> None:
    """Without it, a worker started in a folder of uploads runs a file that is named torch.py."""
    for name in ("torch.py", "celery.py", "redis.py"):
        (tmp_path / name).write_text("raise SystemExit('not ours')")

    supervisor = start(
        "worker.cli", "run", "--devices", "auto", "--processes", "1", folder=tmp_path
    )

    until(lambda: supervisor.poll() is not None or len(workers(producer_engine)) == 1)
    assert supervisor.poll() is None


@pytest.mark.usefixtures("running")
def test_every_document_gets_its_outcome(producer_engine: sa.Engine) -> None:
    """Without it, nothing of Textmill works."""
    job_ids = {task: submit_texts(producer_engine, task) for task in Task}

    for task, job_id in job_ids.items():
        *_, seen = jobs.statuses(producer_engine, job_id, PATIENCE)
        rows = list(outcomes(producer_engine, job_id))

        assert (seen.state, seen.succeeded, seen.failed) == ("completed", 3, 1)
        assert [row["status"] for row in rows] == [
            "succeeded",
            "succeeded",
            "failed",
            "succeeded",
        ]
        for row in rows:
            if row["status"] == "succeeded":
                assert RESULT.validate_python(row["result"]).task == task
    until(lambda: progress(producer_engine) == len(TEXTS) * len(Task))


def test_sigterm_finishes_running_chunks_and_exits_with_0(
    running: subprocess.Popen[str], producer_engine: sa.Engine
) -> None:
    """Without it, every deployment charges attempts and repeats work."""
    job_id = submit_texts(producer_engine, Task.SENTIMENT, copies=200)
    until(lambda: jobs.status(producer_engine, job_id).succeeded > 0)

    running.send_signal(signal.SIGTERM)

    assert running.wait(PATIENCE) == 0
    with producer_engine.connect() as connection:
        left = connection.execute(
            sa.text(
                "select count(*) filter (where state = 'running'), max(attempt) from textmill.chunk"
            )
        ).one()
    assert tuple(left) == (0, 1)
    assert workers(producer_engine) == []


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("running")
def test_killed_process_is_replaced_and_its_chunks_are_done_again(
    producer_engine: sa.Engine,
) -> None:
    """Without it, a crash loses the running chunks until someone notices."""
    (victim,) = workers(producer_engine)
    job_id = submit_texts(producer_engine, Task.SENTIMENT, copies=400)
    until(lambda: jobs.status(producer_engine, job_id).succeeded > 0)

    os.kill(victim, signal.SIGKILL)

    *_, seen = jobs.statuses(producer_engine, job_id, 3 * PATIENCE)
    assert (seen.succeeded, seen.failed) == (1200, 400)
    assert workers(producer_engine) != [victim]


def test_broken_artifact_ends_the_supervisor(start: Start, tmp_path: Path) -> None:
    """Without it, a bad deployment becomes a crash loop that looks alive."""
    supervisor = start(
        "worker.cli",
        "run",
        "--devices",
        "cpu",
        "--processes",
        "1",
        TEXTMILL_ARTIFACTS=str(tmp_path),
    )

    output, _ = supervisor.communicate(timeout=PATIENCE)

    assert supervisor.returncode == 78
    assert str(tmp_path) in output


def test_dead_process_that_cannot_be_reported_is_told_of_once(
    running: subprocess.Popen[str], engine: sa.Engine
) -> None:
    """Without it, a missing right looks like an endless outage that logs a line every second."""
    (victim,) = workers(engine)
    with engine.begin() as connection:
        name = str(connection.scalar(sa.text("select worker from textmill.worker")))
        connection.exec_driver_sql(
            "revoke execute on function textmill.end_attempts from textmill_worker"
        )

    os.kill(victim, signal.SIGKILL)
    until(lambda: any(pid != victim for pid in workers(engine)))
    running.send_signal(signal.SIGTERM)
    output, _ = running.communicate(timeout=PATIENCE)

    assert running.returncode == 0
    lines = [line for line in output.splitlines() if name in line]
    (said,) = [line for line in lines if "permission denied" in line]
    assert "wait for their leases to run out" in said


@pytest.mark.parametrize(
    ("role", "refused"),
    [("producer", "table worker"), ("worker", "view promoted_model")],
    ids=["login", "roles"],
)
def test_role_without_rights_ends_the_supervisor(
    start: Start, engine: sa.Engine, database: DatabaseUrls, role: str, refused: str
) -> None:
    """Without it, a wrong login, or not running roles.sql, causes a crash loop of tracebacks."""
    with engine.begin() as connection:
        connection.exec_driver_sql("revoke select on textmill.promoted_model from textmill_worker")

    supervisor = start(
        *("worker.cli", "run", "--devices", "cpu", "--processes", "1"),
        TEXTMILL_DATABASE_URL=getattr(database, role),
    )
    output, _ = supervisor.communicate(timeout=PATIENCE)

    assert supervisor.returncode == 78
    assert "Traceback" not in output
    (said,) = [line for line in output.splitlines() if "permission denied" in line]
    assert f"permission denied for {refused}" in said
    assert "let TEXTMILL_DATABASE_URL name one that is a member of textmill_worker" in said


def test_login_that_redis_refuses_ends_the_supervisor(start: Start, broker_url: str) -> None:
    """Without it, a worker with a wrong password waits for ever and looks alive."""
    supervisor = start(
        "worker.cli",
        "run",
        "--devices",
        "cpu",
        "--processes",
        "1",
        TEXTMILL_BROKER_URL=f"redis://:wrong@{broker_url.rpartition('@')[2]}",
    )

    output, _ = supervisor.communicate(timeout=PATIENCE)

    assert supervisor.returncode == 78
    assert "refuses the login" in output
