"""Faults of a stage or of the model: whose they are, and where they were raised."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from schema.errors import DocumentError
from schema.outcomes import ErrorCode, Stage

logger = logging.getLogger(__name__)


@contextmanager
def charged_to_document(stage: Stage) -> Iterator[None]:
    """Turn any error into the document's, naming stage and type of exception but not the text.

    Raises:
        DocumentError: whatever went wrong.
    """
    try:
        yield
    except DocumentError:
        raise
    except Exception as error:
        msg = f"{stage} failed with {type(error).__name__}; report it with the document's id"
        log_once(msg, error)
        raise DocumentError(ErrorCode.STAGE_ERROR, stage, msg) from error


def log_once(message: str, error: BaseException) -> None:
    """Log where an error was raised, the first time only: millions of documents may meet it.

    The log shows the frames of the traceback, without the error's message and without values,
    since both may quote a document's text.
    """
    _log_once(message, "".join(traceback.format_tb(error.__traceback__)).rstrip())


@lru_cache(maxsize=256)
def _log_once(message: str, frames: str) -> None:
    logger.error("%s\n%s", message, frames)
