"""One chunk's way through Postgres: claim, load, then store or fail.

Every write after the claim is fenced by `(job_id, chunk_no, attempt)`: nothing is written if the
chunk has been claimed again or its job has ended. Times are the database's.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from schema.documents import JobId, Lane, Task
from schema.errors import LeaseLostError
from schema.messages import PENDING_CHANNEL, ChunkMessage
from schema.outcomes import Failure, Result
from schema.states import AttemptEnd
from worker.claims import Claim
from worker.outcome_rows import insert_failures, insert_results
from worker.retry import GiveUp, decide, gives_up

LOCK_TIMEOUT = "3s"
"""How long a statement waits for a lock. Someone at an open prompt may hold a job or a chunk for
hours: a thread whose statement times out tries again, one that keeps waiting looks stuck. The first
statement of each transaction sets it, which saves a round trip."""


LoadedDocument = sa.Row[int, str | None]
"""A document without an outcome, `(seq, text)`: its position in the job, and its text, or None if
that was erased. Kept as the driver's row, since converting rows takes as long as reading them."""


class ChunkStore:
    """The chunks table, for one worker process.

    Args:
        database: connects as a role that may write outcomes.
        worker: name of this worker process.
        lease: seconds for which a claim is valid.
        max_attempts: failed attempts after which a chunk is given up as a whole.
    """

    def __init__(self, database: sa.Engine, worker: str, lease: float, max_attempts: int) -> None:
        self._database = database
        self._worker = worker
        self._lease = lease
        self._max_attempts = max_attempts

    def claim(self, message: ChunkMessage, *, alone: bool) -> Claim | None:
        """Claim the chunk that a message points at, counting the attempt.

        Args:
            message: the pointer.
            alone: whether this process does nothing else meanwhile; only then is a suspect
                claimed.

        Returns:
            None if there is nothing to do: the chunk is taken or done, its job is paused,
            cancelled or gone, or the message is a duplicate; or if the chunk is a suspect and
            `alone` is false.
        """
        with self._database.connect() as connection:
            row = connection.execute(
                sa.text("""
                    update textmill.chunk c set
                        state = 'running',
                        attempt = c.attempt + 1,
                        lease_expires_at = now() + make_interval(secs => :lease),
                        worker = :worker
                    from textmill.job j
                    where j.job_id = c.job_id and j.state in ('pending', 'running')
                        and c.job_id = :job_id and c.chunk_no = :chunk_no
                        and c.state = 'dispatched' and (:alone or not c.suspect)
                        and set_config('lock_timeout', :lock_timeout, true) is not null
                    returning c.job_id, c.chunk_no, c.attempt, j.task, j.lane,
                        c.first_seq, c.last_seq, c.errors, j.state as job_state,
                        coalesce((j.options ->> 'explain')::boolean, false) as explain,
                        coalesce((j.options ->> 'generate')::boolean, false) as generate,
                        j.options ->> 'model_version' as model_version
                """),
                {
                    "lease": self._lease,
                    "worker": self._worker,
                    "job_id": message.job_id,
                    "chunk_no": message.chunk_no,
                    "alone": alone,
                    "lock_timeout": LOCK_TIMEOUT,
                },
            ).one_or_none()
            if row is None:
                return None
            if row.job_state == "pending" and not _start(connection, row.job_id):
                return None  # the claim is rolled back with its transaction
            connection.commit()
        return Claim(
            row.job_id,
            row.chunk_no,
            row.attempt,
            Task(row.task),
            Lane(row.lane),
            row.first_seq,
            row.last_seq,
            row.errors,
            row.explain,
            row.generate,
            row.model_version,
        )

    def is_suspect(self, message: ChunkMessage) -> bool:
        """Whether the chunk is a suspect waiting for a process to claim it alone."""
        with self._reading() as connection:
            return bool(
                connection.scalar(
                    sa.text(
                        "select suspect from textmill.chunk where job_id = :job_id"
                        " and chunk_no = :chunk_no and state = 'dispatched'"
                    ),
                    {"job_id": message.job_id, "chunk_no": message.chunk_no},
                )
            )

    def load(self, claim: Claim) -> Sequence[LoadedDocument]:
        """The chunk's work: the documents of its range that have no outcome."""
        with self._reading() as connection:
            rows = connection.execute(
                sa.text("""
                    select seq, text from textmill.chunk_work(:job_id, :first_seq, :last_seq)
                    order by seq
                """),
                {
                    "job_id": claim.job_id,
                    "first_seq": claim.first_seq,
                    "last_seq": claim.last_seq,
                },
            )
            return rows.all()  # all at once: one at a time takes twice as long

    def store(self, claim: Claim, outcomes: Sequence[tuple[int, Result | Failure]]) -> None:
        """Write the outcomes, finish the chunk and update the job's counts, in one transaction.

        Args:
            claim: the attempt that made the outcomes.
            outcomes: `(seq, outcome)` for every document that was loaded.

        Raises:
            LeaseLostError: the attempt no longer owns the chunk; nothing was written.
        """
        results = [(seq, result) for seq, result in outcomes if not isinstance(result, Failure)]
        failures = [(seq, failure) for seq, failure in outcomes if isinstance(failure, Failure)]
        with self._database.begin() as connection:
            fenced = connection.execute(
                sa.text(
                    "update textmill.chunk set state = 'done', lease_expires_at = null,"
                    " suspect = false"
                    " where job_id = :job_id and chunk_no = :chunk_no"
                    " and attempt = :attempt and state = 'running'"
                    " and set_config('lock_timeout', :lock_timeout, true) is not null"
                ),
                {"lock_timeout": LOCK_TIMEOUT, **claim.fence._asdict()},
            )
            if fenced.rowcount == 0:
                msg = (
                    f"attempt {claim.attempt} of chunk {claim.chunk_no} of job {claim.job_id}"
                    " lost its lease"
                )
                raise LeaseLostError(msg)
            insert_results(connection, claim.job_id, claim.attempt, results)
            insert_failures(connection, claim.job_id, claim.attempt, failures)
            # A thread is free again: notify dispatch, so that it need not wait for its next poll.
            connection.execute(
                sa.text(
                    "select textmill.count_outcomes(:job_id, :succeeded, :failed),"
                    " pg_notify(:channel, '')"
                ),
                {
                    "job_id": claim.job_id,
                    "succeeded": len(results),
                    "failed": len(failures),
                    "channel": PENDING_CHANNEL,
                },
            )

    def await_job(self, claim: Claim) -> None:
        """Wait until no other session locks the job, so that `store` does not write in vain."""
        with self._database.begin() as connection:
            connection.execute(
                sa.text(
                    "select textmill.await_job(:job_id)"
                    " from set_config('lock_timeout', :lock_timeout, true)"
                ),
                {"job_id": claim.job_id, "lock_timeout": LOCK_TIMEOUT},
            )

    def is_done(self, claim: Claim) -> bool:
        """Whether this very attempt stored its outcomes, in case the answer to `store` was lost."""
        with self._reading() as connection:
            state = connection.scalar(
                sa.text(
                    "select state from textmill.chunk where job_id = :job_id"
                    " and chunk_no = :chunk_no and attempt = :attempt"
                ),
                claim.fence._asdict(),
            )
        return bool(state == "done")

    def gives_up(self, claim: Claim, error: Exception) -> bool:
        """Whether the chunk is given up as a whole if this attempt fails with `error`, too."""
        return gives_up(error, claim.errors + 1, self._max_attempts)

    def fail(self, claim: Claim, error: Exception) -> str | None:
        """End an attempt that failed as a whole; `worker.retry` decides what happens next.

        Returns:
            The chunk's new state: `pending`; `split` if it was given up and halved; `done` if it
            held a single document, which has failed. None if the lease was already lost.
        """
        seed = " ".join(map(str, claim.fence))
        decision = decide(error, claim.errors + 1, self._max_attempts, seed=seed)
        with self._database.begin() as connection:
            if isinstance(decision, GiveUp):
                why = f"every attempt failed: {type(error).__name__}"
                return _end(connection, claim, AttemptEnd.GIVEN_UP, why=why)
            how = AttemptEnd.RETRY if decision.counts else AttemptEnd.RELEASED
            return _end(connection, claim, how, wait=decision.wait.total_seconds())

    def _reading(self) -> sa.Connection:
        """A connection for one statement, in autocommit mode: without separate begin and commit.

        On a busy core, each of these round trips costs an interactive chunk milliseconds.
        """
        return self._database.connect().execution_options(isolation_level="AUTOCOMMIT")


def _start(connection: sa.Connection, job_id: JobId) -> bool:
    """Start a job that was pending when its chunk was claimed.

    False if the job was paused or cancelled while this waited for its row. A job that already runs
    needs no second check: a pause at this point has the same effect as one after the claim.
    """
    return bool(
        connection.scalar(sa.text("select textmill.begin_job(:job_id)"), {"job_id": job_id})
    )


def _end(
    connection: sa.Connection,
    claim: Claim,
    how: AttemptEnd,
    *,
    why: str | None = None,
    wait: float = 0,
) -> str | None:
    state: str | None = connection.scalar(
        sa.text(
            "select textmill.end_attempt(:job_id, :chunk_no, :attempt, :how, :why, :wait)"
            " from set_config('lock_timeout', :lock_timeout, true)"
        ),
        {
            "how": how,
            "why": why,
            "wait": wait,
            "lock_timeout": LOCK_TIMEOUT,
            **claim.fence._asdict(),
        },
    )
    connection.execute(sa.text(f"notify {PENDING_CHANNEL}"))
    return state
