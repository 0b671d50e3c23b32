"""Shorten what Celery logs while draining or while Redis is down: one line, not a traceback."""

import logging
from typing import Final

from celery.exceptions import Reject
from redis.exceptions import RedisError

_ORDINARY: Final[dict[str, tuple[type[BaseException], ...]]] = {
    "celery.app.trace": (Reject,),
    "celery.worker.request": (RedisError, OSError),
}
"""Exceptions that a task or an acknowledgement may raise in normal operation, by logger."""


def say_ordinary_events_in_a_line() -> None:
    """From here on, log a one-line warning for a message that goes back or is not acknowledged.

    Nothing is lost in either case: the message is delivered again. Faults keep their traceback.
    """
    # A logger's filters see only its own records, not those of its child loggers.
    for name in _ORDINARY:
        logging.getLogger(name).addFilter(_in_a_line)


def _in_a_line(record: logging.LogRecord) -> bool:
    kind = record.exc_info[0] if record.exc_info else None
    if kind is not None and issubclass(kind, _ORDINARY[record.name]):
        record.exc_info = None
        record.levelno = logging.WARNING
        record.levelname = logging.getLevelName(logging.WARNING)
    return True
