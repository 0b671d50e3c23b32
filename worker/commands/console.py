"""Where commands show tables and progress."""

from rich.console import Console


def make_console(*, stderr: bool = False) -> Console:
    """A console that prints what it is given: texts and file names are no markup."""
    return Console(stderr=stderr, markup=False, emoji=False)
