"""What a process asks and tells Postgres about the chunks it holds, all of them at once."""

from collections.abc import Sequence

import sqlalchemy as sa

from schema.messages import ChunkMessage
from worker.claims import Claim, Fence


class HeldChunks:
    """The chunks whose leases or messages a worker process holds.

    Args:
        database: connects as a role that may renew leases.
        worker: name of this worker process.
        lease: seconds for which a renewed lease is valid.
    """

    def __init__(self, database: sa.Engine, worker: str, lease: float) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease

    def owned(self) -> set[Fence]:
        """The attempts this process owns; any other that it still works on has been lost."""
        with self._database.connect() as connection:
            rows = connection.execute(
                sa.text(
                    "select job_id, chunk_no, attempt from textmill.chunk"
                    " where worker = :worker and state = 'running'"
                ),
                {"worker": self._worker},
            )
            return {Fence(*row) for row in rows}

    def renew(self, claims: Sequence[Claim]) -> None:
        """Extend the leases of the given claims; a lease that was lost stays lost.

        Locked chunks are skipped: they are being stored or ended, and a rescue skips them too.
        """
        with self._database.begin() as connection:
            connection.execute(
                sa.text("""
                    update textmill.chunk c
                    set lease_expires_at = now() + make_interval(secs => :lease)
                    from (
                        select k.job_id, k.chunk_no from textmill.chunk k
                        join unnest(cast(:job_ids as uuid[]), cast(:chunk_nos as integer[]),
                            cast(:attempts as integer[])) as held (job_id, chunk_no, attempt)
                            using (job_id, chunk_no, attempt)
                        where k.state = 'running'
                        order by k.job_id, k.chunk_no
                        for update of k skip locked
                    ) as mine
                    where c.job_id = mine.job_id and c.chunk_no = mine.chunk_no
                """),
                {
                    "lease": self._lease,
                    "job_ids": [claim.job_id for claim in claims],
                    "chunk_nos": [claim.chunk_no for claim in claims],
                    "attempts": [claim.attempt for claim in claims],
                },
            )

    def keep(self, messages: Sequence[ChunkMessage]) -> None:
        """Report to dispatch the messages of unclaimed suspects: they are not lost.

        Each process that took such a message again would wait for it to be alone, and let nothing
        else in. Other chunks are not reported, since another process may begin them sooner.
        """
        with self._database.begin() as connection:
            connection.execute(
                sa.text("""
                    update textmill.chunk c set taken_at = now()
                    from (
                        select k.job_id, k.chunk_no from textmill.chunk k
                        join unnest(cast(:job_ids as uuid[]), cast(:chunk_nos as integer[]))
                            as taken (job_id, chunk_no) using (job_id, chunk_no)
                        where k.state = 'dispatched' and k.suspect
                        order by k.job_id, k.chunk_no
                        for update of k skip locked
                    ) as waiting
                    where c.job_id = waiting.job_id and c.chunk_no = waiting.chunk_no
                """),
                {
                    "job_ids": [message.job_id for message in messages],
                    "chunk_nos": [message.chunk_no for message in messages],
                },
            )
