"""The embedded stack for ordinary users, and for root, whose Postgres needs another account."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sysconfig import get_config_var, get_path
from tempfile import NamedTemporaryFile
from typing import IO

import psycopg
import pytest

from producer.local import binaries, find, joined, postgres, remove, servers
from schema.errors import ServiceUnavailableError, SettingsError
from schema.settings import ServiceSettings

ROOT = Path(__file__).parents[2]
NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act for other accounts")

START = """
import sys
from pathlib import Path
from producer.local import servers
from schema.settings import ServiceSettings

with servers(ServiceSettings(data_dir=Path(sys.argv[1])), durable=False) as stack:
    print(*(process.name for process in stack.processes))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="textmill ") as name:
        yield Path(name)


@as_root
def test_an_ordinary_user_runs_a_stack(folder: Path) -> None:
    """Most people are not root."""
    folder.chmod(0o711)
    python, environment = _python_of_others(folder / "python")
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY, NOBODY)

    run = subprocess.run(
        [python, "-c", START, home / "data dir"],
        env=environment,
        cwd=home,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.stderr == ""
    assert run.stdout.split() == ["postgres", "redis"]
    assert (home / "data dir" / "postgres").owner() == home.owner()


@as_root
def test_root_runs_a_stack_where_the_server_may_not_go(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's home is closed to others, and both the data and the wheel lie in it by default."""
    places, home = folder / "places", folder / "home"
    folder.chmod(0o711)
    home.mkdir(mode=0o700)
    install = _installed_in(home)
    monkeypatch.setattr(postgres, "_ROOT_HOME", places)
    monkeypatch.setattr(postgres, "postgres_install", lambda: install)
    services = ServiceSettings(data_dir=home / "data dir")

    answers = []
    for _ in range(2):
        with (
            servers(services, durable=False) as stack,
            psycopg.connect(stack.urls.reader) as reader,
        ):
            answers.append(reader.execute("select 1").fetchone())
    link = services.data_dir / "postgres"
    cluster = link.resolve()

    assert answers == [(1,), (1,)]
    assert link.is_symlink()
    assert cluster.parent == places
    assert home.stat().st_mode & 0o777 == 0o700

    remove(services.data_dir)

    assert not cluster.exists()
    assert not services.data_dir.exists()


@as_root
def test_root_writes_nothing_where_the_account_of_the_server_leads_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, any process of that account makes root change files that are root's alone."""
    folder.chmod(0o711)
    closed, file = folder / "closed", folder / "file"
    closed.mkdir(mode=0o700)
    file.write_text("untouched")
    install = _installed_in(closed)
    monkeypatch.setattr(postgres, "postgres_install", lambda: install)
    before = sorted(closed.iterdir())
    services = ServiceSettings(data_dir=folder / "data dir")
    services.data_dir.mkdir(mode=0o711)
    cluster = services.data_dir / "postgres"
    cluster.mkdir(mode=0o700)
    (cluster / "port").symlink_to(file)
    (cluster / "programs.draft").symlink_to(closed)
    os.chown(cluster, NOBODY, NOBODY)

    with servers(services, durable=False) as stack, psycopg.connect(stack.urls.reader):
        pass

    assert file.read_text() == "untouched"
    assert sorted(closed.iterdir()) == before
    assert closed.stat().st_mode & 0o777 == 0o700


@as_root
def test_root_hands_over_the_file_that_it_made_and_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, any process of that account becomes the owner of a file of its choice."""
    folder.chmod(0o711)
    secret = folder / "secret"
    secret.touch(0o600)

    services = ServiceSettings(data_dir=folder / "data dir")

    @contextmanager
    def swapped(*_: str, **__: Path | str) -> Iterator[IO[str]]:
        with NamedTemporaryFile("w", dir=services.data_dir / "postgres") as file:
            Path(file.name).unlink()
            Path(file.name).symlink_to(secret)
            yield file

    monkeypatch.setattr(postgres, "NamedTemporaryFile", swapped)

    with pytest.raises(ServiceUnavailableError, match="initdb"), servers(services, durable=False):
        pass

    assert secret.stat().st_uid == 0


def test_a_missing_wheel_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone who installed the light package learns which extra to add."""
    monkeypatch.setattr(binaries, "find_spec", lambda _: None)

    with pytest.raises(SettingsError, match=r"extra `local`.*TEXTMILL_DATABASE_URL"):
        binaries.postgres_install()
    with pytest.raises(SettingsError, match=r"extra `local`.*TEXTMILL_BROKER_URL"):
        binaries.redis_server()


def test_a_data_directory_that_cannot_be_made_is_named(folder: Path) -> None:
    """The remedy is a variable that few know by heart."""
    (folder / "file").touch()
    services = ServiceSettings(data_dir=folder / "file" / "data")

    with pytest.raises(SettingsError, match="TEXTMILL_DATA_DIR"), servers(services):
        pass


def _refused(data_dir: Path) -> set[str]:
    """Why a command and a program cannot use a data directory."""
    services = ServiceSettings(data_dir=data_dir)
    with pytest.raises(SettingsError) as command:
        find(services)
    with pytest.raises(SettingsError) as program, joined(services, servers):
        pass
    return {str(command.value), str(program.value)}


@as_root
def test_data_directory_in_the_home_of_another_account_is_named(folder: Path) -> None:
    """Without it, every command ends with a traceback if `HOME` is still that of root."""
    os.seteuid(NOBODY)
    try:
        said = _refused(folder / "data")
    finally:
        os.seteuid(0)

    assert said == {f"{folder}/data belongs to another account; set TEXTMILL_DATA_DIR"}


def test_data_directory_whose_name_is_too_long_is_named(folder: Path) -> None:
    """Without it, every command ends with a traceback."""
    assert all("(File name too long); set" in said for said in _refused(folder / ("a" * 300)))


def test_data_directory_on_a_file_system_without_locks_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, someone whose home is on such a network file system sees a traceback."""

    def flock(_lock: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)

    with (
        pytest.raises(SettingsError, match=r"no locks \(.*\); let TEXTMILL_DATA_DIR name a folder"),
        servers(ServiceSettings(data_dir=folder)),
    ):
        pass


def _python_of_others(folder: Path) -> tuple[Path, dict[str, str]]:
    """A Python that every account may run, and its environment; root's may lie in root's home."""
    python, environment = Path(sys.executable), {"PYTHONPATH": f"{ROOT}:{get_path('purelib')}"}
    if not _may_run(python, environment):
        library = folder / Path(get_path("stdlib")).relative_to(sys.base_prefix)
        unneeded = shutil.ignore_patterns("test", "site-packages", "config-*", "__pycache__")
        shutil.copytree(get_path("stdlib"), library, ignore=unneeded)
        for shared in Path(get_config_var("LIBDIR")).glob("libpython*.so*"):
            shutil.copy(shared, library.parent)
        python = folder / "bin" / python.name
        python.parent.mkdir()
        shutil.copy(sys.executable, python)
        environment["LD_LIBRARY_PATH"] = str(library.parent)
    if not _may_run(python, environment):
        pytest.skip("no Python that an ordinary user may run")
    return python, environment


def _may_run(python: Path, environment: dict[str, str]) -> bool:
    arguments = [str(python), "-c", "import ssl, psycopg, redis"]
    try:
        subprocess.run(arguments, env=environment, user=NOBODY, group=NOBODY, check=True, cwd="/")
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _installed_in(home: Path) -> Path:
    """The wheel's files as if they were installed below `home`."""
    package = binaries.postgres_install().parent
    for name in (package.name, f"{package.name}.libs"):
        if (package.parent / name).exists():
            (home / name).symlink_to(package.parent / name)
    return home / package.name / binaries.postgres_install().name
