"""How many more chunks the live workers can take."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from producer.marking import Slots
from schema.documents import Lane, Task


class LiveWorker(NamedTuple):
    """A live worker process: the tasks it serves, and how many chunks it works on at once."""

    tasks: Sequence[str]
    threads: int


class UnderWay(NamedTuple):
    """How many chunks of a lane and task take a thread or soon will, and how many are unclaimed."""

    lane: Lane
    task: Task
    chunks: int
    dispatched: int


def live_workers(connection: sa.Connection) -> Sequence[LiveWorker]:
    """The worker processes that are alive according to `textmill.is_alive`."""
    rows = connection.execute(
        sa.text("select tasks, threads from textmill.worker where textmill.is_alive(heartbeat_at)")
    )
    return [LiveWorker(*row) for row in rows]


def under_way(connection: sa.Connection) -> Sequence[UnderWay]:
    """The chunks under way for each lane and task.

    Waiting chunks of a paused job are left out, since they take no thread.
    """
    rows = connection.execute(
        sa.text(
            "select j.lane, j.task, count(*) as chunks,"
            " count(*) filter (where c.state = 'dispatched') as dispatched"
            " from textmill.chunk c join textmill.job j using (job_id)"
            " where c.state in ('dispatched', 'running')"
            " and (c.state = 'running' or j.state in ('pending', 'running'))"
            " group by j.lane, j.task"
        )
    )
    return [UnderWay(Lane(lane), Task(task), *counts) for lane, task, *counts in rows]


def free_slots(
    workers: Sequence[LiveWorker], published: Mapping[Task, int], *, shared: bool
) -> Slots:
    """The free slots of a lane.

    Args:
        workers: the live processes.
        published: the lane's chunks that already take a slot, by task.
        shared: whether one thread of every process is left to the other lane, because bulk chunks
            wait to be published or claimed. An interactive chunk then always finds a free thread,
            and a stream of interactive chunks, which workers take first, never stops the bulk lane.
            If false, every thread counts as two slots.
    """
    served = {Task(task) for worker in workers for task in worker.tasks}

    def capacity(threads: int) -> int:
        return threads - 1 if shared else threads * 2

    return Slots(
        total=sum(capacity(worker.threads) for worker in workers)
        - sum(published.get(task, 0) for task in served),
        by_task={
            task: sum(capacity(worker.threads) for worker in workers if task in worker.tasks)
            - published.get(task, 0)
            for task in Task
        },
    )
