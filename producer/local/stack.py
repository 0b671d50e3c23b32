"""The stack as a whole: find it, start its servers, run everything."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from producer.local.children import Child, Children, Program, children
from producer.local.folder import PASSFILE, owned, passwords, write_private
from producer.local.ports import LOOPBACK
from producer.local.postgres import OWNER, start_postgres
from producer.local.provision import DATABASE, LOGINS, provision
from schema.errors import SettingsError
from schema.extras import NO_WORKER, has_worker
from schema.settings import ServiceSettings, WorkerSettings, read
from schema.stack import STACK, running_stack

_DISPATCH = "dispatch"


class Process(NamedTuple):
    """A process of the stack."""

    name: str
    pid: int


@dataclass(frozen=True)
class Urls:
    """Where the servers are, with a database URL for each role; the URLs hold passwords."""

    owner: str = field(repr=False)
    producer: str = field(repr=False)
    worker: str = field(repr=False)
    reader: str = field(repr=False)
    annotator: str = field(repr=False)
    broker: str = field(repr=False)


@dataclass(frozen=True)
class Stack:
    """A running stack.

    Attributes:
        urls: where its servers are.
        processes: the running processes, in the order of their start.
    """

    urls: Urls
    processes: tuple[Process, ...]
    _children: tuple[Child, ...] = field(default=(), repr=False, compare=False)

    @property
    def has_dispatch(self) -> bool:
        """Whether more than servers run: dispatch, and workers unless none were requested."""
        return any(process.name == _DISPATCH for process in self.processes)

    def watching(self, *children: Child) -> "Stack":
        """The same stack, whose `check` also watches `children`."""
        return replace(self, _children=(*self._children, *children))

    def check(self) -> None:
        """Check that everything this process started is still running.

        A stack of another process, as `find` returns it, is watched by that process.

        Raises:
            ServiceUnavailableError: a process ended; the text holds the end of its log.
        """
        for child in self._children:
            child.check()


def find(services: ServiceSettings) -> Stack | None:
    """The stack that runs in the data directory of `services`, whoever started it.

    Raises:
        SettingsError: the data directory belongs to another account, or cannot be used.
    """
    content = running_stack(services.data_dir)
    if content is None:
        return None
    processes = tuple(Process(**process) for process in content["processes"])
    return Stack(Urls(**content["urls"]), processes)


@contextmanager
def servers(services: ServiceSettings, *, durable: bool = True) -> Iterator[Stack]:
    """Run the servers that `services` does not name, and migrate their database.

    A database that `services` names is used as it is.

    Args:
        services: URLs of the user's own servers, and the data directory.
        durable: False for tests: a crash of the machine may lose everything.

    Yields:
        The stack; it ends with the block, or with this process.

    Raises:
        UsageError: another process runs a stack in the data directory.
        SettingsError: a server program is missing, or the data directory cannot be used.
        ServiceUnavailableError: a server does not start.
    """
    with (
        _started(services, durable=durable) as (urls, started),
        _announced(services, urls, started) as stack,
    ):
        yield stack


@contextmanager
def running(
    services: ServiceSettings, workers: int | None = None, *, durable: bool = True
) -> Iterator[Stack]:
    """Run the servers, dispatch, and worker processes.

    Args:
        services: URLs of the user's own servers, and the data directory.
        workers: worker processes per device; None decides by the device, 0 runs none.
        durable: False for tests: a crash of the machine may lose everything.

    Yields:
        The stack; it ends with the block, or with this process. Workers may still be loading
        their models.

    Raises:
        UsageError: another process runs a stack in the data directory.
        SettingsError: as `servers`, or what a worker needs is not installed.
        ServiceUnavailableError: a server does not start.
    """
    if workers != 0:
        _check_worker()
    with _started(services, durable=durable) as (urls, started):
        started.start(_dispatch(urls))
        if workers != 0:
            started.start(_worker(urls, workers))
        with _announced(services, urls, started) as stack:
            yield stack


@contextmanager
def run_workers(stack: Stack, data_dir: Path, lock: int) -> Iterator[Stack]:
    """Run dispatch and worker processes on the servers of a stack.

    Args:
        stack: whose servers they use.
        data_dir: holds their logs.
        lock: file descriptor that each inherits.

    Yields:
        The stack, whose `check` also watches these processes.

    Raises:
        SettingsError: what a worker needs is not installed.
        ServiceUnavailableError: a process cannot be started.
    """
    _check_worker()
    with children(data_dir / "logs", lock) as started:
        own = started.start(_dispatch(stack.urls)), started.start(_worker(stack.urls, None))
        yield stack.watching(*own)


def _check_worker() -> None:
    if not has_worker():
        raise SettingsError(NO_WORKER)


@contextmanager
def _started(services: ServiceSettings, *, durable: bool) -> Iterator[tuple[Urls, Children]]:
    data_dir = services.data_dir.absolute()
    with owned(data_dir) as lock, children(data_dir / "logs", lock) as started:
        _state(services).unlink(missing_ok=True)  # left by a stack that was killed
        secrets = passwords(data_dir)
        database = (
            dict.fromkeys(("owner", *LOGINS), services.database_url.get_secret_value())
            if services.database_url
            else _postgres(started, data_dir, secrets, durable=durable)
        )
        broker = (
            services.broker_url.get_secret_value()
            if services.broker_url
            else _redis(started, data_dir, secrets)
        )
        yield Urls(**database, broker=broker), started


def _postgres(
    started: Children, data_dir: Path, secrets: Mapping[str, str], *, durable: bool
) -> dict[str, str]:
    port = start_postgres(started, data_dir / "postgres", secrets["owner"], durable=durable)
    logins = {"owner": OWNER, **LOGINS}
    urls = {
        side: f"postgresql://{login}:{secrets[side]}@{LOOPBACK}:{port}/{DATABASE}"
        for side, login in logins.items()
    }
    provision(urls["owner"], secrets)
    lines = (
        f"{LOOPBACK}:{port}:{DATABASE}:{login}:{secrets[side]}\n" for side, login in logins.items()
    )
    write_private(data_dir / PASSFILE, "".join(lines))
    return urls


def _redis(started: Children, data_dir: Path, secrets: Mapping[str, str]) -> str:
    # Importing its client would cost every command a tenth of a second.
    from producer.local.redis import start_redis  # noqa: PLC0415

    return start_redis(started, data_dir / "redis", secrets["redis"])


@contextmanager
def _announced(services: ServiceSettings, urls: Urls, started: Children) -> Iterator[Stack]:
    """Let others find the stack while the block runs."""
    running = started.running()
    stack = Stack(urls, tuple(Process(child.name, child.pid) for child in running), running)
    processes = [process._asdict() for process in stack.processes]
    state = _state(services)
    write_private(state, json.dumps({"urls": asdict(urls), "processes": processes}))
    starter = os.getpid()
    try:
        yield stack
    finally:
        if os.getpid() == starter:  # not a process that it forked
            state.unlink(missing_ok=True)


def _state(services: ServiceSettings) -> Path:
    return services.data_dir / STACK


def _dispatch(urls: Urls) -> Program:
    return _python(_DISPATCH, ["producer.cli", "dispatch"], urls.producer, urls.broker)


def _worker(urls: Urls, workers: int | None) -> Program:
    processes = [] if workers is None else ["--processes", str(workers)]
    program = _python("worker", ["worker.cli", "run", *processes], urls.worker, urls.broker)
    # After its own time to drain, it still releases what it could not finish.
    return replace(program, grace=read(WorkerSettings).drain + 10)


def _python(name: str, module: list[str], database: str, broker: str) -> Program:
    urls = {"TEXTMILL_DATABASE_URL": database, "TEXTMILL_BROKER_URL": broker}
    return Program(
        name=name,
        # -P: a folder named `schema` or `worker` in the user's working directory is not ours.
        arguments=[sys.executable, "-P", "-m", *module],
        folder=Path.cwd(),
        environment=os.environ | urls,
    )
