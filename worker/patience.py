"""Waiting for Postgres."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

import sqlalchemy as sa

from schema.database_errors import condition, is_outage

logger = logging.getLogger(__name__)

PAUSES = (0.1, 0.2, 0.5, 1, 2)
"""Seconds between tries while Postgres is away; the last one repeats."""

Value = TypeVar("Value")


def patiently(
    action: Callable[[], Value],
    on_outage: Callable[[], object] = lambda: None,
    *,
    waiting: AbstractContextManager[object] | None = None,
) -> Value:
    """Run an action in Postgres, retrying while Postgres is away or others hold what it needs.

    Args:
        action: what to do.
        on_outage: called after each failed try.
        waiting: entered after the first failed try, and left with the last one.
    """
    tries = 0
    with ExitStack() as wait:
        while True:
            try:
                return action()
            except sa.exc.DBAPIError as error:
                if not is_outage(error):
                    raise
                on_outage()
                if waiting is not None and not tries:
                    wait.enter_context(waiting)
                logger.warning("Postgres could not do it, trying again: %s", condition(error))
                time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
