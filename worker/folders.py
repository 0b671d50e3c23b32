"""Folders that take their place whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(folder: Path, own: frozenset[str]) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of `folder` at the end.

    Until then `folder` stays as it is, whatever ends the process. Its other files come along, by
    hard links, and none is ever missing.

    Args:
        folder: need not exist.
        own: names of what belongs to its content; what is not written anew goes.
    """
    place = folder.resolve()  # where it is a link, that stays one
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.parent if os.access(place.parent, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=beside, prefix=".") as aside:
        whole = Path(aside) / place.name
        whole.mkdir()
        yield whole
        written = [path.name for path in whole.iterdir()]
        try:
            _link_others(place, whole, own)
            take_place(whole, place)
        except OSError:  # a mount point, a parent that refuses, a file system without hard links
            _move_files(whole, place, written, own)


def take_place(whole: Path, folder: Path) -> None:
    """Put a folder in the place of another, which then lies beside where the first one was.

    Between the two renames there is none under this name.

    Raises:
        OSError: it cannot be put there; the other one is back in its place.
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
    """Replace file by file, each whole; all are near before the first one is replaced."""
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
