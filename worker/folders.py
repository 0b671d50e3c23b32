"""Folders that are replaced whole or not at all, and locks on what is in them."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(folder: Path, own: frozenset[str]) -> Iterator[Path]:
    """Yield an empty folder to write into, which replaces `folder` at the end.

    Until then `folder` stays as it is, even if the process is killed. Its other files are carried
    over as hard links, and none is missing at any time.

    Args:
        folder: need not exist.
        own: names that belong to its content; those that are not written again are removed.
    """
    target = folder.resolve()  # if it is a link, it stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.parent if os.access(target.parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=beside, prefix=".") as aside:
        whole = Path(aside) / target.name
        whole.mkdir()
        yield whole
        written = [path.name for path in whole.iterdir()]
        try:
            _link_others(target, whole, own)
            take_place(whole, target)
        except OSError:  # a mount point, a parent that refuses, a file system without hard links
            _move_files(whole, target, written, own)


def take_place(whole: Path, folder: Path) -> None:
    """Put `whole` in the place of `folder`, which is moved to a folder beside `whole`.

    Between the two renames, no folder has this name.

    Raises:
        OSError: it cannot be put there; the old folder is back in its place.
    """
    before = whole.with_name(f"{whole.name}.before")
    try:
        with suppress(FileNotFoundError):
            folder.rename(before)
        whole.rename(folder)
    except BaseException:  # also Ctrl-C
        with suppress(OSError):
            before.rename(folder)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file, which is created; a file system without locks grants it to everyone.

    Over NFS, hosts share locks on files, not on folders.

    Raises:
        BlockingIOError: it is locked.
    """
    with path.open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # no locks
            pass
        yield


def _link_others(folder: Path, whole: Path, own: frozenset[str]) -> None:
    if folder.exists():
        shutil.copytree(
            folder,
            whole,
            symlinks=True,
            ignore=lambda inside, _: own if Path(inside) == folder else (),
            copy_function=os.link,
            dirs_exist_ok=True,
        )


def _move_files(whole: Path, folder: Path, written: list[str], own: frozenset[str]) -> None:
    """Replace file by file, each whole; all are copied nearby before the first one is replaced."""
    folder.mkdir(exist_ok=True)
    for name in written:
        shutil.copyfile(whole / name, folder / f"{name}.part")
    for name in written:
        (folder / f"{name}.part").replace(folder / name)
    for name in own.difference(written):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
