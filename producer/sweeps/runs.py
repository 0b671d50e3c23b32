"""One run's way through Postgres: claim, renew, settle, then accept, finish or fail.

Each step of a run is claimed with a lease and a counted attempt. Every write after the claim is
fenced by `(run_id, attempt)`: nothing is written if another dispatcher has claimed the run since.
Times are the database's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import sqlalchemy as sa

from producer.sweeps.counting import summarise
from producer.sweeps.summary import RunCounts
from schema.documents import JobId
from schema.errors import LeaseLostError

RETRY_AFTER = timedelta(minutes=1)
"""Time between a step that was put off and the next try."""

LONG_WAIT = timedelta(minutes=30)
"""Time since its beginning after which a run that waits for intake is an alert."""

CHANGED = "its query or watermark was changed meanwhile; the next run begins with what it has then"
"""Error of a run whose sweep was changed after the run looked up its range of rows."""

DEFINITION = (
    "sha256(convert_to(jsonb_build_array(s.source, s.query, s.watermark_column, s.watermark_kind)"
    "::text, 'UTF8'))"
)
"""SQL hash of what gives the positions of a run their meaning, for the sweep `s`."""


@dataclass(frozen=True, slots=True)
class RunClaim:
    """One attempt at the next step of a run, with what its sweep says.

    Attributes:
        run_id: the run.
        attempt: number of this attempt, from 1; the fencing token.
        errors: attempts at this step that failed in a row before.
        sweep_id: the run's sweep.
        name: the sweep's name.
        source: name of the database that the rows come from.
        query: selects the rows.
        watermark_column: column that tells which rows are new.
        watermark_kind: kind of its values when the sweep was added.
        from_watermark: the run takes the rows above it.
        to_watermark: how far the rows reach; None until the run has looked.
        deadline_at: when the run has to be done; None sets no limit.
        late: whether that time has passed.
        changed: whether the sweep was changed since the run looked.
    """

    run_id: int
    attempt: int
    errors: int
    sweep_id: int
    name: str
    source: str
    query: str
    watermark_column: str
    watermark_kind: str
    from_watermark: str
    to_watermark: str | None
    deadline_at: datetime | None
    late: bool
    changed: bool


class UnwantedError(Exception):
    """The run is over, whatever its source says."""


class RunStore:
    """The table of runs, for one dispatcher. Methods that write raise LeaseLostError if fenced off.

    Args:
        engine: Textmill's database, as a member of `textmill_producer`.
        lease: seconds that a claim lasts.
    """

    def __init__(self, engine: sa.Engine, lease: float) -> None:
        self._engine = engine
        self._lease = lease

    def claim(self) -> RunClaim | None:
        """Claim the run that has been ready for longest, if one is.

        Until a run has found out how far its rows reach, it follows changes of its sweep.
        """
        with self._engine.begin() as connection:
            row = connection.execute(
                sa.text(f"""
                    update textmill.sweep_run r set attempt = r.attempt + 1,
                        lease_expires_at = now() + make_interval(secs => :lease),
                        from_watermark = case when r.to_watermark is null then s.watermark
                            else r.from_watermark end,
                        definition = case when r.to_watermark is null then {DEFINITION}
                            else r.definition end
                    from textmill.sweep s
                    where s.sweep_id = r.sweep_id and r.run_id = (
                        select run_id from textmill.sweep_run
                        where state = 'settling' and ready_at <= now()
                            and (lease_expires_at is null or lease_expires_at < now())
                        order by ready_at limit 1 for update skip locked)
                    returning r.run_id, r.attempt, r.errors, r.sweep_id, s.name, s.source, s.query,
                        s.watermark_column, s.watermark_kind, r.from_watermark, r.to_watermark,
                        r.started_at + s.deadline as deadline_at,
                        coalesce(r.started_at + s.deadline < now(), false) as late,
                        (s.watermark, {DEFINITION}) is distinct from
                            (r.from_watermark, r.definition) as changed
                """),  # noqa: S608
                {"lease": self._lease},
            ).one_or_none()
        return (
            None
            if row is None
            else RunClaim(**{f.name: getattr(row, f.name) for f in fields(RunClaim)})
        )

    def renew(self, claim: RunClaim) -> None:
        """Extend the lease."""
        self._write(
            claim,
            "lease_expires_at = now() + make_interval(secs => :lease)",
            {"lease": self._lease},
        )

    def release(self, claim: RunClaim) -> None:
        """Give the run back, so that it can be claimed again at once."""
        self._write(claim, "lease_expires_at = null", {})

    def settle(self, claim: RunClaim, highest: str) -> None:
        """Begin the wait for rows up to the watermark `highest` that are committed late."""
        self._write(
            claim,
            "to_watermark = :highest, errors = 0, lease_expires_at = null, ready_at = now() + ("
            "select settle from textmill.sweep s where s.sweep_id = textmill.sweep_run.sweep_id)",
            {"highest": highest},
        )

    def put_off(self, claim: RunClaim, error: str) -> None:
        """Try the step again after `RETRY_AFTER`, and count its failure."""
        self._write(
            claim,
            "errors = errors + 1, error = :error, alert = null, lease_expires_at = null,"
            " ready_at = now() + :after",
            {"error": error, "after": RETRY_AFTER},
        )

    def wait(self, claim: RunClaim, why: str) -> None:
        """Try the step again after `RETRY_AFTER`; a wait of `LONG_WAIT` is an alert."""
        self._write(
            claim,
            "error = :why, lease_expires_at = null, ready_at = now() + :after,"
            " alert = case when now() > started_at + :long then 'the run waits: ' || :why end",
            {"why": why, "after": RETRY_AFTER, "long": LONG_WAIT},
        )

    def fail(self, claim: RunClaim, error: str) -> None:
        """End the run, with an alert."""
        self._write(
            claim,
            "state = 'failed', finished_at = now(), error = :error, lease_expires_at = null,"
            " alert = 'the run failed: ' || :error",
            {"error": error},
        )

    def finish(self, claim: RunClaim) -> None:
        """End a run without rows, with its summary."""
        with self._engine.begin() as connection:
            _fenced(connection, claim, "lease_expires_at = null", {})
            summarise(connection, claim.sweep_id, claim.run_id, RunCounts(0))

    @staticmethod
    def accept(connection: sa.Connection, claim: RunClaim, job_id: JobId, up_to: str) -> None:
        """Advance the watermark and the run, in the transaction that opens the job.

        If rows are left, the sweep is due again as soon as this run has ended.

        Raises:
            LeaseLostError: another dispatcher went on with the run.
            UnwantedError: the sweep was changed since the run began.
        """
        _fenced(
            connection,
            claim,
            "state = 'running', job_id = :job_id, to_watermark = :up_to, error = null,"
            " alert = null, lease_expires_at = null",
            {"job_id": job_id, "up_to": up_to},
        )
        moved = connection.execute(
            sa.text(
                "update textmill.sweep s set watermark = :up_to,"  # noqa: S608
                " next_run_at = case when :rest then least(next_run_at, now()) else next_run_at end"
                " from textmill.sweep_run r where r.run_id = :run_id and s.sweep_id = r.sweep_id"
                f" and s.watermark = r.from_watermark and {DEFINITION} = r.definition"
            ),
            {"up_to": up_to, "rest": up_to != claim.to_watermark, "run_id": claim.run_id},
        )
        if moved.rowcount == 0:
            raise UnwantedError(CHANGED)

    def _write(self, claim: RunClaim, changes: str, values: Mapping[str, object]) -> None:
        with self._engine.begin() as connection:
            _fenced(connection, claim, changes, values)


def _fenced(
    connection: sa.Connection, claim: RunClaim, changes: str, values: Mapping[str, object]
) -> None:
    written = connection.execute(
        sa.text(
            f"update textmill.sweep_run set {changes} where run_id = :run_id"  # noqa: S608
            " and attempt = :attempt and state = 'settling'"
        ),
        {**values, "run_id": claim.run_id, "attempt": claim.attempt},
    )
    if written.rowcount == 0:
        msg = f"another dispatcher went on with run {claim.run_id} of sweep {claim.name}"
        raise LeaseLostError(msg)
