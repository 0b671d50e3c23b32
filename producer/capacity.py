"""Which chunks can be taken, and how many more of them the live workers can take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import sqlalchemy as sa

from producer.workers import Worker
from schema.documents import Lane, Task

LONGEST_WAIT = timedelta(minutes=2)
"""Longer than any retry waits. A chunk that seems to wait longer was put off before the clock of
Postgres was set back; it is dispatched at once."""

READY = (
    "state = 'pending' and (not_before is null"
    " or not_before not between now() and now() + :longest_wait)"
)
"""SQL condition that a chunk may be dispatched; `:longest_wait` is `LONGEST_WAIT`."""

TAKEN = "(c.taken_at between now() - make_interval(secs => :after) and now()) is true"
"""SQL condition that a worker has the message of a dispatched chunk `c`: in the last `:after`
seconds it reported that the chunk, a suspect, waits at its gate to be alone."""


class UnderWay(NamedTuple):
    """How many chunks of a lane and task take a thread or soon will, and how many no worker has."""

    lane: Lane
    task: Task
    chunks: int
    untaken: int


@dataclass(frozen=True, slots=True)
class Slots:
    """How many more chunks of a lane may be published.

    Attributes:
        total: over all tasks.
        by_task: of each task.
    """

    total: int
    by_task: dict[Task, int]


def under_way(connection: sa.Connection, *, after: float) -> Sequence[UnderWay]:
    """The chunks under way for each lane and task.

    Waiting chunks of a paused job are left out, since they take no thread.

    Args:
        connection: a connection that may read chunks.
        after: seconds of silence after which a worker counts as holding no message.
    """
    rows = connection.execute(
        sa.text(
            "select j.lane, j.task, count(*) as chunks,"  # noqa: S608
            f" count(*) filter (where c.state = 'dispatched' and not {TAKEN}) as untaken"
            " from textmill.chunk c join textmill.job j using (job_id)"
            " where c.state in ('dispatched', 'running')"
            " and (c.state = 'running' or j.state in ('pending', 'running'))"
            " group by j.lane, j.task"
        ),
        {"after": after},
    )
    return [UnderWay(Lane(lane), Task(task), *counts) for lane, task, *counts in rows]


def free_slots(workers: Sequence[Worker], occupied: Mapping[Task, int], *, shared: bool) -> Slots:
    """The free slots of a lane.

    Args:
        workers: those that are alive.
        occupied: slots that the lane's chunks already take, by task.
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
        - sum(occupied.get(task, 0) for task in served),
        by_task={
            task: sum(capacity(worker.threads) for worker in workers if task in worker.tasks)
            - occupied.get(task, 0)
            for task in Task
        },
    )
