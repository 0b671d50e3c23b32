"""Publish pending chunks to Redis: fairly between jobs, bounded in depth, without a leader.

Any number of dispatchers may run. A step consists of short transactions. Each of them, except a
purge, takes the turn, a lock that only one dispatcher can hold, until it ends: a frozen dispatcher
blocks the others no longer than the idle timeout. A finished chunk triggers publishing alone. A
chunk is marked before it is published; if the dispatcher or Redis dies in between, nobody claims
the chunk, and it is published again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import psycopg
import sqlalchemy as sa

from producer.broker import Broker
from producer.capacity import free_slots, under_way
from producer.clock import DatabaseClock
from producer.control import close_batch
from producer.marking import Addressed, mark, mark_again
from producer.notifications import NotificationListener
from producer.rescue import rescue
from producer.turn import Turn
from producer.upkeep import UPKEEP_INTERVAL, purge_abandoned, tidy
from producer.workers import live_workers
from schema.database import check_version, reachable, unblocked
from schema.documents import JobId, Lane, Task
from schema.errors import ServiceUnavailableError
from schema.settings import DispatchSettings

logger = logging.getLogger(__name__)

Made = TypeVar("Made")

RECONNECTING = 10
"""Seconds after an outage of Postgres during which no lease is ended: workers were cut off as well,
and their heartbeats must arrive first. The same holds after a start, which may follow an outage,
and after the clock of Postgres jumped ahead, which makes every lease run out at once."""

CLOSED_AT_ONCE = 20
"""Batches of chunks that one step closes for each job that is being ended."""

_WAITING = """
    select lane from unnest(cast(:lanes as text[])) as lane where exists (
        select from textmill.job j
        cross join lateral (
            select from textmill.chunk where job_id = j.job_id and state = 'pending'
            order by chunk_no limit 1
        ) as first
        where j.lane = lane.lane and j.state in ('pending', 'running')
    )
