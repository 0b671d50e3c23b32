"""A stack that several processes use: one of them runs it, the others join."""

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from producer.local.stack import Stack, find, run_workers, running
from schema.errors import SettingsError, UsageError
from schema.settings import ServiceSettings
from schema.stack import OWNER_LOCK, STACK, is_there, lock_at_once, open_lock

logger = logging.getLogger(__name__)

PATIENCE: Final = 60.0
"""Seconds to wait for a stack that is just starting or ending."""

_USERS_LOCK: Final = "users.lock"
"""File in the data directory with a shared lock of all processes that joined the stack."""


@contextmanager
def joined(
    services: ServiceSettings, start: Callable[[ServiceSettings], AbstractContextManager[Stack]]
) -> Iterator[Stack]:
    """The stack that runs in the data directory of `services`, or else one that `start` starts.

    The process that starts a stack leaves the block last, so that the stack runs as long as anybody
    has joined it; but Ctrl-C ends it at once.

    Raises:
        UsageError: another process owns the data directory, and no stack can be found there.
        SettingsError: as `start`.
        ServiceUnavailableError: as `start`.
    """
    with ExitStack() as held:
        yield _join_or_start(services, start, held)


@contextmanager
def joined_with_workers(services: ServiceSettings) -> Iterator[Stack]:
    """A stack as `joined` finds or starts it; dispatch and workers are started if it has none.

    Raises:
        UsageError: as `joined`.
        SettingsError: what a worker needs is not installed, or as `joined`.
        ServiceUnavailableError: as `joined`.
    """
    with ExitStack() as held:
        stack = held.enter_context(joined(services, running))
        yield stack if stack.has_dispatch else held.enter_context(own_workers(stack, services))


@contextmanager
def own_workers(stack: Stack, services: ServiceSettings) -> Iterator[Stack]:
    """Run dispatch and workers on servers that already run, until the block ends.

    Yields:
        The stack, whose `check` also watches these processes.

    Raises:
        SettingsError: what a worker needs is not installed.
        ServiceUnavailableError: a process cannot be started.
    """
    data_dir = services.data_dir.absolute()
    lock = open_lock(data_dir / _USERS_LOCK)
    try:
        # This does not block: nobody ends the stack, since this process runs it or has joined it.
        fcntl.flock(lock, fcntl.LOCK_SH)
        with run_workers(stack, data_dir, lock) as whole:
            yield whole
    finally:
        os.close(lock)


def _join_or_start(
    services: ServiceSettings,
    start: Callable[[ServiceSettings], AbstractContextManager[Stack]],
    held: ExitStack,
) -> Stack:
    deadline = time.monotonic() + PATIENCE
    while True:
        if (stack := _join(services, held)) is not None:
            return stack
        try:
            stack = held.enter_context(start(services))
        except SettingsError:  # a kind of UsageError that no wait mends
            raise
        except UsageError:  # another process was faster, or is just ending its stack
            if time.monotonic() > deadline:
                raise
            continue
        held.push(partial(_outlast_others, services.data_dir, os.getpid()))
        return stack


def _join(services: ServiceSettings, held: ExitStack) -> Stack | None:
    """The running stack, if any; it lasts until `held` is closed."""
    if not is_there(services.data_dir / OWNER_LOCK):
        return None
    lock = open_lock(services.data_dir / _USERS_LOCK)
    # Locked first, so that the process that runs the stack does not end it once it is found.
    stack = find(services) if lock_at_once(lock, fcntl.LOCK_SH) else None
    if stack is None:
        os.close(lock)
    else:
        held.callback(os.close, lock)
    return stack


def _outlast_others(
    data_dir: Path, starter: int, error: type[BaseException] | None, *_: object
) -> None:
    """Wait until nobody else uses the stack, then make sure that nobody can find it.

    A process that `starter` forked leaves this to it.
    """
    if error is KeyboardInterrupt or os.getpid() != starter:
        return
    lock = open_lock(data_dir / _USERS_LOCK)
    try:
        if not lock_at_once(lock, fcntl.LOCK_EX):
            logger.warning("others use the servers in %s, which end after them", data_dir)
            fcntl.flock(lock, fcntl.LOCK_EX)
        (data_dir / STACK).unlink(missing_ok=True)
    finally:
        os.close(lock)
