"""Where both programs begin.

Their imports take most of a second, in which Ctrl-C would end in a traceback out of some library.
"""

import os
import signal
from importlib import import_module

_INTERRUPTED = 130  # of `schema.errors`, whose import is one of those that take long


def textmill() -> None:
    """Run `textmill`."""
    _run("producer.cli")


def textmill_worker() -> None:
    """Run `textmill-worker`."""
    _run("worker.cli")


def _run(module: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as a shell has it for what runs in the background
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    main = import_module(module).main
    signal.signal(signal.SIGINT, before)
    main()
