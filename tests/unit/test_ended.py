"""Ctrl-C under whatever name it arrives."""

import pytest

from producer.cli.ended import interruptible


def test_an_error_that_ctrl_c_left_behind_is_ctrl_c() -> None:
    """Without it, a person who stops a command gets a traceback of the driver."""
    error = RuntimeError("the connection cannot be used")
    error.__context__ = KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt), interruptible():
        raise error


def test_other_errors_stay_what_they_are() -> None:
    """Without it, a fault would look like the wish of a person."""
    error = RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"), interruptible():
        raise error
