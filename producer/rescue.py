"""Chunks whose lease ran out: back to pending, or given up."""

import logging

import sqlalchemy as sa

from schema.outcomes import ErrorCode, Stage

logger = logging.getLogger(__name__)


def rescue(connection: sa.Connection, max_attempts: int) -> None:
    """Return expired chunks to pending; fail the documents of those without attempts left.

    Locked rows are left alone: whoever holds them is about to finish them.
    """
    rescued = connection.execute(
        sa.text("""
            update textmill.chunk c set state = 'pending', lease_expires_at = null
            from (
                select job_id, chunk_no from textmill.chunk
                where state = 'running' and lease_expires_at < now() and attempt < :max_attempts
                for update skip locked
            ) as expired
            where c.job_id = expired.job_id and c.chunk_no = expired.chunk_no
        """),
        {"max_attempts": max_attempts},
    ).rowcount
    if rescued:
        logger.warning("rescued %d chunks whose lease ran out", rescued)
    given_up = connection.execute(
        sa.text("""
            with given_up as (
                update textmill.chunk c set state = 'done', lease_expires_at = null
                from (
                    select job_id, chunk_no from textmill.chunk
                    where state = 'running' and lease_expires_at < now()
                        and attempt >= :max_attempts
                    for update skip locked
                ) as expired
                where c.job_id = expired.job_id and c.chunk_no = expired.chunk_no
                returning c.job_id, c.first_seq, c.last_seq, c.attempt
            ), failed as (
                insert into textmill.failure (job_id, seq, code, stage, message, attempt)
                select d.job_id, d.seq, :code, :stage,
                    format('no attempt of %s came to an end', g.attempt), g.attempt
                from given_up g
                join textmill.document d on d.job_id = g.job_id
                    and d.seq between g.first_seq and g.last_seq and d.text is not null
                where not exists (
                        select from textmill.result r where r.job_id = d.job_id and r.seq = d.seq)
                    and not exists (
                        select from textmill.failure f where f.job_id = d.job_id and f.seq = d.seq)
                returning job_id
            )
            select textmill.count_outcomes(job_id, 0, count(*)) from failed group by job_id
        """),
        {
            "max_attempts": max_attempts,
            "code": ErrorCode.WORKER_CRASHED,
            "stage": Stage.RUN,
        },
    ).rowcount
    if given_up:
        logger.error("gave up chunks of %d jobs: no attempt came to an end", given_up)
