"""One chunk's way through Postgres: claim, load, renew, store, release.

Every write after the claim is fenced by `(job_id, chunk_no, attempt)`: when the chunk was claimed
again since, nothing is written and `LeaseLostError` is raised. Times are the database's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from schema.documents import JobId, Lane, Task
from schema.errors import LeaseLostError
from schema.messages import ChunkMessage
from schema.outcomes import Failure, ModerationResult, Result, SentimentResult


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to one attempt at a chunk.

    Attributes:
        job_id: the chunk's job.
        chunk_no: its number in the job.
        attempt: number of this attempt, from 1; the fencing token.
        task: the job's task.
        lane: the job's lane.
        first_seq: first document of the chunk.
        last_seq: last document of the chunk.
    """

    job_id: JobId
    chunk_no: int
    attempt: int
    task: Task
    lane: Lane
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A document without outcome, as its chunk is loaded."""

    seq: int
    text: str


class ChunkStore:
    """The chunks table, for one worker process."""

    def __init__(self, engine: sa.Engine, worker: str, lease: float) -> None:
        """Keep what every statement needs.

        Args:
            engine: connects as a role that may write outcomes.
            worker: name of this process.
            lease: seconds that a claim lasts.
        """
        self._engine = engine
        self._worker = worker
        self._lease = lease

    def claim(self, message: ChunkMessage) -> Claim | None:
        """Take the chunk that a message points at, counting the attempt.

        Returns:
            None when there is nothing to do: the chunk is taken or done, its job is paused,
            cancelled or gone, or the message is a duplicate.
        """
        with self._engine.begin() as connection:
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
                        and c.state = 'dispatched'
                    returning c.job_id, c.chunk_no, c.attempt, j.task, j.lane,
                        c.first_seq, c.last_seq, j.state as job_state
                """),
                {
                    "lease": self._lease,
                    "worker": self._worker,
                    "job_id": message.job_id,
                    "chunk_no": message.chunk_no,
                },
            ).one_or_none()
            if row is None:
                return None
            if row.job_state == "pending":
                connection.execute(
                    sa.text(
                        "update textmill.job set state = 'running',"
                        " started_at = coalesce(started_at, now())"
                        " where job_id = :job_id and state = 'pending'"
                    ),
                    {"job_id": message.job_id},
                )
        return Claim(
            row.job_id,
            row.chunk_no,
            row.attempt,
            Task(row.task),
            Lane(row.lane),
            row.first_seq,
            row.last_seq,
        )

    def load(self, claim: Claim) -> list[LoadedDocument]:
        """The chunk's work: those documents of its range that have no outcome."""
        with self._engine.connect() as connection:
            rows = connection.execute(
                sa.text("""
                    select d.seq, d.text from textmill.document d
                    where d.job_id = :job_id and d.seq between :first_seq and :last_seq
                        and d.text is not null
                        and not exists (select from textmill.result r
                            where r.job_id = d.job_id and r.seq = d.seq)
                        and not exists (select from textmill.failure f
                            where f.job_id = d.job_id and f.seq = d.seq)
                    order by d.seq
                """),
                {
                    "job_id": claim.job_id,
                    "first_seq": claim.first_seq,
                    "last_seq": claim.last_seq,
                },
            )
            return [LoadedDocument(row.seq, row.text) for row in rows]

    def renew(self, claims: Iterable[Claim]) -> None:
        """Extend the leases of chunks in work; one that was lost stays lost."""
        with self._engine.begin() as connection:
            for claim in claims:
                connection.execute(
                    sa.text(
                        "update textmill.chunk"
                        " set lease_expires_at = now() + make_interval(secs => :lease)"
                        " where job_id = :job_id and chunk_no = :chunk_no"
                        " and attempt = :attempt and state = 'running'"
                    ),
                    {"lease": self._lease, **_fence(claim)},
                )

    def store(self, claim: Claim, outcomes: Sequence[tuple[int, Result | Failure]]) -> None:
        """Write the outcomes, finish the chunk and count, in one transaction.

        Args:
            claim: the attempt that made the outcomes.
            outcomes: `(seq, outcome)` of every document that was loaded.

        Raises:
            LeaseLostError: the chunk was claimed again; nothing was written.
        """
        results = [(seq, made) for seq, made in outcomes if not isinstance(made, Failure)]
        failures = [(seq, made) for seq, made in outcomes if isinstance(made, Failure)]
        with self._engine.begin() as connection:
            fenced = connection.execute(
                sa.text(
                    "update textmill.chunk set state = 'done', lease_expires_at = null"
                    " where job_id = :job_id and chunk_no = :chunk_no"
                    " and attempt = :attempt and state = 'running'"
                ),
                _fence(claim),
            )
            if fenced.rowcount == 0:
                msg = f"chunk {claim.chunk_no} of job {claim.job_id} was claimed again"
                raise LeaseLostError(msg)
            _insert_results(connection, claim, results)
            _insert_failures(connection, claim, failures)
            connection.execute(
                sa.text("select textmill.count_outcomes(:job_id, :succeeded, :failed)"),
                {"job_id": claim.job_id, "succeeded": len(results), "failed": len(failures)},
            )
            # A thread is free again: dispatch need not wait for its next poll.
            connection.execute(sa.text("notify textmill_pending"))

    def release(self, claim: Claim, retry_after: float) -> None:
        """End the lease of an attempt that failed as a whole, so that dispatch rescues the chunk.

        Args:
            claim: the attempt.
            retry_after: seconds until the next one may begin.
        """
        with self._engine.begin() as connection:
            connection.execute(
                sa.text(
                    "update textmill.chunk set lease_expires_at = now(),"
                    " not_before = now() + make_interval(secs => :retry_after)"
                    " where job_id = :job_id and chunk_no = :chunk_no"
                    " and attempt = :attempt and state = 'running'"
                ),
                {"retry_after": retry_after, **_fence(claim)},
            )


