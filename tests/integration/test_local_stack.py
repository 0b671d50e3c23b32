"""The embedded stack on real servers: found, private, ended, and back after a kill."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import SecretStr
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry

from producer.local import Stack, find, remove, running, servers
from producer.local.ports import LOOPBACK, answers
from schema.errors import ServiceUnavailableError, SettingsError, UsageError
from schema.settings import ServiceSettings
from schema.stack import database_url

NO_RETRY = Retry(NoBackoff(), retries=0)
ROOT = Path(__file__).parents[2]

RUN_UNTIL_KILLED = """
import sys
from pathlib import Path
from producer.local import servers
from schema.settings import ServiceSettings

with servers(ServiceSettings(data_dir=Path(sys.argv[1])), durable=False) as stack:
    print(stack.urls.owner, stack.urls.broker, flush=True)
    sys.stdin.read()
"""

# Stands in for dispatch and worker: reports its start, and its end on SIGTERM.
STAND_IN = """
import os, signal, sys
from pathlib import Path
from redis import Redis

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
started = f"{sys.argv[1]} {os.environ['TEXTMILL_DATABASE_URL']}"
Redis.from_url(os.environ["TEXTMILL_BROKER_URL"]).rpush("started", started)
signal.sigwait({signal.SIGTERM})
with Path(os.environ["ENDED"]).open("a") as ended:
    print(sys.argv[1], file=ended)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    yield from _folder()


