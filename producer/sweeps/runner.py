"""Carries runs of sweeps through: begin, settle, hand over, count.

Any number of dispatchers may do it. Each step of a run is claimed with a lease and counted; what
it writes matches `(run_id, attempt)`, so that a step whose lease ran out writes nothing. The
transaction that makes a run's job visible is the one that advances the watermark.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

import psycopg
import sqlalchemy as sa

from producer.intake import from_mapping
from producer.submit import submit
from producer.sweeps.beginning import begin_runs
from producer.sweeps.clocks import shorten_waits
from producer.sweeps.counting import finish_runs, summarise
from producer.sweeps.source import Source, open_source
from producer.sweeps.summary import Counts
from schema.database import reachable
from schema.database_errors import is_outage, what_it_says
from schema.documents import JobId, JobOptions, Record, Task
from schema.errors import (
    InputError,
    LeaseLostError,
    PendingLimitError,
    SchemaVersionError,
    ServiceUnavailableError,
    TextmillError,
    UsageError,
)
from schema.settings import IntakeSettings, SweepSettings
from schema.states import SweepRunState

logger = logging.getLogger(__name__)

POLL_INTERVAL = 5
"""Seconds between looks for runs that are due."""

TRIES = 5
"""Steps of a run that may fail one after another before the run does."""

RETRY_AFTER = timedelta(minutes=1)
"""Between a step that failed and the next try."""

RENEW_AFTER = 15.0
"""Seconds after which a step that reads rows says that it lives; the next ones may then take as
long as the source lets a statement take."""

LEASE_MARGIN = 60
"""Seconds of a lease beyond what a statement may take at the source."""

CHANGED = "its query or watermark was changed meanwhile; the next run begins with what it has then"
"""Error of a run whose range was looked up in what its sweep does not say any more."""

DEFINITION = (
    "sha256(convert_to(jsonb_build_array(s.source, s.query, s.watermark_column, s.watermark_kind)"
    "::text, 'UTF8'))"
)
"""What gives the positions of a run their sense, of the sweep `s`."""


@dataclass(frozen=True, slots=True)
class Step:
    """A claimed step of a run, with all that the sweep says."""

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


class Sweeper:
    """Runs sweeps when they are due.

    Args:
        engine: Textmill's database, as a member of `textmill_producer`: it runs sweeps, and moves
            their watermarks; operators say which there are.
        settings: the databases that sweeps read, and seconds that a statement there may take.
        limits: what a job may hold.
    """

    def __init__(self, engine: sa.Engine, settings: SweepSettings, limits: IntakeSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._limits = limits
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Take steps until `stop`; what goes wrong is logged and tried again."""
        self._stop = stop
        while not stop.is_set():
            try:
                self.step()
            except TextmillError as error:
                logger.warning("sweeps: %s", error)
            except (sa.exc.DBAPIError, psycopg.Error) as error:  # a traceback would quote its row
                logger.warning("sweeps; going on: %s", _said(error))
            except Exception:
                logger.exception("sweeps; going on")
            stop.wait(POLL_INTERVAL)

    def step(self) -> None:
        """Begin runs that are due, move on those that can, count those whose job ended.

        Raises:
            SchemaVersionError: the database lacks a table.
            ServiceUnavailableError: Postgres does not answer.
            SettingsError: the role that logs in lacks a right.
        """
        with reachable(self._engine):
            begin_runs(self._engine)
            shorten_waits(self._engine, retry=RETRY_AFTER, lease=timedelta(seconds=self._lease))
            while not self._stop.is_set() and (step := self._claim()) is not None:
                self._take(step)
            finish_runs(self._engine)

    def _claim(self) -> Step | None:
        """The next step; until its run has looked how far rows reach, it goes by the sweep."""
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
        return None if row is None else Step(**{f.name: getattr(row, f.name) for f in fields(Step)})

    @property
    def _lease(self) -> float:
        """Seconds that a step may take between two signs of life: one statement at the source."""
        return self._settings.source_timeout + LEASE_MARGIN

    def _take(self, step: Step) -> None:
        try:
            self._go_on(step)
        except _StoppedError:
            self._write(step, "lease_expires_at = null")
        except PendingLimitError as error:  # others have to be done first: no fault of the run
            logger.warning("sweep %s waits: %s", step.name, error)
            self._put_off(step, str(error), errors=0)
        except _UnwantedError as error:
            self._fail(step, str(error), final=True)
        except LeaseLostError as error:
            logger.warning("%s", error)
        except (ServiceUnavailableError, SchemaVersionError):
            raise  # an outage, of which dispatch knows
        except Exception as error:
            if is_outage(error):
                raise
            # Whatever a row made of it, later runs of the sweep and other sweeps go on.
            self._fail(step, _why(step, error), final=step.errors >= TRIES)

    def _go_on(self, step: Step) -> None:
        _check_still_wanted(step)
        own_url = self._engine.url.render_as_string(hide_password=False)
        with closing(open_source(step.source, own_url, self._settings)) as source:
            _check_kind(step, source)
            self._renew(step)
            if step.to_watermark is None:
                self._probe(step, source)
            else:
                self._hand_over(step, source, step.to_watermark)

    def _probe(self, step: Step, source: Source) -> None:
        """See how far the rows reach; they are read once they had time to settle."""
        highest = source.highest(step.query, step.watermark_column, step.from_watermark)
        if highest is None:
            with self._engine.begin() as connection:
                _fenced(connection, step, "lease_expires_at = null", {})
                summarise(connection, step.sweep_id, step.run_id, Counts(0))
            return
        _check_is_above(step, highest)
        self._write(
            step,
            "to_watermark = :highest, errors = 0, lease_expires_at = null, ready_at = now() + ("
            "select settle from textmill.sweep s where s.sweep_id = textmill.sweep_run.sweep_id)",
            {"highest": highest},
        )

    def _hand_over(self, step: Step, source: Source, looked: str) -> None:
        """Make a job of the rows, and advance the watermark with it."""
        up_to = self._reach(step, source, looked)
        rows = source.rows(step.query, step.watermark_column, step.from_watermark, up_to)
        submission = submit(
            self._engine,
            Task.MODERATION,
            self._records(step, rows),
            JobOptions(
                name=f"sweep {step.name}",
                idempotency_key=f"run {step.run_id}",  # the fence says the same
                deadline_at=step.deadline_at,
            ),
            submitter=f"sweep {step.name}",
            limits=self._limits,
            progress=lambda _: self._renew(step),
            on_open=lambda connection, job_id: _accept(connection, step, job_id, up_to),
        )
        logger.info(
            "sweep %s: job %s of %d rows", step.name, submission.job_id, submission.accepted
        )

    def _reach(self, step: Step, source: Source, looked: str) -> str:
        """How far the rows reach that a job may hold: to `looked`, or less far.

        It is found after the time to settle, since rows that were committed late count along. Rows
        of one value stay together: the next run begins above it.

        Raises:
            _UnwantedError: a job may not even hold those of one value.
        """
        most, setting = _most_rows(self._limits)
        rows = (step.query, step.watermark_column, step.from_watermark)
        beyond = None
        for found in source.after(*rows, up_to=looked, rows=most):
            beyond = found
            self._renew(step)
        if beyond is None:
            return looked
        reach = source.highest(*rows, below=beyond)
        self._renew(step)
        if reach is None:
            msg = (
                f"more than {most:,} rows have {step.watermark_column} {beyond!r}, and {setting}"
                " lets no job have so many; raise it, or choose a watermark that fewer rows share"
            )
            raise _UnwantedError(msg)
        _check_is_above(step, reach)
        return reach

    def _records(self, step: Step, rows: Iterator[Mapping[str, object]]) -> Iterator[Record]:
        renewed = time.monotonic()
        for row in rows:
            if self._stop.is_set():
                raise _StoppedError
            if time.monotonic() - renewed >= RENEW_AFTER:
                self._renew(step)
                renewed = time.monotonic()
            yield from_mapping(row, limits=self._limits)

    def _renew(self, step: Step) -> None:
        self._write(
            step,
            "lease_expires_at = now() + make_interval(secs => :lease)",
            {"lease": self._lease},
        )

    def _fail(self, step: Step, error: str, *, final: bool) -> None:
        logger.warning("sweep %s: %s", step.name, error)
        if final:
            self._write(
                step,
                "state = :failed, finished_at = now(), error = :error, lease_expires_at = null,"
                " alert = 'the run failed: ' || :error",
                {"failed": SweepRunState.FAILED, "error": error},
            )
        else:
            self._put_off(step, error, errors=1)

    def _put_off(self, step: Step, error: str, *, errors: int) -> None:
        self._write(
            step,
            "errors = errors + :errors, error = :error, lease_expires_at = null,"
            " ready_at = now() + :after",
            {"errors": errors, "error": error, "after": RETRY_AFTER},
        )

    def _write(self, step: Step, changes: str, values: Mapping[str, object] | None = None) -> None:
        with self._engine.begin() as connection:
            _fenced(connection, step, changes, values or {})


