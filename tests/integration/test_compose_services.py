"""The commands of compose.yaml, run without Docker."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import sqlalchemy as sa

from producer.local.binaries import postgres_install, psql, redis_server
from tests.fixtures.compose import COMPOSE, LONG_RUNNING, SERVICES
from tests.fixtures.postgres import DatabaseUrls

PATIENCE = 90
"""Seconds a service may take to be ready; a worker loads its models."""

READY_WHEN: dict[str, LiteralString] = {
    "dispatch": "select count(*) > 0 from pg_stat_activity"
    " where datname = current_database() and application_name = 'textmill-dispatch'",
    "worker-cpu": "select count(*) > 0 from textmill.worker",
    "worker-gpu": "select count(*) > 0 from textmill.worker",
}
"""Queries that tell when a service is at work."""


def test_logins_have_the_rights_of_their_role_alone(database_url: str, tmp_path: Path) -> None:
    """Without it, no service can log in, or each may do whatever it likes."""
    url = sa.make_url(database_url)
    script = COMPOSE["configs"]["logins"]["content"].replace("_login", "_composed")
    (tmp_path / "logins.sql").write_text(script)
    service = SERVICES["logins"]
    command = [psql(), *service["command"][1:-1], f"--file={tmp_path / 'logins.sql'}"]
    environment = service["environment"] | {
        "PGDATABASE": url.database,
        "PGHOST": url.host,
        "PGPASSWORD": url.password,
        "PGPORT": str(url.port),
        "PGUSER": url.username,
    }

    try:
        for _ in range(2):  # the second `docker compose up` runs it again
            subprocess.run(command, env={**os.environ, **environment}, check=True)

        for side in ("producer", "worker"):
            login = url.set(username=f"{side}_composed", password="secret")  # noqa: S106
            with psycopg.connect(login.render_as_string(hide_password=False)) as connection:
                rights = connection.execute(
                    "select rolsuper or rolcreaterole or rolcreatedb, array("
                    "select roleid::regrole::text from pg_auth_members where member = r.oid)"
                    " from pg_roles r where rolname = current_user"
                ).fetchone()
            assert rights == (False, [f"textmill_{side}"])
    finally:
        with psycopg.connect(database_url) as connection:
            connection.execute("drop role if exists producer_composed, worker_composed")


def test_postgres_health_check_tells_a_running_server(database_url: str) -> None:
    """Without it, services would start before the database answers, or never."""
    url = sa.make_url(database_url)
    check = SERVICES["postgres"]["healthcheck"]["test"][1:]
    program = postgres_install() / "bin" / check[0]

    def answers(port: int | None) -> bool:
        environment = {**os.environ, "PGPORT": str(port)}
        ended = subprocess.run([program, *check[1:]], env=environment, check=False)
        return ended.returncode == 0

    assert answers(url.port)
    assert not answers(1)


def test_redis_command_starts_a_server_that_its_health_check_tells(tmp_path: Path) -> None:
    """The server listens on a socket file instead of the container's port."""
    server = redis_server()
    (tmp_path / "redis.conf").write_text(COMPOSE["configs"]["redis"]["content"])
    service = SERVICES["redis"]
    client = f"{shlex.quote(str(server.with_name('redis-cli')))} -s redis.sock"
    check = service["healthcheck"]["test"][1].replace("redis-cli", client)

    def healthy(environment: Mapping[str, str]) -> bool:
        command = ["/bin/sh", "-c", check]
        ended = subprocess.run(command, env=environment, cwd=tmp_path, check=False)
        return ended.returncode == 0

    environment = {**os.environ, **service["environment"]}
    command = [str(server), str(tmp_path / "redis.conf")]
    command += ["--port", "0", "--unixsocket", "redis.sock"]
    with _started(command, environment, tmp_path) as process:
        _wait_until(lambda: healthy(environment), process, tmp_path)

        assert not healthy(environment | {"REDISCLI_AUTH": "another"})

        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    assert list(tmp_path.glob("appendonly*"))


def test_migrate_can_run_again(textmill_environment: dict[str, str]) -> None:
    """Without it, the second `docker compose up` fails."""
    assert _run(SERVICES["migrate"]["command"], textmill_environment) == 0


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_service_gets_healthy_and_stops_when_asked(
    name: str, database: DatabaseUrls, textmill_environment: dict[str, str], tmp_path: Path
) -> None:
    """Without it, a service's command is first run by whoever deploys it."""
    check = LONG_RUNNING[name]["healthcheck"]["test"][1:]
    command = _installed(LONG_RUNNING[name]["command"])
    login = database.producer if name == "dispatch" else database.worker
    environment = textmill_environment | {"TEXTMILL_DATABASE_URL": login}

    with (
        psycopg.connect(database.owner, autocommit=True) as connection,
        _started(command, environment, tmp_path) as process,
    ):
        _wait_until(lambda: _holds(connection, READY_WHEN[name]), process, tmp_path)
        health = _run(check, environment)

        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)

    assert (health, code) == (0, 0), (tmp_path / "log").read_text()


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_health_check_fails_without_a_database(
    name: str, textmill_environment: dict[str, str]
) -> None:
    """Without it, a service that can do nothing is shown as healthy."""
    check = LONG_RUNNING[name]["healthcheck"]["test"][1:]
    unreachable = "postgresql://textmill:secret@127.0.0.1:1/textmill"

    code = _run(check, textmill_environment | {"TEXTMILL_DATABASE_URL": unreachable})

    assert code == 3


@pytest.fixture
def textmill_environment(database_url: str, broker_url: str) -> dict[str, str]:
    """What compose.yaml passes to a Textmill service, aimed at the servers of this test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TEXTMILL_")}
    return kept | {
        "OMP_NUM_THREADS": "1",
        "TEXTMILL_DATABASE_URL": database_url,
        "TEXTMILL_BROKER_URL": broker_url,
    }


@contextlib.contextmanager
def _started(
    command: list[str], environment: Mapping[str, str], directory: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in `directory`, its output in `log`; its processes end with the block."""
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=directory,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], directory: Path
) -> None:
    """Wait until a process of `_started` is ready; fail if it ends or `PATIENCE` runs out."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.2)
        if process.returncode is not None or time.monotonic() > deadline:
            pytest.fail(f"not ready, code {process.returncode}: {(directory / 'log').read_text()}")


def _holds(connection: psycopg.Connection[Any], query: LiteralString) -> bool:
    row = connection.execute(query).fetchone()
    return row == (True,)


def _run(command: list[str], environment: Mapping[str, str]) -> int:
    return subprocess.run(_installed(command), env=environment, check=False).returncode


def _installed(command: list[str]) -> list[str]:
    """`command` with the path of its program in this environment."""
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]
