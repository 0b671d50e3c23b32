"""Exit codes of the commands; importing this takes no time."""

EXIT_FAILURES = 1
"""The command was carried out, but something in it failed or was rejected."""

EXIT_USAGE = 2
"""The command cannot be carried out as given."""

EXIT_UNREACHABLE = 3
"""Something that the command needs is unavailable; the same command may succeed later."""

EXIT_INTERRUPTED = 130
"""Ctrl-C."""