def _check_still_wanted(step: Step) -> None:
    """Refuse a run whose deadline passed, or whose sweep is not any more what it began with.

    Raises:
        _UnwantedError: it is so.
    """
    if step.late:
        msg = "its deadline passed before its rows were handed over"
        raise _UnwantedError(msg)
    if step.changed:
        raise _UnwantedError(CHANGED)


def _check_is_above(step: Step, reach: str) -> None:
    """Refuse a query that gives the rows at its watermark again, without an end.

    Raises:
        InputError: it does.
    """
    if reach == step.from_watermark:
        msg = (
            f"the query gives rows at the watermark {reach!r} itself, swept before;"
            " write > instead of >="
        )
        raise InputError(msg)


def _check_kind(step: Step, source: Source) -> None:
    """Refuse a watermark that another kind of values orders otherwise: rows would be left out.

    Raises:
        InputError: the column was given another type.
    """
    kind = source.kind(step.query, step.watermark_column).name
    if kind != step.watermark_kind:
        msg = (
            f"the watermark {step.watermark_column!r} was a {step.watermark_kind} and is a {kind};"
            " remove the sweep, and add it again --from where it should go on"
        )
        raise InputError(msg)


def _most_rows(limits: IntakeSettings) -> tuple[int, str]:
    """How many rows a run may take, and the setting that says so.

    One that may wait for its turn but never have it would wait for ever.
    """
    return min(
        (limit, setting)
        for limit, setting in (
            (limits.max_job_documents, "TEXTMILL_MAX_JOB_DOCUMENTS"),
            (limits.max_pending, "TEXTMILL_MAX_PENDING"),
            (limits.max_pending_per_submitter, "TEXTMILL_MAX_PENDING_PER_SUBMITTER"),
        )
        if limit is not None
    )


