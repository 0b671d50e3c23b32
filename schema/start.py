"""Where both programs begin.

Their imports take most of a second, in which Ctrl-C would end in a traceback out of some library.
That of `producer` is among them, so that neither program can begin in a package of its own.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from schema.extras import NO_WORKER, has_worker

# Of `schema.errors`, whose import is one of those that take long.
_INTERRUPTED = 130
_USAGE = 2


def textmill() -> None:
    """Run `textmill`."""
    with _interruptible():
        from producer.cli import main  # noqa: PLC0415  # takes long
    main()


def textmill_worker() -> None:
    """Run `textmill-worker`, where its extra is installed."""
    if not has_worker():
        sys.stderr.write(f"textmill-worker: {NO_WORKER}\n")
        sys.exit(_USAGE)
    with _interruptible():
        from worker.cli import main  # noqa: PLC0415  # takes long
    main()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end the process at once, and without a word, while the block imports."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as a shell has it for what runs in the background
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    yield
    signal.signal(signal.SIGINT, before)
