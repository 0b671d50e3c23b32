"""Where an error was raised, for the log."""

import traceback


def frames_of(error: BaseException) -> str:
    """The frames of an error's traceback, innermost last.

    Without its message and without values, since both may quote a document's text.
    """
    return "".join(traceback.format_tb(error.__traceback__)).rstrip()
