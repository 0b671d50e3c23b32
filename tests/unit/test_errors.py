"""The tree of errors that the docstring draws, and the exit code of each."""

import inspect
import re

from schema import errors
from schema.errors import NotLoadedError, TextmillError, exit_code


def test_exit_codes_are_those_that_the_docstring_draws() -> None:
    """Without it, who reads the tree relies on a code that no command ends with."""
    drawn = dict(re.findall(r"(\w+Error) +(\d)\b", errors.__doc__ or ""))

    kinds = dict(inspect.getmembers(errors, inspect.isclass))
    codes = {
        name: str(exit_code(kind.__new__(kind)))
        for name, kind in kinds.items()
        if issubclass(kind, TextmillError)
    }

    assert drawn == codes


def test_model_that_may_load_later_is_no_mistake_of_the_user() -> None:
    """Without it, a script takes a full memory for a wrong command and does not try again."""
    assert exit_code(NotLoadedError("out of memory")) == 3
