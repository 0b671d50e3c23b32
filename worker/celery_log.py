"""What Celery logs in a drain or while Redis is away: a line, where it would show a traceback."""

import logging

from celery.exceptions import Reject
from redis.exceptions import RedisError


def say_ordinary_events_in_a_line() -> None:
    """From here on, messages that go back or cannot be acknowledged are a warning of one line.

    Either is lost to nobody: the message comes again. Faults keep their traceback.
    """
    # Filters of a logger see its own records only, not those of the loggers below it.
    for name in ("celery.app.trace", "celery.worker.request"):
        logging.getLogger(name).addFilter(_in_a_line)


def _in_a_line(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    if kind is not None and issubclass(kind, (Reject, RedisError, OSError)):
        record.exc_info = None
        record.levelno = logging.WARNING
        record.levelname = logging.getLevelName(logging.WARNING)
    return True
