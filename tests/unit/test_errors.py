"""The exit code of every error, as drawn in the docstring of `schema.errors`."""

import inspect
import re

from schema import errors
from schema.errors import NotLoadedError, TextmillError, exit_code


def test_exit_codes_are_those_that_the_docstring_draws() -> None:
    """Without it, readers of the tree rely on exit codes that no command returns."""
    drawn = dict(re.findall(r"(\w+Error) +(\d)\b", errors.__doc__ or ""))

    kinds = dict(inspect.getmembers(errors, inspect.isclass))
    codes = {
        name: str(exit_code(kind.__new__(kind)))
        for name, kind in kinds.items()
        if issubclass(kind, TextmillError)
    }

    assert drawn == codes


def test_model_that_may_load_later_is_no_mistake_of_the_user() -> None:
    """Without it, a script takes lack of memory for a wrong command and does not retry."""
    assert exit_code(NotLoadedError("out of memory")) == 3
