"""What ends a command early: Ctrl-C, and an output that takes no more."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from schema.errors import InputError


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
