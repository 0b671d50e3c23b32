"""How commands show tables, and how they end on Ctrl-C or when their output is full."""

import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from schema.errors import InputError
from schema.terminal import Columns, ended_well, fitting_table, interruptible


def test_an_error_that_ctrl_c_left_behind_is_ctrl_c() -> None:
    """Without it, a person who stops a command gets a traceback of the driver."""
    error = RuntimeError("the connection cannot be used")
    error.__context__ = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt), interruptible():
        raise error


def test_other_errors_stay_what_they_are() -> None:
    """Without it, a fault would look as if a person had stopped the command."""
    error = RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"), interruptible():
        raise error


IMPORTED = """
import os, signal, sys

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background inherit none

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "sqlalchemy":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from schema.start import textmill
textmill()
"""
"""Ctrl-C while the program is still being imported."""


def test_ctrl_c_during_the_imports_is_ctrl_c() -> None:
    """Without it, anyone who stops a mistyped command at once gets a traceback."""
    ended = subprocess.run(
        [sys.executable, "-c", IMPORTED], capture_output=True, check=False, text=True, timeout=90
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_worker_says_that_its_output_is_full(artifacts: Path) -> None:
    """Without it, a full disk looks like documents that failed."""
    folder = artifacts / "sentiment"
    arguments = ["predict", "sentiment", "good tea", "--json", "--artifact", str(folder)]

    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "worker.cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    reason = "cannot write standard output: No space left on device; send it to another place"
    assert (ended.returncode, ended.stderr) == (2, f"textmill-worker: {reason}\n")


COLUMNS = Columns(
    names=("id", "count", "parent", "note"),
    dispensable=("parent", "count"),
    right=("count",),
    folded="note",
)
ROW = {"id": "0123456789abcdef", "count": "7", "parent": "f" * 16, "note": "one word " * 9}


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        (80, ["id", "count", "parent", "note"]),
        (60, ["id", "count", "note"]),
        (50, ["id", "note"]),
        (40, ["id", "note"]),
    ],
)
def test_narrow_table_leaves_columns_out_and_cuts_no_cell(width: int, kept: list[str]) -> None:
    """Without it, a narrow terminal cuts values that a person has to copy from a table."""
    console = Console(width=width)

    with console.capture() as capture:
        console.print(fitting_table([ROW], COLUMNS, width))

    header, first, *_ = capture.get().splitlines()
    assert header.split() == kept
    assert first.startswith(ROW["id"])
    assert capture.get().split()[len(kept) :].count("word") == 9
    assert "…" not in capture.get()


CONTROLS = "\x1b]52;c;aGk=\x07 \x1b[2J \x9b31m \x7f\r\b"
"""What a terminal would obey: it writes the clipboard, clears the screen and turns red."""
SHOWN = r"\x1b]52;c;aGk=\x07 \x1b[2J \x9b31m \x7f\x0d\x08"


def test_a_table_shows_control_characters_and_sends_none() -> None:
    """Without it, the name of a job takes over the terminal of everyone who lists jobs."""
    console = Console(width=200)

    with console.capture() as capture:
        console.print(fitting_table([ROW | {"parent": CONTROLS}], COLUMNS, 200))

    assert SHOWN in capture.get()


def test_an_error_shows_control_characters_and_sends_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without it, a column's name that an error repeats takes over the terminal."""
    error = InputError(f"first line\n{CONTROLS}好")

    with pytest.raises(SystemExit), ended_well("textmill"):
        raise error

    assert capsys.readouterr().err == f"textmill: first line\n{SHOWN}好\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is full")
def test_another_file_that_is_full_is_not_standard_output() -> None:
    """Without it, a full disk for a model is reported as a full standard output."""
    with (
        pytest.raises(OSError, match="No space left"),
        ended_well("textmill-worker"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"a model")