def _why(step: Step, error: Exception) -> str:
    """What went wrong with a step, without what may quote a row."""
    match error:
        case UsageError():
            return str(error)
        case sa.exc.DBAPIError() | psycopg.Error():  # COPY raises the latter
            return f"Textmill's database says: {_said(error)}"
        case _:
            logger.error("sweep %s", step.name, exc_info=error)
            return f"{type(error).__name__}, see dispatch's log"


def _said(error: sa.exc.DBAPIError | psycopg.Error) -> str:
    return what_it_says(error.orig if isinstance(error, sa.exc.DBAPIError) else error)


class _StoppedError(Exception):
    """Dispatch is told to stop while a job loads."""


class _UnwantedError(Exception):
    """The run is over, whatever its source says."""


def _accept(connection: sa.Connection, step: Step, job_id: JobId, up_to: str) -> None:
    """The watermark moves, and the run goes on, in the transaction that opens the job.

    Where rows are left, the sweep is due again, as soon as this run has ended.

    Raises:
        LeaseLostError: another dispatcher went on with the run.
        _UnwantedError: the sweep is not any more what the run began with.
    """
    _fenced(
        connection,
        step,
        "state = :running, job_id = :job_id, to_watermark = :up_to, error = null,"
        " lease_expires_at = null",
        {"running": SweepRunState.RUNNING, "job_id": job_id, "up_to": up_to},
    )
    moved = connection.execute(
        sa.text(
            "update textmill.sweep s set watermark = :up_to,"  # noqa: S608
            " next_run_at = case when :rest then least(next_run_at, now()) else next_run_at end"
            " from textmill.sweep_run r where r.run_id = :run_id and s.sweep_id = r.sweep_id"
            f" and s.watermark = r.from_watermark and {DEFINITION} = r.definition"
        ),
        {"up_to": up_to, "rest": up_to != step.to_watermark, "run_id": step.run_id},
    )
    if moved.rowcount == 0:
        raise _UnwantedError(CHANGED)


def _fenced(
    connection: sa.Connection, step: Step, changes: str, values: Mapping[str, object]
) -> None:
    written = connection.execute(
        sa.text(
            f"update textmill.sweep_run set {changes} where run_id = :run_id"  # noqa: S608
            " and attempt = :attempt and state = :settling"
        ),
        {
            **values,
            "settling": SweepRunState.SETTLING,
            "run_id": step.run_id,
            "attempt": step.attempt,
        },
    )
    if written.rowcount == 0:
        msg = f"another dispatcher went on with run {step.run_id} of sweep {step.name}"
        raise LeaseLostError(msg)
