"""Find a running embedded stack from programs that did not start it."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr

from schema.errors import SettingsError
from schema.settings import ServiceSettings

STACK: Final = "stack.json"
"""File in the data directory with the URLs and processes of the stack that was started last."""

OWNER_LOCK: Final = "owner.lock"
"""File in the data directory, locked by the process that runs the stack."""


def database_url(services: ServiceSettings) -> str:
    """The database URL for its owner: the one that is set, or that of the running stack.

    Raises:
        SettingsError: no URL is set and no stack is running.
    """
    return _url(services.database_url, "TEXTMILL_DATABASE_URL", services.data_dir, "owner")


def broker_url(services: ServiceSettings) -> str:
    """The Redis URL that is set, or that of the running stack.

    Raises:
        SettingsError: no URL is set and no stack is running.
    """
    return _url(services.broker_url, "TEXTMILL_BROKER_URL", services.data_dir, "broker")


def _url(given: SecretStr | None, setting: str, data_dir: Path, name: str) -> str:
    if given is not None:
        return given.get_secret_value()
    stack = running_stack(data_dir)
    if stack is None:
        msg = f"no stack runs here: set {setting}, or run: textmill up"
        raise SettingsError(msg)
    return str(stack["urls"][name])


def running_stack(data_dir: Path) -> dict[str, Any] | None:
    """The content of `STACK` for the stack that runs in a data directory; None if none runs.

    Raises:
        SettingsError: the data directory belongs to another account, or cannot be used.
    """
    if not _is_owned(data_dir):
        return None
    try:
        content: dict[str, Any] = json.loads((data_dir / STACK).read_text(encoding="utf-8"))
    except FileNotFoundError:  # it is just starting, or has just ended
        return None
    return content


def _is_owned(data_dir: Path) -> bool:
    """Whether a live process owns the data directory.

    Raises:
        SettingsError: the data directory belongs to another account, or cannot be used.
    """
    path = data_dir / OWNER_LOCK
    if not is_there(path):
        return False
    lock = open_lock(path)
    try:
        return not lock_at_once(lock, fcntl.LOCK_SH)
    finally:
        os.close(lock)


def is_there(path: Path) -> bool:
    """Whether a file in the data directory exists.

    Raises:
        SettingsError: the data directory belongs to another account, or cannot be used.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unusable(path.parent, error) from error
    return True


def open_lock(path: Path) -> int:
    """Open a file in the data directory for `lock_at_once`; create it if it does not exist.

    Raises:
        SettingsError: the data directory belongs to another account, or cannot be used.
    """
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _unusable(path.parent, error) from error


def lock_at_once(lock: int, kind: int) -> bool:
    """Lock an open file until it is closed; return False if another process has locked it.

    Raises:
        SettingsError: its file system has no locks.
    """
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        msg = (
            f"the file system of the data directory has no locks ({error.strerror});"
            " let TEXTMILL_DATA_DIR name a folder on a local disk"
        )
        raise SettingsError(msg) from error
    return True


def _unusable(data_dir: Path, error: OSError) -> SettingsError:
    if isinstance(error, PermissionError):
        return SettingsError(f"{data_dir} belongs to another account; set TEXTMILL_DATA_DIR")
    why = error.strerror
    return SettingsError(f"{data_dir} cannot hold the stack's data ({why}); set TEXTMILL_DATA_DIR")
