"""What Celery logs in a drain or while Redis is away: a line, where it would show a traceback."""

import logging
from typing import Final

from celery.exceptions import Reject
from redis.exceptions import RedisError

_ORDINARY: Final[dict[str, tuple[type[BaseException], ...]]] = {
    "celery.app.trace": (Reject,),
    "celery.worker.request": (RedisError, OSError),
}
"""What a task, or an acknowledgement, may end with on an ordinary day, by the logger of each."""


def say_ordinary_events_in_a_line() -> None:
    """From here on, messages that go back or cannot be acknowledged are a warning of one line.

    Either is lost to nobody: the message comes again. Faults keep their traceback.
    """
    # Filters of a logger see its own records only, not those of the loggers below it.
    for name in _ORDINARY:
        logging.getLogger(name).addFilter(_in_a_line)


def _in_a_line(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    if kind is not None and issubclass(kind, _ORDINARY[record.name]):
        record.exc_info = None
        record.levelno = logging.WARNING
        record.levelname = logging.getLevelName(logging.WARNING)
    return True
