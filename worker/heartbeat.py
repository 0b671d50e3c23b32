"""The thread that says a process lives, and keeps its messages and the leases of its chunks."""

import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import sqlalchemy as sa

from schema.database import reachable, unblocked
from schema.database_errors import condition, may_pass
from schema.documents import Task
from schema.errors import LeaseLostError
from schema.messages import ChunkMessage
from schema.settings import WorkerSettings
from worker.chunks import ChunkStore
from worker.claims import Claim
from worker.exit_codes import EXIT_NO_HEARTBEAT, EXIT_STUCK
from worker.meter import Meter

logger = logging.getLogger(__name__)

RATE_WINDOW = 60
"""Seconds over which documents a second are taken."""


@dataclass(slots=True)
class Lease:
    """The lease of a claim, while its attempt is in work.

    Attributes:
        claim: what it is the lease of.
        lost: set when another attempt owns the chunk, or its job was ended.
        renewed: when the lease was last extended, by the process's own clock.
        beats: heartbeats since the claim, or since Postgres could last not serve it.
    """

    claim: Claim
    lost: threading.Event = field(default_factory=threading.Event)
    renewed: float = field(default_factory=time.monotonic)
    beats: int = 0

    def excuse(self) -> None:
        """What was waited for so far is no fault of the chunk's."""
        self.beats = 0

    def check(self) -> None:
        """Stop work that nobody wants any more.

        Raises:
            LeaseLostError: the lease was lost.
        """
        if self.lost.is_set():
            msg = (
                f"chunk {self.claim.chunk_no} of job {self.claim.job_id} was taken away from"
                f" attempt {self.claim.attempt}"
            )
            raise LeaseLostError(msg)


class Heartbeat:
    """One row in `worker`, refreshed while the process lives, removed when it ends in order.

    Args:
        engine: connects as a role that may write the worker's row.
        chunks: the chunks of this process, whose leases are renewed.
        settings: seconds between beats, of a lease, and that a chunk may be in work.
        meter: knows how many documents are finished.
        device: what the process computes on, for people.
        tasks: whose chunks it takes.
    """

    def __init__(
        self,
        engine: sa.Engine,
        chunks: ChunkStore,
        settings: WorkerSettings,
        meter: Meter,
        *,
        device: str,
        tasks: Sequence[Task],
    ) -> None:
        self._engine = engine
        self._chunks = chunks
        self._settings = settings
        self._meter = meter
        self._worker = chunks.worker
        self._row = {
            "worker": chunks.worker,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "device": device,
            "tasks": [task.value for task in tasks],
            "threads": settings.threads,
        }
        self._lock = threading.Lock()
        self._held: dict[Claim, Lease] = {}
        self._messages: list[ChunkMessage] = []  # one may come twice
        self._samples = deque([(time.monotonic(), 0)])  # when, and documents finished by then
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        """Register, so that dispatch counts the process's threads.

        Raises:
            ServiceUnavailableError: Postgres does not answer.
            SettingsError: the role that logs in is no worker's.
        """
        with reachable(self._engine):
            self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            with unblocked(self._engine) as connection:
                connection.execute(
                    sa.text("delete from textmill.worker where worker = :worker"),
                    {"worker": self._worker},
                )
        except sa.exc.DBAPIError as error:
            if not may_pass(error):
                raise
            logger.warning("the heartbeat row stays until it is old: %s", condition(error))

    @contextmanager
    def keeping(self, message: ChunkMessage) -> Iterator[None]:
        """Tell dispatch meanwhile that `message` is here, until its chunk is claimed."""
        with self._lock:
            self._messages.append(message)
        try:
            yield
        finally:
            with self._lock:
                self._messages.remove(message)

    @contextmanager
    def renewing(self, claim: Claim) -> Iterator[Lease]:
        """Keep the lease of `claim` alive meanwhile, and watch over it."""
        lease = Lease(claim)
        with self._lock:
            self._held[claim] = lease
        try:
            yield lease
        finally:
            with self._lock:
                del self._held[claim]

    def _run(self) -> None:
        while not self._stop.wait(self._settings.heartbeat):
            with self._lock:
                held = list(self._held.values())
                messages = list(self._messages)
            try:
                self._look_after(held)  # first: the row of the process may be locked
                if messages:
                    self._chunks.keep(messages)
                self._beat()
            except sa.exc.DBAPIError as error:
                if not may_pass(error):
                    self._end_without_heartbeat(error)
                logger.warning("no heartbeat, Postgres does not answer: %s", condition(error))
            except Exception as error:  # noqa: BLE001  # whatever it is, nobody else would see it
                self._end_without_heartbeat(error)

    def _end_without_heartbeat(self, error: Exception) -> None:
        """A process that cannot beat would work on in vain, unseen; its successor may do better."""
        logger.critical("the heartbeat failed, so this process ends", exc_info=error)
        os._exit(EXIT_NO_HEARTBEAT)

    def _look_after(self, held: Sequence[Lease]) -> None:
        """Renew leases, tell of lost ones, and end the process over a stuck one.

        `held` was taken before the database is asked: what it does not own is lost or done.
        """
        if not held:
            return
        owned = self._chunks.owned()
        due = time.monotonic() - self._settings.lease / 3  # most chunks end before that
        for lease in held:
            if lease.claim.fence not in owned:
                lease.lost.set()
            # Beats are counted, not seconds: an outage of Postgres is no fault of a chunk's.
            lease.beats += 1
        old = [lease for lease in held if not lease.lost.is_set() and lease.renewed < due]
        if old:
            self._chunks.renew([lease.claim for lease in old])
            for lease in old:
                lease.renewed = time.monotonic()
        self._end_if_stuck(held)

    def _end_if_stuck(self, held: Sequence[Lease]) -> None:
        beats = self._settings.chunk_timeout / self._settings.heartbeat
        for lease in held:
            if lease.beats > beats:
                logger.critical(
                    "chunk %d of job %s is stuck; ending the process",
                    lease.claim.chunk_no,
                    lease.claim.job_id,
                )
                # No orderly end: the stuck thread would not join it. It counts as a crash.
                os._exit(EXIT_STUCK)

    def _beat(self) -> None:
        with unblocked(self._engine) as connection:
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
        """How many documents are finished, and how many a second since the oldest sample."""
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
