"""How commands of both sides show what they say, and how they end."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from schema.errors import EXIT_INTERRUPTED, InputError, TextmillError, exit_code
from schema.settings import check

WIDE = 160
"""Characters of a line that goes to a file or a pipe."""


def make_console(*, stderr: bool = False) -> Console:
    """A console that is wide enough for a table also where it is no terminal.

    It prints what it is given: names and texts of people are no markup.
    """
    console = Console(stderr=stderr, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


@contextmanager
def ended_well(program: str) -> Iterator[None]:
    """Turn errors made for people, and Ctrl-C, into a line on stderr and an exit code.

    Args:
        program: what the line begins with.
    """
    try:
        check()
        with interruptible(), printing():
            yield
    except TextmillError as error:
        click.echo(f"{program}: {error}", err=True)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        click.echo(f"{program}: interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt where an error is but what Ctrl-C left behind.

    In the middle of a statement it leaves a connection that cannot be put in order, and what the
    driver says of that hides it.
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
    """Say so where standard output takes no more.

    Raises:
        InputError: its device is full or broken. A pipe that nobody reads any more is click's.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE or error.filename is not None:
            raise
        # What is left in the buffer is not tried again when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        msg = f"cannot write standard output: {error.strerror}; send it to another place"
        raise InputError(msg) from error