"""
"""Lanes with waiting chunks. Those that wait for a retry count, although they are not `READY`: the
other lane leaves them a thread in advance. The query uses a lateral join: with `exists` alone, the
planner reads all chunks if most of them are pending."""


class Dispatcher:
    """Moves chunks from `pending` to `dispatched` and into Redis.

    Args:
        engine: connects as a role that may dispatch.
        broker: where chunks are published.
        settings: seconds between steps, and until a lost message is published again.
        abandoned_after: seconds after which a load counts as abandoned.
    """

    def __init__(
        self,
        engine: sa.Engine,
        broker: Broker,
        settings: DispatchSettings,
        abandoned_after: float,
    ) -> None:
        self._engine = engine
        self._broker = broker
        self._settings = settings
        self._abandoned_after = abandoned_after
        self._turn = Turn()
        self._clock = DatabaseClock()
        self._upkeep_due = 0.0
        self._purges = False
        self._purge_due = 0.0
        self._rescue_due = time.monotonic() + RECONNECTING
        self._step_due = 0.0

    def run(self, stop: threading.Event) -> None:
        """Take steps until `stop` is set; an unreachable server is logged and tried again.

        Every finished chunk sends a notification, which only triggers publishing: whole steps cost
        several times as much and can wait for the next poll.

        Raises:
            SchemaVersionError: the database is at another migration.
            ServiceUnavailableError: Postgres does not answer at the start.
            SettingsError: Postgres or Redis refuses the login.
        """
        with reachable(self._engine), self._engine.connect() as connection:
            check_version(connection)
            workers = live_workers(connection)
            threads = sum(worker.threads for worker in workers)
        begins = "dispatch begins: a step every %g s, for %d threads of workers so far"
        logger.info(begins, self._settings.poll_interval, threads)
        with NotificationListener(self._engine) as notifications:
            while not stop.is_set():
                try:
                    if time.monotonic() >= self._step_due:
                        self._step_due = time.monotonic() + self._settings.poll_interval
                        self.step()
                    else:
                        self.publish()
                    with self._reachable():
                        notifications.wait(max(self._step_due - time.monotonic(), 0), stop)
                except ServiceUnavailableError as error:
                    logger.warning("%s", error)
                    stop.wait(self._settings.poll_interval)
        logger.info("dispatch stops, as it was told to")

    def step(self) -> int:
        """Rescue chunks, end jobs, publish chunks, and publish those again that were lost.

        Returns:
            The number of chunks published.

        Raises:
            ServiceUnavailableError: Postgres or Redis does not answer.
        """
        with self._reachable():
            self._in_turn(self._rescue)
            if time.monotonic() >= self._upkeep_due:
                self._in_turn(tidy)
                self._upkeep_due = time.monotonic() + UPKEEP_INTERVAL
                self._purges = True
            if self._purges and time.monotonic() >= self._purge_due:
                self._purges = self._purge()
            for job_id in self._in_turn(_ending) or ():
                self._close(job_id)
        return self.publish() + self._republish()

    def publish(self) -> int:
        """Publish the chunks that workers can soon take.

        Returns:
            The number of chunks published.

        Raises:
            ServiceUnavailableError: Postgres or Redis does not answer.
        """
        with self._reachable():
            due = self._in_turn(self._mark, durable=False) or []
        self._broker.publish(due)
        return len(due)

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Like `reachable`, but an outage of Postgres puts off the next rescue.

        An outage of Redis is no reason to put it off.
        """
        try:
            with reachable(self._engine):
                yield
        except ServiceUnavailableError:
            self._rescue_due = time.monotonic() + RECONNECTING
            raise

    def _in_turn(
        self, work: Callable[[sa.Connection], Made], *, durable: bool = True
    ) -> Made | None:
        """Run one transaction of a step, unless another dispatcher is in one.

        Marks need not be durable: if a crash of Postgres loses them, they are made again.

        The transaction waits at most 1 s for a lock, since all dispatchers wait for it: its
        statements skip locked rows, and if one still meets a lock, the next step tries again.
        """
        with _passing_locks(), self._engine.begin() as connection:
            return work(connection) if self._turn.take(connection, durable=durable) else None
        return None

    def _purge(self) -> bool:
        """Purge a part of an abandoned load, which needs no turn; whether more may be left.

        After it met a lock, the purge goes on with the next upkeep: no step waits for it till then.
        """
        with _passing_locks(), unblocked(self._engine, lock_timeout="1s") as connection:
            return purge_abandoned(connection, self._abandoned_after)
        return False

    def _rescue(self, connection: sa.Connection) -> None:
        """Rescue chunks, unless their workers may be alive and had no time for a heartbeat."""
        if self._clock.jumped(connection):
            self._rescue_due = time.monotonic() + RECONNECTING
            self._purge_due = time.monotonic() + self._abandoned_after
            logger.warning(
                "the clock of Postgres jumped ahead, or this machine slept;"
                " dispatch ends no lease for %d s",
                RECONNECTING,
            )
        if time.monotonic() >= self._rescue_due:
            rescue(connection)

    def _mark(self, connection: sa.Connection) -> list[Addressed]:
        waiting = connection.scalars(sa.text(_WAITING), {"lanes": list(Lane)}).all()
        if not waiting:
            return []
        workers = live_workers(connection)
        published = under_way(connection, after=self._settings.republish_after)
        shared = Lane.BULK in waiting or any(
            counts.untaken for counts in published if counts.lane == Lane.BULK
        )
        marked: list[Addressed] = []
        for lane in Lane:
            if lane in waiting:
                occupied = {
                    counts.task: counts.chunks for counts in published if counts.lane == lane
                }
                marked += mark(connection, lane, free_slots(workers, occupied, shared=shared))
        return marked

    def _republish(self) -> int:
        """Publish unclaimed chunks again, as many as there are messages missing from the queues.

        A worker takes no more messages than it has threads, so it claims each chunk as soon as it
        takes the message, or reports that the chunk, a suspect, waits at the process's gate. Any
        other chunk that stays dispatched is queued, waits behind a suspect, or its message was
        lost: Redis forgot it, or the process that took it died. A surplus message does nothing.
        """
        queued = self._broker.queued()
        with self._reachable():
            again = self._in_turn(
                lambda connection: self._mark_again(connection, queued), durable=False
            )
        if not again:
            return 0
        logger.warning("publishing %d chunks again: no worker has claimed them", len(again))
        self._broker.publish(again)
        return len(again)

    def _mark_again(
        self, connection: sa.Connection, queued: Mapping[tuple[Task, Lane], int]
    ) -> list[Addressed]:
        again: list[Addressed] = []
        after = self._settings.republish_after
        for counts in under_way(connection, after=after):
            task, lane = counts.task, counts.lane
            lost = counts.untaken - queued[task, lane]
            again += mark_again(connection, task, lane, lost, after=after)
        return again

    def _close(self, job_id: JobId) -> None:
        """Close chunks of a job that is being ended."""
        for _ in range(CLOSED_AT_ONCE):
            if not self._in_turn(lambda connection: close_batch(connection, job_id)):
                return


@contextmanager
def _passing_locks() -> Iterator[None]:
    """Give up the work of this context if it met a lock for too long, so that dispatch goes on."""
    try:
        yield
    except sa.exc.OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise
        logger.warning("dispatch met a lock that another session holds; it tries again later")


def _ending(connection: sa.Connection) -> Sequence[JobId]:
    """Expire overdue jobs; return all jobs that are being ended, for whatever reason."""
    connection.execute(sa.text("select textmill.expire_jobs()"))
    return connection.scalars(
        sa.text("select job_id from textmill.job where state = 'cancelling'")
    ).all()
