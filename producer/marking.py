"""Mark the chunks to dispatch next, and those to dispatch again; callers hold dispatch's turn."""

import sqlalchemy as sa

from producer.capacity import LONGEST_WAIT, READY, TAKEN, Slots
from schema.documents import Lane, Task
from schema.messages import ChunkMessage

Addressed = tuple[ChunkMessage, Lane]
"""A message, and the lane of its queue."""

JOBS_CONSIDERED = 200
"""Jobs of a lane among which one step shares the free slots: half of them the oldest, half the
newest, so that a small job is considered on arrival, however many large ones came before."""


def mark(connection: sa.Connection, lane: Lane, slots: Slots) -> list[Addressed]:
    """Mark chunks as dispatched, as many as there are slots.

    The next chunk is from the job with the fewest tokens under way for its weight, so a small job
    behind a huge one waits for a few chunks, not for the whole job.
    """
    tasks = [task for task in Task if slots.by_task[task] > 0]
    if slots.total <= 0 or not tasks:
        return []
    return _messages(
        connection,
        f"""
        with runnable as not materialized (
            select job_id, task, weight from textmill.job j
            cross join lateral (
                select from textmill.chunk
                where job_id = j.job_id and {READY}
                order by chunk_no limit 1
            ) as first
            where lane = :lane and state in ('pending', 'running') and task = any(:tasks)
        ), considered as (
            (select * from runnable order by job_id limit :half)
            union
            (select * from runnable order by job_id desc limit :half)
        ), candidate as (
            select j.job_id, j.task, c.chunk_no,
                (under_way.tokens + sum(c.tokens) over (partition by j.job_id order by c.chunk_no))
                    / j.weight as share
            from considered j
            cross join lateral (
                select coalesce(sum(tokens), 0) as tokens from textmill.chunk
                where job_id = j.job_id and state in ('dispatched', 'running')
            ) as under_way
            cross join lateral (
                select chunk_no, tokens from textmill.chunk
                where job_id = j.job_id and {READY}
                order by chunk_no limit :total
            ) as c
        ), ranked as (
            select *, row_number() over (partition by task order by share, job_id) as rank
            from candidate
        ), chosen as (
            select job_id, chunk_no, share from ranked
            join unnest(:tasks, :slots) as slot (task, slots) using (task)
            where rank <= slots
            order by share, job_id
            limit :total
        ), unlocked as (
            select c.job_id, c.chunk_no from chosen
            join textmill.chunk c using (job_id, chunk_no)
            where c.state = 'pending'
            for update of c skip locked
        )
        update textmill.chunk c set state = 'dispatched', dispatched_at = now()
        from unlocked join textmill.job j using (job_id)
        where c.job_id = unlocked.job_id and c.chunk_no = unlocked.chunk_no
        returning c.job_id, c.chunk_no, j.task, j.lane
        """,  # noqa: S608
        {
            "lane": lane,
            "tasks": tasks,
            "slots": [slots.by_task[task] for task in tasks],
            "total": slots.total,
            "half": JOBS_CONSIDERED // 2,
            "longest_wait": LONGEST_WAIT,
        },
    )


def mark_again(
    connection: sa.Connection, task: Task, lane: Lane, lost: int, *, after: float
) -> list[Addressed]:
    """Mark the `lost` oldest dispatched chunks of a queue again, if `after` seconds have passed.

    Chunks that seem to be dispatched in the future, because the clock was set back, are included,
    since their age is unknown. Chunks whose messages workers have are skipped.
    """
    if lost <= 0:
        return []
    return _messages(
        connection,
        f"""
        update textmill.chunk c set dispatched_at = now()
        from (
            select c.job_id, c.chunk_no, j.task, j.lane
            from textmill.chunk c join textmill.job j using (job_id)
            where c.state = 'dispatched' and j.state in ('pending', 'running')
                and j.task = :task and j.lane = :lane
                and (c.dispatched_at < now() - make_interval(secs => :after)
                    or c.dispatched_at > now())
                and not {TAKEN}
            order by c.dispatched_at
            limit :lost
            for update of c skip locked
        ) as stale
        where c.job_id = stale.job_id and c.chunk_no = stale.chunk_no
        returning c.job_id, c.chunk_no, stale.task, stale.lane
        """,  # noqa: S608
        {"task": task, "lane": lane, "lost": lost, "after": after},
    )


def _messages(
    connection: sa.Connection, statement: str, parameters: dict[str, object]
) -> list[Addressed]:
    return [
        (ChunkMessage(job_id=row.job_id, chunk_no=row.chunk_no, task=row.task), Lane(row.lane))
        for row in connection.execute(sa.text(statement), parameters)
    ]