def _fence(claim: Claim) -> dict[str, object]:
    return {"job_id": claim.job_id, "chunk_no": claim.chunk_no, "attempt": claim.attempt}


def _insert_results(
    connection: sa.Connection, claim: Claim, results: Sequence[tuple[int, Result]]
) -> None:
    if not results:
        return
    labels = [_headline(result) for _, result in results]
    connection.execute(
        sa.text("""
            insert into textmill.result
                (job_id, seq, label, score, payload, model_version, attempt)
            select :job_id, seq, label, score, payload::jsonb, model_version, :attempt
            from unnest(cast(:seqs as bigint[]), cast(:labels as text[]), cast(:scores as real[]),
                cast(:payloads as text[]), cast(:versions as text[]))
                as rows (seq, label, score, payload, model_version)
        """),
        {
            "job_id": claim.job_id,
            "attempt": claim.attempt,
            "seqs": [seq for seq, _ in results],
            "labels": [label for label, _ in labels],
            "scores": [score for _, score in labels],
            "payloads": [result.model_dump_json() for _, result in results],
            "versions": [result.model_version for _, result in results],
        },
    )


def _insert_failures(
    connection: sa.Connection, claim: Claim, failures: Sequence[tuple[int, Failure]]
) -> None:
    if not failures:
        return
    connection.execute(
        sa.text("""
            insert into textmill.failure (job_id, seq, code, stage, message, attempt)
            select :job_id, seq, code, stage, message, :attempt
            from unnest(cast(:seqs as bigint[]), cast(:codes as text[]), cast(:stages as text[]),
                cast(:messages as text[])) as rows (seq, code, stage, message)
        """),
        {
            "job_id": claim.job_id,
            "attempt": claim.attempt,
            "seqs": [seq for seq, _ in failures],
            "codes": [failure.code.value for _, failure in failures],
            "stages": [failure.stage.value for _, failure in failures],
            "messages": [failure.message for _, failure in failures],
        },
    )


def _headline(result: Result) -> tuple[str | None, float | None]:
    """The label and score that stand in their own columns."""
    match result:
        case SentimentResult(label=label, score=score):
            return label, score
        case ModerationResult(labels=labels, scores=scores):
            first = labels[0] if labels else max(scores, key=lambda label: scores[label])
            return first, scores[first]
        case _:
            return None, None