@pytest.fixture
def killed(folder: Path) -> tuple[ServiceSettings, list[int]]:
    """A data directory whose owner was killed while its stack ran, and its servers' ports."""
    services = _services(folder)
    with subprocess.Popen(
        [sys.executable, "-c", RUN_UNTIL_KILLED, services.data_dir],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout
        ports = [urlsplit(url).port or 0 for url in owner.stdout.readline().decode().split()]
        owner.kill()
    return services, ports


def test_postgres_keeps_its_port_while_that_is_free(folder: Path) -> None:
    """Without it a saved connection of a database client points nowhere after each start."""
    ports = []
    for _ in range(2):
        with servers(_services(folder), durable=False) as stack:
            ports.append(urlsplit(stack.urls.reader).port)
    with (
        socket.create_server((LOOPBACK, ports[0] or 0)),
        servers(_services(folder), durable=False) as stack,
    ):
        ports.append(urlsplit(stack.urls.reader).port)

    first, second, third = ports
    assert first == second
    assert third != first


def test_postgres_has_room_for_a_worker_process_on_every_core(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, on a machine of many cores the workers leave no connection to a submit."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setenv("TEXTMILL_THREADS", "8")

    with servers(_services(folder), durable=False) as stack, psycopg.connect(stack.urls.owner) as c:
        (most,) = c.execute("show max_connections").fetchone() or ("0",)

    assert int(most) >= 64 * (8 + 2) + 100


def test_a_stack_is_found_while_it_runs_and_only_then(folder: Path) -> None:
    """Without it, `submit` would start a second stack, or talk to one that is gone."""
    services = _services(folder)

    before = find(services)
    with servers(services, durable=False) as stack:
        during = find(services)
    after = find(services)

    assert (before, during, after) == (None, stack, None)


def test_one_data_directory_has_one_stack(folder: Path) -> None:
    """Two Postgres servers on one cluster would destroy it."""
    services = _services(folder)

    with (
        servers(services, durable=False),
        pytest.raises(UsageError, match="another process runs a stack"),
        servers(services, durable=False),
    ):
        pass


def test_two_stacks_run_side_by_side(stack: Stack, folder: Path) -> None:
    """Two clones of the project must not share a port, nor accept each other's passwords."""
    with servers(_services(folder), durable=False) as other:
        password = psycopg.conninfo.conninfo_to_dict(stack.urls.owner)["password"]

        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(other.urls.owner, password=password)

        other.check()
        stack.check()


def test_each_side_logs_in_with_its_own_rights(stack: Stack) -> None:
    """A reader that can write, or a worker that can submit, makes the roles useless."""
    members = {}
    for side in ("producer", "worker", "reader", "annotator"):
        with psycopg.connect(getattr(stack.urls, side)) as connection:
            members[side] = connection.execute(
                "select rolname from pg_roles where rolname ^@ 'textmill_'"
                " and pg_has_role(current_user, oid, 'member') and not rolsuper"
            ).fetchall()

    assert members == {side: [(f"textmill_{side}",)] for side in members}


def test_no_server_opens_without_its_password(stack: Stack) -> None:
    """Loopback is shared by every account of the machine."""
    broker = Redis.from_url(stack.urls.broker)
    port = broker.connection_pool.connection_kwargs["port"]

    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(stack.urls.owner, password="", passfile=os.devnull)
    with Redis("127.0.0.1", port, retry=NO_RETRY) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    broker.close()


def test_secrets_are_for_the_owner_alone(folder: Path) -> None:
    """Process listings and file modes are where passwords leak."""
    ps = shutil.which("ps") or pytest.skip("no program lists the arguments of processes")
    services = _services(folder)

    with servers(services, durable=False) as stack:
        secrets = (
            (services.data_dir / "passwords.json").read_text(encoding="utf-8").split('"')[3::4]
        )
        listed = subprocess.run(
            [ps, "-ww", "-o", "args=", "-p", ",".join(str(pid) for _, pid in stack.processes)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        modes = [
            (services.data_dir / name).stat().st_mode & 0o777
            for name in ("passwords.json", "stack.json", "passfile")
        ]

    assert "postgres" in listed
    assert not [secret for secret in secrets if secret in listed or secret in repr(stack)]
    assert modes == [0o600] * 3


def test_the_end_of_the_block_leaves_no_process(folder: Path) -> None:
    """`make demo` promises to leave nothing running."""
    with servers(_services(folder), durable=False) as stack:
        pass

    assert not [process for process in stack.processes if _alive(process.pid)]


def test_data_outlives_the_servers(folder: Path) -> None:
    """Yesterday's documents and queued messages must still be there today."""
    services = _services(folder)
    with servers(services, durable=False) as stack:
        with psycopg.connect(stack.urls.owner) as connection:
            connection.execute("create table kept as select 42 as answer")
        with Redis.from_url(stack.urls.broker) as broker:
            broker.set("kept", "42")

    with servers(services, durable=False) as stack:
        with psycopg.connect(stack.urls.owner) as connection:
            row = connection.execute("select answer from kept").fetchone()
        with Redis.from_url(stack.urls.broker) as broker:
            value = broker.get("kept")

    assert (row, value) == ((42,), b"42")


def test_servers_do_not_outlive_a_killed_owner(
    killed: tuple[ServiceSettings, list[int]],
) -> None:
    """An orphaned Postgres would hold its memory and its cluster for good."""
    services, ports = killed

    with servers(services, durable=False):
        pass  # an owner waits until the servers of earlier owners are gone

    assert len(ports) == 2
    assert not [port for port in ports if answers(port)]


def test_a_killed_stack_is_not_found(killed: tuple[ServiceSettings, list[int]]) -> None:
    """A killed stack leaves its state file behind, which must not be believed."""
    services, _ = killed

    assert (services.data_dir / "stack.json").exists()
    assert find(services) is None
    with pytest.raises(SettingsError, match="no stack runs here"):
        database_url(services)


def test_a_stack_killed_as_a_whole_starts_again_with_its_data(folder: Path) -> None:
    """A machine that loses power must come back by itself."""
    services = _services(folder)
    with servers(services) as stack:
        with psycopg.connect(stack.urls.owner) as connection:
            connection.execute("create table kept as select 42 as answer")
        for process in stack.processes:
            os.kill(process.pid, signal.SIGKILL)

    with servers(services) as stack, psycopg.connect(stack.urls.owner) as connection:
        row = connection.execute("select answer from kept").fetchone()

    assert row == (42,)


def test_a_server_that_dies_is_reported_by_name(folder: Path) -> None:
    """`textmill up` must not continue as if all were well."""
    with servers(_services(folder), durable=False) as stack:
        with Redis.from_url(stack.urls.broker) as broker:
            broker.shutdown(nosave=True)

        with pytest.raises(ServiceUnavailableError, match="redis ended with code 0"):
            _check_until_it_fails(stack)


def test_a_server_that_is_named_is_not_started(stack: Stack, folder: Path) -> None:
    """Anyone who names their own Postgres wants it used as it is."""
    services = _services(folder).model_copy(update={"database_url": SecretStr(stack.urls.reader)})

    with servers(services) as mixed:
        started = [process.name for process in mixed.processes]

    assert started == ["redis"]
    assert mixed.urls.worker == stack.urls.reader


def test_workers_end_before_what_they_need(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that loses Postgres while it drains throws its finished work away."""
    ended = folder / "ended"
    for module in ("producer", "worker"):
        package = folder / "modules" / module
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "cli.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder / "modules"))
    monkeypatch.setenv("ENDED", str(ended))

    with (
        running(_services(folder), durable=False) as stack,
        Redis.from_url(stack.urls.broker, decode_responses=True) as broker,
    ):
        started = {broker.blpop(["started"], timeout=20)[1] for _ in range(2)}

    names = [process.name for process in stack.processes]
    assert names == ["postgres", "redis", "dispatch", "worker"]
    assert started == {f"dispatch {stack.urls.producer}", f"run {stack.urls.worker}"}
    assert ended.read_text(encoding="utf-8").split() == ["run", "dispatch"]


def _folder() -> Iterator[Path]:
    # Not a folder of pytest's, which the account that root's Postgres runs under may not enter.
    with tempfile.TemporaryDirectory(prefix="textmill ") as name:
        folder = Path(name)
        folder.chmod(0o711)
        yield folder
        remove(folder / "data dir")


def _services(folder: Path) -> ServiceSettings:
    return ServiceSettings(data_dir=folder / "data dir", database_url=None, broker_url=None)


def _check_until_it_fails(stack: Stack) -> None:
    while True:  # the system takes a moment to end a process
        stack.check()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
