"""The thread that reports that a process lives, and has its leases and messages looked after."""

import logging
import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import sqlalchemy as sa

from schema.database import reachable, unblocked
from schema.database_errors import condition, may_pass
from schema.documents import Task
from worker.exit_codes import EXIT_NO_HEARTBEAT
from worker.leases import Leases
from worker.meter import Meter
from worker.periodic import every

logger = logging.getLogger(__name__)

RATE_WINDOW = 60
"""Seconds over which the documents per second are measured."""


class Heartbeat:
    """One row in `worker`, which shows that this process lives.

    Args:
        database: connects as a role that may write the worker's row.
        meter: knows how many documents are finished.
        worker: name of this process.
        device: what it computes on, shown to people.
        tasks: the tasks whose chunks it takes.
        threads: how many chunks it takes at once.
    """

    def __init__(
        self,
        database: sa.Engine,
        meter: Meter,
        *,
        worker: str,
        device: str,
        tasks: Sequence[Task],
        threads: int,
    ) -> None:
        self._database = database
        self._meter = meter
        self._row = {
            "worker": worker,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": device,
            "tasks": [task.value for task in tasks],
            "threads": threads,
        }
        self._samples = deque([(time.monotonic(), 0)])  # time, and documents finished by then

    @contextmanager
    def beating(self, leases: Leases, interval: float) -> Iterator[None]:
        """Refresh the row within this context, and remove it at the end.

        From the start on, dispatch counts the process's threads.

        Args:
            leases: what this process holds, looked after at each beat.
            interval: seconds between two beats.

        Raises:
            ServiceUnavailableError: Postgres does not answer.
            SettingsError: the role that logs in may not act as a worker.
        """
        with reachable(self._database):
            self._beat()
        try:
            with every(interval, partial(self._beat_or_end, leases), "heartbeat"):
                yield
        finally:
            self._remove()

    def _beat_or_end(self, leases: Leases) -> None:
        try:
            leases.look_after()  # first, since the row of the process may be locked
            self._beat()
        except sa.exc.DBAPIError as error:
            if not may_pass(error):
                _end_without_heartbeat(error)
            logger.warning("no heartbeat, Postgres does not answer: %s", condition(error))
        except Exception as error:  # noqa: BLE001  # nobody else would notice it
            _end_without_heartbeat(error)

    def _remove(self) -> None:
        try:
            with unblocked(self._database) as connection:
                connection.execute(
                    sa.text("delete from textmill.worker where worker = :worker"),
                    {"worker": self._row["worker"]},
                )
        except sa.exc.DBAPIError as error:
            if not may_pass(error):
                raise
            logger.warning("the heartbeat row stays until it is old: %s", condition(error))

    def _beat(self) -> None:
        with unblocked(self._database) as connection:
            connection.execute(
                sa.text("""
                    insert into textmill.worker (worker, host, pid, device, tasks, threads)
                    values (:worker, :host, :pid, :device, :tasks, :threads)
                    on conflict (worker) do update set heartbeat_at = now(),
                        documents = :documents, documents_per_second = :documents_per_second
                """),
                self._row | self._progress(),
            )

    def _progress(self) -> dict[str, float]:
        """How many documents are finished, and how many per second since the oldest sample."""
        at = time.monotonic()
        counts = self._meter.read()
        finished = counts.succeeded + counts.failed
        since, before = self._samples[0]
        while len(self._samples) > 1 and at - self._samples[1][0] >= RATE_WINDOW:
            self._samples.popleft()
            since, before = self._samples[0]
        self._samples.append((at, finished))
        rate = (finished - before) / (at - since) if at > since else 0.0
        return {"documents": finished, "documents_per_second": rate}


def _end_without_heartbeat(error: Exception) -> None:
    """End the process: without a heartbeat its work is in vain; its successor may do better."""
    logger.critical("the heartbeat failed, so this process ends", exc_info=error)
    os._exit(EXIT_NO_HEARTBEAT)
