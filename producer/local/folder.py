"""The data directory: which process owns it, and its private files."""

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schema.errors import SettingsError, UsageError
from schema.stack import OWNER_LOCK, lock_at_once, open_lock

PASSFILE = "passfile"
"""File in the data directory with the password of each database login, as libpq reads it."""

_PASSWORDS = ("owner", "producer", "worker", "reader", "annotator", "redis")
_OWNER_WAIT = 0.5  # seconds; others hold the lock either for a moment only, or for good
_SERVERS_WAIT = 40.0  # seconds; servers of a killed stack get this long to end
_POLL = 0.05  # seconds


@contextmanager
def owned(data_dir: Path) -> Iterator[int]:
    """Own the data directory, which is created if it does not exist.

    Yields:
        The file descriptor of the lock on its servers; a server that inherits it keeps later
        owners waiting until it has ended.

    Raises:
        UsageError: another process owns it, or servers of an earlier owner do not end.
        SettingsError: the directory cannot be made or written.
    """
    _make(data_dir)
    running = f"another process runs a stack in {data_dir}; use that one, or end it first"
    remaining = f"servers of an earlier stack in {data_dir} are still running; end them first"
    with (
        _locked(data_dir / OWNER_LOCK, _OWNER_WAIT, running),
        _locked(data_dir / "servers.lock", _SERVERS_WAIT, remaining) as servers,
    ):
        yield servers


def passwords(data_dir: Path) -> dict[str, str]:
    """The generated passwords of the database roles and of Redis, made on first use."""
    path = data_dir / "passwords.json"
    found: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    # A data directory may be older than a role.
    if lacking := [name for name in _PASSWORDS if name not in found]:
        found |= {name: secrets.token_urlsafe(24) for name in lacking}
        write_private(path, json.dumps(found))
    return found


def write_private(path: Path, content: str) -> None:
    """Write `content`, readable by its owner only; never seen half written."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def remove(data_dir: Path) -> None:
    """Delete a data directory and the Postgres cluster that it links to.

    Raises:
        UsageError: a stack runs in it.
    """
    if not data_dir.exists():
        return
    with owned(data_dir):
        cluster = data_dir / "postgres"
        if cluster.is_symlink() and cluster.exists():
            shutil.rmtree(cluster.resolve())
        shutil.rmtree(data_dir)


def _make(data_dir: Path) -> None:
    try:
        # Others may pass through, so that root's Postgres account reaches its cluster; the
        # contents are private by their own modes.
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        for name in ("logs", "redis"):
            (data_dir / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        msg = f"{data_dir} cannot hold the stack's data ({error}); set TEXTMILL_DATA_DIR"
        raise SettingsError(msg) from error


@contextmanager
def _locked(path: Path, patience: float, refusal: str) -> Iterator[int]:
    lock = open_lock(path)
    try:
        deadline = time.monotonic() + patience
        while not lock_at_once(lock, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise UsageError(refusal)
            time.sleep(_POLL)
        yield lock
    finally:
        os.close(lock)
