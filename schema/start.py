"""Where both programs begin.

Their imports take most of a second, in which Ctrl-C would end in a traceback out of some library.
"""

import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec

# Of `schema.errors`, whose import is one of those that take long.
_INTERRUPTED = 130
_USAGE = 2


def textmill() -> None:
    """Run `textmill`."""
    _run("producer.cli")


def textmill_worker() -> None:
    """Run `textmill-worker`, where its extra is installed."""
    if find_spec("torch") is None:
        sys.stderr.write(
            "textmill-worker: this installation has no worker; from a clone, install it with:"
            " pip install -c requirements.lock '.[worker]'\n"
        )
        sys.exit(_USAGE)
    _run("worker.cli")


def _run(module: str) -> None:
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as a shell has it for what runs in the background
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    main = import_module(module).main
    signal.signal(signal.SIGINT, before)
    main()
