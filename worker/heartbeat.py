"""The thread that says a process lives, and keeps the leases of its chunks."""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import sqlalchemy as sa

from schema.documents import Task
from schema.settings import WorkerSettings
from worker.chunks import ChunkStore, Claim

logger = logging.getLogger(__name__)

RATE_WINDOW = 60
"""Seconds over which documents a second are taken."""


class Heartbeat:
    """One row in `worker`, refreshed while the process lives, removed when it ends in order."""

    def __init__(
        self,
        engine: sa.Engine,
        chunks: ChunkStore,
        settings: WorkerSettings,
        *,
        worker: str,
        device: str,
        tasks: Sequence[Task],
    ) -> None:
        self._engine = engine
        self._chunks = chunks
        self._settings = settings
        self._worker = worker
        self._row = {
            "worker": worker,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": device,
            "tasks": [task.value for task in tasks],
            "threads": settings.threads,
        }
        self._lock = threading.Lock()
        self._held: dict[Claim, float] = {}
        self._finished = 0
        self._beats = deque([(time.monotonic(), 0)])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Register, so that dispatch counts the process's threads."""
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            with self._engine.begin() as connection:
                connection.execute(
                    sa.text("delete from textmill.worker where worker = :worker"),
                    {"worker": self._worker},
                )
        except sa.exc.OperationalError as error:
            logger.warning("the heartbeat row stays until it is old: %s", error.orig)

    @contextmanager
    def renewing(self, claim: Claim) -> Iterator[None]:
        """Keep the lease of `claim` alive meanwhile."""
        with self._lock:
            self._held[claim] = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                del self._held[claim]

    def finished(self, documents: int) -> None:
        """Count documents whose outcomes were stored."""
        with self._lock:
            self._finished += documents

    def _run(self) -> None:
        while not self._stop.wait(self._settings.heartbeat):
            try:
                self._beat()
                self._renew()
            except sa.exc.OperationalError as error:
                logger.warning("no heartbeat, Postgres does not answer: %s", error.orig)

    def _beat(self) -> None:
        with self._engine.begin() as connection:
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
        """How many documents are finished, and how many a second since the window's oldest beat."""
        beat = time.monotonic()
        with self._lock:
            finished = self._finished
        since, before = self._beats[0]
        while len(self._beats) > 1 and beat - self._beats[1][0] >= RATE_WINDOW:
            self._beats.popleft()
            since, before = self._beats[0]
        self._beats.append((beat, finished))
        rate = (finished - before) / (beat - since) if beat > since else 0.0
        return {"documents": finished, "documents_per_second": rate}

    def _renew(self) -> None:
        """Renew leases older than a third of their time; most chunks end before that."""
        due = time.monotonic() - self._settings.lease / 3
        with self._lock:
            old = [claim for claim, since in self._held.items() if since < due]
            self._held.update(dict.fromkeys(old, time.monotonic()))
        if old:
            self._chunks.renew(old)
