"""What dispatch tidies up from time to time."""

import logging

import sqlalchemy as sa

from producer.loading import purge_part

logger = logging.getLogger(__name__)

UPKEEP_INTERVAL = 60
"""Seconds between checks for abandoned loads, missing partitions and rows of dead processes."""


def tidy(connection: sa.Connection) -> None:
    """Forget worker processes that have not reported for a day, and make partitions ahead."""
    connection.execute(
        sa.text("delete from textmill.worker where heartbeat_at < now() - interval '1 day'")
    )
    connection.execute(sa.text("select textmill.make_partitions()"))


def purge_abandoned(connection: sa.Connection, after: float) -> bool:
    """Remove a part of a load that was abandoned.

    Args:
        connection: the part is removed in its transaction.
        after: seconds without a batch after which a load counts as abandoned.

    Returns:
        Whether there was one, so that more may be left.
    """
    job_id = connection.scalar(
        sa.text(
            "select job_id from textmill.job where state = 'loading'"
            " and loaded_at < now() - make_interval(secs => :after)"
            " limit 1 for update skip locked"
        ),
        {"after": after},
    )
    if job_id is not None and purge_part(connection, job_id):
        logger.warning("purged job %s: its load was abandoned", job_id)
    return job_id is not None
