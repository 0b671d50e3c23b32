"""The entry points of both programs.

Their imports take most of a second, during which Ctrl-C would print a traceback from some library.
Importing the package `producer` is part of this, so neither entry point can be in its own package.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from schema.exit_codes import EXIT_INTERRUPTED, EXIT_USAGE
from schema.extras import NO_WORKER, has_worker


def textmill() -> None:
    """Run `textmill`."""
    with _ending_at_once_on_ctrl_c():
        from producer.cli import main  # noqa: PLC0415  # takes long
    main()


def textmill_worker() -> None:
    """Run `textmill-worker` if its extra is installed."""
    if not has_worker():
        sys.stderr.write(f"textmill-worker: {NO_WORKER}\n")
        sys.exit(EXIT_USAGE)
    with _ending_at_once_on_ctrl_c():
        from worker.cli import main  # noqa: PLC0415  # takes long
    main()


@contextmanager
def _ending_at_once_on_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process at once and silently while the block imports."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # shells set SIG_IGN for what they run in the background
        signal.signal(signal.SIGINT, lambda *_: os._exit(EXIT_INTERRUPTED))
    yield
    signal.signal(signal.SIGINT, before)
