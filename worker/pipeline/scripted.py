"""Loops over time without the interpreter.

A step of a recurrence is a handful of operations on small tensors. As TorchScript they run without
Python's overhead and, more importantly, without its lock, for which each of them would have to wait
while other threads of a worker hold it.
"""

import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import ParamSpec, TypeVar, cast

import torch

P = ParamSpec("P")
R = TypeVar("R")


@cache
def scripted(function: Callable[P, R]) -> Callable[P, R]:
    """The same function as TorchScript, compiled on first request, never at import.

    TorchScript's successors in torch need a compiler on the machine, or a fixed number of steps.
    Its own optimization stays off, since it starts over for every other shape.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        compiled = cast("Callable[P, R]", torch.jit.script(function))

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # noqa: FBT003
            return compiled(*args, **kwargs)

    return run
