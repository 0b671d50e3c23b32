"""Programs that meet data of another version, and models that cannot be loaded."""

import json
import shutil
import zlib
from base64 import b64encode
from pathlib import Path
from uuid import uuid4

import pytest
import redis
import sqlalchemy as sa
from celery import Celery

from schema.documents import Lane, Task
from schema.messages import TASK_NAME, broker_options, queue_name
from tests.fixtures.mill import Mill
from worker.pipeline.artifact import SHIPPED

QUEUE = queue_name(Task.SENTIMENT, Lane.BULK)
TEXTS = ["The tea was lovely and warm", "味道很差，不会再来"]


def enveloped(body: bytes = b"[[], {}, {}]", **headers: object) -> bytes:
    """A message as Redis holds it, with further headers."""
    return json.dumps(
        {
            "body": b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"task": TASK_NAME, "id": str(uuid4()), "lang": "py", **headers},
            "properties": {
                "body_encoding": "base64",
                "delivery_info": {"exchange": "", "routing_key": QUEUE},
                "delivery_tag": str(uuid4()),
            },
        }
    ).encode()


def test_programs_refuse_a_database_of_another_version_and_lose_nothing(
    mill: Mill, engine: sa.Engine
) -> None:
    """Without it, an old worker writes rows that mean something else in newer tables."""
    job_id = mill.submit(TEXTS)
    with engine.begin() as connection:
        found = connection.scalar(sa.text("select version_num from textmill.alembic_version"))
        connection.execute(sa.text("update textmill.alembic_version set version_num = '9999'"))

    dispatch = mill.dispatch()
    supervisor = mill.start("worker.cli", "run", "--devices", "cpu", "--processes", "1")

    assert (dispatch.wait(60), supervisor.wait(60)) == (3, 3)
    assert mill.log().count("update textmill") == 2
    with engine.begin() as connection:
        connection.execute(
            sa.text("update textmill.alembic_version set version_num = :found"), {"found": found}
        )
    mill.check()
    assert set(mill.outcomes(job_id).values()) == {"pending"}


def test_messages_that_nobody_understands_are_refused_and_nothing_is_lost(
    mill: Mill, broker_url: str, key_prefix: str
) -> None:
    """Without it, a message of a later version or of another program stops a worker."""
    mill.dispatch()
    mill.workers(TEXTMILL_LEASE="600")
    job_id = str(uuid4())
    app = Celery(broker=broker_url, set_as_current=False)
    app.conf.broker_transport_options = broker_options(key_prefix)
    right = {"v": 1, "job_id": job_id, "chunk_no": 0, "task": "sentiment"}
    for wrong in ({"v": 2}, {"chunk_no": -1}, {"job_id": "?"}, {"task": "poetry"}, {"extra": "x"}):
        app.send_task(TASK_NAME, kwargs=right | wrong, queue=QUEUE)
    app.send_task("another.task", kwargs=right, queue=QUEUE)
    app.send_task(TASK_NAME, args=[1, 2], kwargs=right, queue=QUEUE)
    app.send_task(TASK_NAME, kwargs=right, queue=QUEUE)  # for a job that does not exist
    app.close()

    real = mill.submit(TEXTS * 10)

    assert mill.finished(real).succeeded == 20
    assert set(mill.attempts(real)) == {1}
    assert len(mill.pids()) == 1


@pytest.mark.slow
def test_bytes_that_are_no_message_end_no_worker_and_lose_nothing(
    mill: Mill, broker_url: str, key_prefix: str
) -> None:
    """Without it, anyone who writes into our queue can stop it for good."""
    mill.dispatch()
    mill.workers()
    pids = mill.pids()
    bomb = enveloped(zlib.compress(bytes(1_000_000)), compression="application/x-gzip")
    bodies = (b"null", b"[]", b"[[], {}]", b'[[], {}, {"callbacks": 5}]')
    items = [b"", b"\xff", b"[" * 200_000, b'{"body": "?"}', bomb, *map(enveloped, bodies)]
    items += [enveloped(timelimit=5), enveloped(task=["a"]), enveloped(id=None)]
    items += [enveloped().replace(b'"id"', b'"di"'), enveloped().replace(b"headers", b"headless")]
    with redis.Redis.from_url(broker_url) as client:
        client.lpush(key_prefix + QUEUE, *items)

    job_id = mill.submit(TEXTS * 10)

    assert mill.finished(job_id).succeeded == 20
    assert mill.pids() == pids
    assert "Connection to broker lost" not in mill.log()
    with redis.Redis.from_url(broker_url) as client:
        assert not client.exists(key_prefix + "unacked")


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["cut short", "of another task", "without its vocabulary"])
def test_broken_artifact_ends_the_worker_with_a_reason(
    mill: Mill, tmp_path: Path, fault: str
) -> None:
    """Without it, a bad deployment becomes a crash loop that looks alive."""
    broken = tmp_path / "broken"
    shutil.copytree(SHIPPED, broken)
    sentiment = broken / "sentiment"
    if fault == "cut short":
        weights = sentiment / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "of another task":
        shutil.rmtree(sentiment)
        shutil.copytree(broken / "moderation", sentiment)
    else:
        (sentiment / "tokenizer.json").write_text("{}")
    job_id = mill.submit(TEXTS)

    supervisor = mill.workers(TEXTMILL_ARTIFACTS=str(broken))

    assert supervisor.wait(60) == 78
    assert str(sentiment) in mill.log()
    assert "Traceback" not in mill.log()
    assert set(mill.outcomes(job_id).values()) == {"pending"}
    mill.check()


@pytest.mark.slow
def test_schema_upgraded_under_a_running_worker_loses_nothing(
    mill: Mill, engine: sa.Engine
) -> None:
    """Without it, a worker forgotten during an upgrade is noticed only by the damage it does."""
    mill.dispatch()
    supervisor = mill.workers()
    with engine.begin() as connection:
        found = connection.scalar(sa.text("select version_num from textmill.alembic_version"))
        connection.execute(sa.text("update textmill.alembic_version set version_num = '9999'"))
    (pid,) = mill.pids()

    supervisor.terminate()
    assert supervisor.wait(60) == 0
    again = mill.start("worker.cli", "run", "--devices", "cpu", "--processes", "1")
    assert again.wait(60) == 3

    with engine.begin() as connection:
        connection.execute(
            sa.text("update textmill.alembic_version set version_num = :found"), {"found": found}
        )
    mill.workers()
    assert mill.pids() != [pid]
    assert mill.finished(mill.submit(TEXTS)).succeeded == 2
