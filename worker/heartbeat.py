"""The thread that reports that a process lives, and has its leases and messages looked after."""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Self

import sqlalchemy as sa

from schema.database import reachable, unblocked
from schema.database_errors import condition, may_pass
from schema.documents import Task
from schema.settings import WorkerSettings
from worker.exit_codes import EXIT_NO_HEARTBEAT
from worker.leases import Leases
from worker.meter import Meter

logger = logging.getLogger(__name__)

RATE_WINDOW = 60
"""Seconds over which the documents per second are measured."""


class Heartbeat:
    """One row in `worker`: refreshed while the process lives, removed when it ends in order.

    Args:
        database: connects as a role that may write the worker's row.
        leases: what this process holds, looked after at each beat.
        settings: heartbeat interval in seconds, and the number of threads.
        meter: knows how many documents are finished.
        device: what the process computes on, shown to people.
        tasks: the tasks whose chunks it takes.
    """

    def __init__(
        self,
        database: sa.Engine,
        leases: Leases,
        settings: WorkerSettings,
        meter: Meter,
        *,
        device: str,
        tasks: Sequence[Task],
    ) -> None:
        self._database = database
        self._leases = leases
        self._settings = settings
        self._meter = meter
        self._worker = leases.worker
        self._row = {
            "worker": leases.worker,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": device,
            "tasks": [task.value for task in tasks],
            "threads": settings.threads,
        }
        self._samples = deque([(time.monotonic(), 0)])  # time, and documents finished by then
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Register, so that dispatch counts the process's threads.

        Raises:
            ServiceUnavailableError: Postgres does not answer.
            SettingsError: the role that logs in may not act as a worker.
        """
        with reachable(self._database):
            self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            with unblocked(self._database) as connection:
                connection.execute(
                    sa.text("delete from textmill.worker where worker = :worker"),
                    {"worker": self._worker},
                )
        except sa.exc.DBAPIError as error:
            if not may_pass(error):
                raise
            logger.warning("the heartbeat row stays until it is old: %s", condition(error))

    def _run(self) -> None:
        while not self._stop.wait(self._settings.heartbeat):
            try:
                self._leases.look_after()  # first, since the row of the process may be locked
                self._beat()
            except sa.exc.DBAPIError as error:
                if not may_pass(error):
                    self._end_without_heartbeat(error)
                logger.warning("no heartbeat, Postgres does not answer: %s", condition(error))
            except Exception as error:  # noqa: BLE001  # nobody else would notice it
                self._end_without_heartbeat(error)

    def _end_without_heartbeat(self, error: Exception) -> None:
        """End the process: without a heartbeat its work is in vain; its successor may do better."""
        logger.critical("the heartbeat failed, so this process ends", exc_info=error)
        os._exit(EXIT_NO_HEARTBEAT)

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
