"""What a process holds: the leases of its chunks in work, and the messages that wait."""

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from schema.database_errors import condition
from schema.errors import LeaseLostError
from schema.messages import ChunkMessage
from schema.settings import WorkerSettings
from worker.claims import Claim
from worker.exit_codes import EXIT_STUCK
from worker.held_chunks import HeldChunks

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Lease:
    """The lease of a claim, while its attempt is in work.

    Attributes:
        claim: the claim that it belongs to.
        lost: set once this attempt no longer owns the chunk: another does, or the job was ended.
        renewed: when the lease was last extended, by the process's own clock.
        beats: heartbeats since the claim, or since Postgres was last unable to serve it.
    """

    claim: Claim
    lost: threading.Event = field(default_factory=threading.Event)
    renewed: float = field(default_factory=time.monotonic)
    beats: int = 0

    def excuse(self) -> None:
        """Restart the count of beats: the wait so far was not the chunk's fault."""
        self.beats = 0

    def check(self) -> None:
        """Stop work whose outcome is no longer wanted.

        Raises:
            LeaseLostError: the lease was lost.
        """
        if self.lost.is_set():
            msg = (
                f"chunk {self.claim.chunk_no} of job {self.claim.job_id} was taken away from"
                f" attempt {self.claim.attempt}"
            )
            raise LeaseLostError(msg)


class Leases:
    """The leases and messages that this process holds; the heartbeat has them looked after.

    Args:
        held_chunks: asks and tells Postgres about them.
        settings: heartbeat interval, lease, and how long a chunk may be in work, in seconds.
    """

    def __init__(self, held_chunks: HeldChunks, settings: WorkerSettings) -> None:
        self._held_chunks = held_chunks
        self._settings = settings
        self._lock = threading.Lock()
        self._held: dict[Claim, Lease] = {}
        self._messages: list[ChunkMessage] = []  # a message may arrive twice

    @contextmanager
    def keeping(self, message: ChunkMessage) -> Iterator[None]:
        """Report to dispatch, at once and within this context, that a suspect's message is here."""
        self._keep([message])
        with self._lock:
            self._messages.append(message)
        try:
            yield
        finally:
            with self._lock:
                self._messages.remove(message)

    @contextmanager
    def renewing(self, claim: Claim) -> Iterator[Lease]:
        """Keep the lease of `claim` alive within this context, and watch over it."""
        lease = Lease(claim)
        with self._lock:
            self._held[claim] = lease
        try:
            yield lease
        finally:
            with self._lock:
                del self._held[claim]

    def look_after(self) -> None:
        """Renew leases, mark lost ones, end the process if a chunk is stuck, and keep messages.

        Raises:
            DBAPIError: Postgres does not answer, or refuses.
        """
        # Taken before the database is asked: a claim that it does not confirm is lost or done.
        with self._lock:
            held = list(self._held.values())
            messages = list(self._messages)
        if held:
            self._renew_or_lose(held)
        if messages:
            self._keep(messages)

    def _keep(self, messages: Sequence[ChunkMessage]) -> None:
        try:
            self._held_chunks.keep(messages)
        except sa.exc.DBAPIError as error:
            # Dispatch publishes the chunk again, which costs time only.
            logger.warning("cannot tell dispatch which messages wait here: %s", condition(error))

    def _renew_or_lose(self, held: Sequence[Lease]) -> None:
        owned = self._held_chunks.owned()
        due = time.monotonic() - self._settings.lease / 3  # most chunks are done sooner
        for lease in held:
            if lease.claim.fence not in owned:
                lease.lost.set()
            # Beats are counted, not seconds: an outage of Postgres is not the chunk's fault.
            lease.beats += 1
        old = [lease for lease in held if not lease.lost.is_set() and lease.renewed < due]
        if old:
            self._held_chunks.renew([lease.claim for lease in old])
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
                # No orderly end: it would wait for the stuck thread for ever. Counts as a crash.
                os._exit(EXIT_STUCK)
