"""Passwords and texts stay out of everything that is printed, sent or stored elsewhere."""

import base64
import json
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from producer.broker import Broker
from producer.dispatch import Dispatcher
from producer.submit import submit
from schema.documents import Document, JobOptions, Lane, Task
from schema.errors import ServiceUnavailableError
from schema.messages import queue_name
from schema.settings import DispatchSettings, IntakeSettings, ServiceSettings
from tests.fixtures.commands import invoke
from tests.fixtures.postgres import DatabaseUrls

PASSWORD = "correct-horse-9041"  # noqa: S105
WORD = "gribbleflax"
"""A word of the documents that no log, message or error may hold."""


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://someone:{PASSWORD}@127.0.0.1:1/none",
        f"postgresql://someone:{PASSWORD}@[::1/none",
        f"mysql://someone:{PASSWORD}@127.0.0.1/none",
        f"someone:{PASSWORD}@127.0.0.1/none",
        f"postgresql://someone@127.0.0.1:1/none?password={PASSWORD}",
        f"postgresql://someone:9@{PASSWORD}@127.0.0.1:1/none",
        f"postgresql://someone:9@{PASSWORD}:9@127.0.0.1:1/none",
        f"postgresql://someone:9@{PASSWORD}/9@127.0.0.1:1/none",
        f"postgresql://someone:9@{PASSWORD}?9@127.0.0.1:1/none",
        f"postgresql://127.0.0.1:1?password=9@{PASSWORD}",
        f"postgresql://127.0.0.1:1/none?pasword={PASSWORD}",
    ],
)
@pytest.mark.parametrize("command", [["status"], ["db", "check"], ["dispatch"]])
def test_no_error_shows_the_password_of_postgres(
    database: DatabaseUrls, url: str, command: list[str]
) -> None:
    """Without it, a mistyped URL puts a password into a ticket."""
    variables = {
        "TEXTMILL_DATABASE_URL": url,
        "TEXTMILL_BROKER_URL": f"redis://:{PASSWORD}@127.0.0.1:1/0",
    }

    said = invoke(database, *command, **variables)

    assert said.exit_code in (2, 3)
    assert said.output
    assert PASSWORD not in said.output


def test_no_error_shows_the_password_of_redis() -> None:
    """Without it, an outage puts a password into a ticket."""
    with pytest.raises(ServiceUnavailableError) as raised:
        Broker(f"redis://:{PASSWORD}@127.0.0.1:1/0", "away:").queued()

    assert "Redis at redis://127.0.0.1:1/0 does not answer" in str(raised.value)
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:9@{PASSWORD}@127.0.0.1:1/0",
        f"redis://:{PASSWORD}/x@127.0.0.1:1/0",
        f"redis://:9/{PASSWORD}@127.0.0.1:1/0",
        f"redis://someone:9?{PASSWORD}@127.0.0.1:1/0",
        f"redis://someone:9#{PASSWORD}@127.0.0.1:1/0",
        f"redis://someone:9;{PASSWORD}@127.0.0.1:1/0",
        f"redis://:{PASSWORD}@[::1/0",
        f"redis://:{PASSWORD}@/0",
        f"redis://127.0.0.1:1/0?password={PASSWORD}",
        f"amqp://:{PASSWORD}@127.0.0.1:1/0",
        f":{PASSWORD}@127.0.0.1:1/0",
    ],
)
def test_malformed_url_of_redis_is_refused_without_its_password(
    database: DatabaseUrls, url: str
) -> None:
    """Without it, an unescaped password is partly shown in a traceback, and workers loop."""
    said = invoke(database, "status", TEXTMILL_BROKER_URL=url)

    assert said.exit_code == 2
    assert "TEXTMILL_BROKER_URL: " in said.output
    assert PASSWORD not in said.output


def test_settings_do_not_show_their_secrets() -> None:
    """Without it, a debugger's print or a traceback with locals shows them."""
    settings = ServiceSettings(
        database_url=f"postgresql://a:{PASSWORD}@b/c", broker_url=f"redis://:{PASSWORD}@b/0"
    )

    assert PASSWORD not in f"{settings} {settings!r} {settings.model_dump()}"


def test_intake_refuses_without_repeating_the_text(
    database: DatabaseUrls, tmp_path: Path, engine: sa.Engine
) -> None:
    """Without it, failures of intake repeat what the documents hold."""
    path = tmp_path / "a.jsonl"
    lines = [
        {"id": WORD * 200, "text": "a"},
        {"id": [WORD], "text": "a"},
        {"id": "1", "text": WORD * 20},
        {"id": "2", "text": [WORD]},
        {"id": "3", "text": f"{WORD}\0"},
        {"id": "4", "text": "a", "more": WORD * 2000},
        {"id": "5", "text": "a", "more": f"{WORD}\0"},
    ]
    broken = [f'{{"text": "{WORD}', f"{WORD}", f'["{WORD}"]']
    path.write_text("\n".join([*map(json.dumps, lines), *broken]))
    limits = str(len(WORD) * 10)

    said = invoke(database, "submit", "sentiment", path, TEXTMILL_MAX_DOCUMENT_BYTES=limits)

    with engine.connect() as connection:
        messages = connection.scalars(sa.text("select message from textmill.failure")).all()
    assert len(messages) == len(lines) + len(broken)
    assert WORD not in said.output
    assert not [message for message in messages if WORD in message]


def test_messages_in_redis_are_pointers(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    broker: Broker,
    broker_url: str,
    key_prefix: str,
) -> None:
    """Without it, texts stay in Redis, in its backups and in its monitors."""
    submit(
        producer_engine,
        Task.SENTIMENT,
        [Document(external_id=WORD, text=WORD, metadata={"more": WORD})],
        JobOptions(name=WORD),
        submitter="tester",
        limits=IntakeSettings(),
    )
    with worker_engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into textmill.worker (worker, host, pid, device, tasks, threads)"
                " values ('w1', 'here', 1, 'cpu', '{sentiment}', 4)"
            )
        )

    Dispatcher(producer_engine, broker, DispatchSettings(), IntakeSettings().abandoned_after).step()

    with redis.Redis.from_url(broker_url) as client:
        queue = key_prefix + queue_name(Task.SENTIMENT, Lane.BULK)
        (envelope,) = [json.loads(item) for item in client.lrange(queue, 0, -1)]
    _, fields, _ = json.loads(base64.b64decode(envelope["body"]))
    assert set(fields) == {"v", "job_id", "chunk_no", "task"}
    assert WORD not in json.dumps([envelope, fields])
