"""End the attempts at chunks whose lease ran out."""

import logging

import sqlalchemy as sa

logger = logging.getLogger(__name__)


def rescue(connection: sa.Connection) -> int:
    """End every attempt whose lease ran out, except those whose chunk or job is locked.

    Returns:
        The number of attempts ended.
    """
    rescued = int(connection.scalar(sa.text("select textmill.rescue_chunks()")) or 0)
    if rescued:
        logger.warning("rescued %d chunks whose lease ran out", rescued)
    return rescued
