"""compose.yaml, as far as it can be tested without Docker."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
import sqlalchemy as sa
import yaml

from producer.local.binaries import postgres_install, redis_server
from schema import settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "compose.yaml").read_text()
VARIABLES = {"POSTGRES_PASSWORD": "secret", "POSTGRES_PORT": "5432", "REDIS_PASSWORD": "secret"}
COMPOSE: dict[str, Any] = yaml.safe_load(
    re.sub(r"\$\{(\w+)[^}]*\}", lambda match: VARIABLES[match[1]], TEXT)
)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
TEXTMILL = {name: service for name, service in SERVICES.items() if "build" in service}
LONG_RUNNING = {name: service for name, service in TEXTMILL.items() if "healthcheck" in service}
WORKERS = [name for name in SERVICES if name.startswith("worker-")]
PATIENCE = 90
"""Seconds a service may take to be ready; a worker loads its models."""

READY_WHEN: dict[str, LiteralString] = {
    "dispatch": "select count(*) > 0 from pg_stat_activity"
    " where datname = current_database() and application_name = 'textmill-dispatch'",
    "worker-cpu": "select count(*) > 0 from textmill.worker",
    "worker-gpu": "select count(*) > 0 from textmill.worker",
}
"""Queries that tell when a service is at work."""


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_or_runs_once(name: str) -> None:
    """Without it, Compose starts dependents too early and never shows a broken service."""
    service = SERVICES[name]

    assert ("healthcheck" in service) != (service["restart"] == "no")


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_runs_as_root(name: str) -> None:
    """Without it, whoever exploits a fault in a service is root in its container."""
    assert SERVICES[name]["user"].partition(":")[0] not in ("0", "root")


def test_every_image_ends_as_an_ordinary_user() -> None:
    """Without it, an image that is run without compose.yaml runs as root."""
    stages = _stages((ROOT / "Dockerfile").read_text())

    for service in TEXTMILL.values():
        stage = stages[service["build"]["target"]]
        assert re.findall(r"^USER (.+)$", stage, re.MULTILINE)[-1] == service["user"]


def test_image_context_holds_all_that_the_wheel_is_built_from() -> None:
    """Without it, a package added to the wheel is missing from the images only."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    sources = {pattern.removesuffix("*") for pattern in found}
    sources |= {"pyproject.toml", project["project"]["readme"]}
    sources |= set(project["project"]["license-files"])

    kept = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    assert sources <= kept


@pytest.mark.parametrize(
    ("name", "data"),
    # The image of Postgres 18 keeps its data one level higher than earlier images.
    [("postgres", "/var/lib/postgresql"), ("redis", "/data")],
)
def test_servers_keep_their_data_in_a_named_volume(name: str, data: str) -> None:
    """Without it, a new container would begin with an empty database."""
    volume, _, target = SERVICES[name]["volumes"][0].partition(":")

    assert target == data
    assert volume in COMPOSE["volumes"]


def test_redis_writes_an_append_only_file_and_never_evicts() -> None:
    """Without it, a restart of Redis, or a full Redis, delays chunks until they are republished."""
    options = SERVICES["redis"]["command"][1:]
    given = dict(zip(options[::2], options[1::2], strict=True))

    assert given["--appendonly"] == "yes"
    assert given["--maxmemory-policy"] == "noeviction"


@pytest.mark.parametrize("name", WORKERS)
def test_worker_may_drain_before_it_is_killed(name: str) -> None:
    """Without it, every deployment charges an attempt to the running chunks."""
    grace = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))

    assert grace > settings.WorkerSettings.model_fields["drain"].default


def test_workers_share_the_models_folder() -> None:
    """Without it, a model that one worker serves is missing for the next, or lost with the old."""
    for name in WORKERS:
        folder = SERVICES[name]["environment"]["TEXTMILL_MODELS_DIR"]
        assert SERVICES[name]["volumes"] == [f"models:{folder}"]
    assert "models" in COMPOSE["volumes"]


def test_gpu_worker_needs_its_profile_and_reserves_devices() -> None:
    """Without it, a host without NVIDIA devices cannot start anything."""
    service = SERVICES["worker-gpu"]

    (device,) = service["deploy"]["resources"]["reservations"]["devices"]

    assert service["profiles"] == ["gpu"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["worker-gpu"]


def test_passwords_have_no_default() -> None:
    """Without it, somebody runs in production with the password of a public file."""
    named = re.findall(r"\$\{\w*PASSWORD(..)", TEXT)

    assert set(named) == {":?"}


@pytest.mark.parametrize("name", TEXTMILL)
def test_environment_holds_settings_that_exist(name: str) -> None:
    """Without it, a renamed setting is silently ignored and its default used."""
    concerns = (settings.ServiceSettings, settings.WorkerSettings)
    known = {f"TEXTMILL_{field.upper()}" for one in concerns for field in one.model_fields}

    assert set(TEXTMILL[name]["environment"]) <= known


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
    service = SERVICES["redis"]
    client = f"{shlex.quote(str(server.with_name('redis-cli')))} -s redis.sock"
    check = service["healthcheck"]["test"][1].replace("redis-cli", client)

    def healthy(environment: Mapping[str, str]) -> bool:
        command = ["/bin/sh", "-c", check]
        ended = subprocess.run(command, env=environment, cwd=tmp_path, check=False)
        return ended.returncode == 0

    environment = {**os.environ, **service["environment"]}
    command = [str(server), *service["command"][1:]]
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
    name: str, database_url: str, textmill_environment: dict[str, str], tmp_path: Path
) -> None:
    """Without it, a service's command is first run by whoever deploys it."""
    check = LONG_RUNNING[name]["healthcheck"]["test"][1:]
    command = _installed(LONG_RUNNING[name]["command"])

    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        _started(command, textmill_environment, tmp_path) as process,
    ):
        _wait_until(lambda: _holds(connection, READY_WHEN[name]), process, tmp_path)
        health = _run(check, textmill_environment)

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


def _stages(dockerfile: str) -> dict[str, str]:
    """The text of each build stage, by its name."""
    parts = re.split(r"^FROM \S+ AS (\w+)$", dockerfile, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))
