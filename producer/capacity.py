"""How many more chunks the workers that live can take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from schema.documents import Lane, Task


class LiveWorker(NamedTuple):
    """A worker process that lives: what it serves, and chunks in work at once."""

    tasks: Sequence[str]
    threads: int


TAKEN = "(c.taken_at between now() - make_interval(secs => :after) and now()) is true"
"""SQL that holds for a dispatched chunk `c` whose message a worker has: its heartbeat says that it
waits there, as a suspect to be alone with the process, or behind one."""


class UnderWay(NamedTuple):
    """How many chunks of a lane and task take a thread or soon will; how many no worker took."""

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


def live_workers(connection: sa.Connection) -> Sequence[LiveWorker]:
    """The worker processes that live, as `textmill.is_alive` has it."""
    rows = connection.execute(
        sa.text("select tasks, threads from textmill.worker where textmill.is_alive(heartbeat_at)")
    )
    return [LiveWorker(*row) for row in rows]


def under_way(connection: sa.Connection, *, after: float) -> Sequence[UnderWay]:
    """What is under way of each lane and task.

    Chunks of a paused job that wait take no thread.

    Args:
        connection: a connection that may read chunks.
        after: seconds of silence after which a worker does not have a message any more.
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


def free_slots(
    workers: Sequence[LiveWorker], occupied: Mapping[Task, int], *, shared: bool
) -> Slots:
    """Free slots of a lane.

    Args:
        workers: the processes that live.
        occupied: slots that chunks of the lane have, by task.
        shared: whether a thread of every process is left to the other lane, since bulk chunks wait
            to be published or claimed: so an interactive chunk always finds one free, and a stream
            of them, which workers take first, never stops the bulk lane. If not, there are two
            slots for every thread.
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
