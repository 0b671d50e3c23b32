"""How the commands of both programs print, and how they exit."""

import errno
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from schema.documents import Task, option_fault
from schema.errors import InputError, TextmillError, exit_code
from schema.exit_codes import EXIT_INTERRUPTED

WIDEST = 1000
"""Line width, in characters, of output to a file or a pipe; every table fits."""

_FOLDED = 30  # characters of a line that a folded column keeps

_ESCAPED = {
    code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"
}


def make_console(*, stderr: bool = False) -> Console:
    """A console that is wide enough for any table if it is not a terminal.

    It prints what it is given: names and texts that people wrote are not markup, but those that
    reach it outside a table must be `printable`.
    """
    console = Console(stderr=stderr, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDEST
    return console


def printable(text: str) -> str:
    r"""`text` with its control characters written like `\x1b`; line feeds and tabs stay.

    A terminal obeys sequences that begin with such a character: they clear it, set its title and
    write the clipboard.
    """
    return text.translate(_ESCAPED)


@dataclass(frozen=True)
class Columns:
    """The columns of a table, and what happens to them on a narrow terminal.

    Attributes:
        names: from left to right.
        dispensable: columns that a narrow terminal drops, the first one first.
        right: columns that are aligned to the right, as numbers are.
        longest: characters after which the cells of a column are cut, on any terminal.
        folded: a column whose cells may take several lines.
    """

    names: Sequence[str]
    dispensable: Sequence[str]
    right: Sequence[str] = ()
    longest: Mapping[str, int] = field(default_factory=dict)
    folded: str | None = None


def cell(value: object) -> str:
    """A value in a table; empty if it is absent or false, a time in the local time zone."""
    match value:
        case None | False:
            return ""
        case True:
            return "yes"
        case datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M:%S}"
        case _:
            return str(value)


def fitting_table(rows: Iterable[Mapping[str, str]], columns: Columns, width: int) -> Table:
    """A table without a frame, and without dispensable columns that do not fit.

    Args:
        rows: the cells of each row by column name.
        columns: all columns.
        width: characters of a line.
    """
    cells = list(rows)
    kept = fitting(cells, columns, width)
    return _table(cells, columns, kept)


def fitting(rows: Sequence[Mapping[str, str]], columns: Columns, width: int) -> list[str]:
    """The names of the columns that `fitting_table` keeps."""
    kept = list(columns.names)
    least = {} if columns.folded is None else {columns.folded: _FOLDED}
    console = Console(width=WIDEST, markup=False, emoji=False)
    for dispensable in columns.dispensable:
        table = _table(rows, columns, kept, least)
        if Measurement.get(console, console.options, table).maximum <= width:
            break
        kept.remove(dispensable)
    return kept


def _table(
    rows: Iterable[Mapping[str, str]],
    columns: Columns,
    kept: Sequence[str],
    longest: Mapping[str, int] | None = None,
) -> Table:
    limits = {**columns.longest, **(longest or {})}
    table = Table(box=None, pad_edge=False)
    for name in kept:
        table.add_column(
            name,
            justify="right" if name in columns.right else "left",
            no_wrap=name != columns.folded,
            max_width=limits.get(name),
        )
    for row in rows:
        table.add_row(*(printable(row[name]) for name in kept))
    return table


def check_options(task: Task, *, explain: bool, generate: bool) -> None:
    """Check that the options fit the task.

    Raises:
        UsageError: an option does not fit; the message names it as the command line does.
    """
    fault = option_fault(task, explain=explain, generate=generate)
    if fault:
        option, why = fault
        msg = f"{why}; leave --{option} out"
        raise click.UsageError(msg)


@contextmanager
def ended_well(program: str) -> Iterator[None]:
    """Turn errors made for people, and Ctrl-C, into a line on stderr and an exit code.

    Args:
        program: what the line begins with.
    """
    try:
        with interruptible(), printing():
            yield
    except TextmillError as error:
        click.echo(f"{program}: {printable(str(error))}", err=True)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        click.echo(f"{program}: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)


def asks_for_help(group: click.Context) -> bool:
    """Whether the command line of a group's command asks for help, which needs no settings."""
    return not {*group.help_option_names}.isdisjoint(group.args)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt instead of an error that is only a consequence of Ctrl-C.

    Ctrl-C in the middle of a statement leaves a connection that cannot be cleaned up, and the
    driver's error about this hides the KeyboardInterrupt.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            cause = cause.__context__
        raise


@contextmanager
def printing() -> Iterator[None]:
    """Turn an error of standard output into one for people.

    Raises:
        InputError: its device is full or broken. A closed pipe is left to click.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE or error.filename is not None or _takes_more():
            raise
        # Otherwise Python would try to write the rest of the buffer again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        msg = f"cannot write standard output: {error.strerror}; send it to another place"
        raise InputError(msg) from error


def _takes_more() -> bool:
    """Whether standard output can still be written, so that the error is about another file."""
    held = os.fstat(sys.stdout.fileno())
    if stat.S_ISREG(held.st_mode):
        return os.fstatvfs(sys.stdout.fileno()).f_bavail > 0
    if stat.S_ISCHR(held.st_mode):
        return sys.stdout.isatty() or os.path.samestat(held, Path(os.devnull).stat())
    return True
