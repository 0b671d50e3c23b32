"""Chunks whose lease ran out: their attempts are ended."""

import logging

import sqlalchemy as sa

logger = logging.getLogger(__name__)


def rescue(connection: sa.Connection) -> int:
    """End every attempt whose lease ran out.

    Nobody was there to say how it ended. Where its worker has been heard of since, the process
    lives and only its lease lapsed: nothing counts. Otherwise it died, with its supervisor or its
    host, and that counts as a crash.

    Chunks that are locked, or whose job is, are left for the next time: whoever holds them is about
    to finish them, and nobody waits for a person who does not end a transaction.

    Returns:
        The number of attempts ended.
    """
    rescued = connection.execute(
        sa.text("""
            with expired as (
                select c.job_id, c.chunk_no, c.attempt, exists (
                    select from textmill.worker w
                    where w.worker = c.worker and w.heartbeat_at >= c.lease_expires_at) as alive
                from textmill.chunk c join textmill.job j using (job_id)
                where c.state = 'running' and c.lease_expires_at < now()
                order by c.job_id, c.chunk_no
                for update of c, j skip locked
            )
            select textmill.end_attempt(job_id, chunk_no, attempt,
                case when alive then 'released' else 'crashed' end) from expired
        """)
    ).all()
    if rescued:
        logger.warning("rescued %d chunks whose lease ran out", len(rescued))
    return len(rescued)
