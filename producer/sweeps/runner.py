"""Carry out the runs of sweeps: begin, settle, submit the rows, count.

Any number of dispatchers may do this. The transaction that makes a run's job visible also advances
the watermark.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta

import psycopg
import sqlalchemy as sa

from producer.intake import from_mapping
from producer.pending_limits import allowance, highest_allowance
from producer.submit import submit
from producer.sweeps.beginning import begin_runs
from producer.sweeps.clocks import shorten_waits
from producer.sweeps.counting import finish_runs
from producer.sweeps.runs import CHANGED, RETRY_AFTER, RunStore, Step, UnwantedError
from producer.sweeps.source import Source, open_source
from schema.database import reachable
from schema.database_errors import is_outage, what_it_says
from schema.documents import JobOptions, Record, Task
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

logger = logging.getLogger(__name__)

POLL_INTERVAL = 5
"""Seconds between checks for runs that are due."""

TRIES = 5
"""Steps of a run that may fail in a row; if another one fails, the run does."""

RENEW_AFTER = 15.0
"""Seconds after which a step that reads rows renews its lease; the next rows may then take as long
as the source lets a statement take."""

LEASE_MARGIN = 60
"""Seconds by which a lease exceeds what a statement may take at the source."""


class Sweeper:
    """Runs sweeps when they are due.

    Args:
        engine: Textmill's database, as a member of `textmill_producer`, who runs sweeps and moves
            their watermarks; operators define them.
        settings: the databases that sweeps read, and seconds that a statement there may take.
        limits: what a job may hold.
    """

    def __init__(self, engine: sa.Engine, settings: SweepSettings, limits: IntakeSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._limits = limits
        # Time enough between two renewals for one statement at the source.
        self._lease = settings.source_timeout + LEASE_MARGIN
        self._runs = RunStore(engine, self._lease)
        self._stop = threading.Event()

    def run(self, stop: threading.Event) -> None:
        """Take steps until `stop` is set; what goes wrong is logged and tried again."""
        self._stop = stop
        while not stop.is_set():
            try:
                self.step()
            except TextmillError as error:
                logger.warning("sweeps: %s", error)
            except (sa.exc.DBAPIError, psycopg.Error) as error:  # a traceback could quote a row
                logger.warning("sweeps, continuing: %s", _said(error))
            except Exception:
                logger.exception("sweeps, continuing")
            stop.wait(POLL_INTERVAL)

    def step(self) -> None:
        """Begin the runs that are due, advance those that can be, and count those whose job ended.

        Raises:
            SchemaVersionError: the database lacks a table.
            ServiceUnavailableError: Postgres does not answer.
            SettingsError: the role that logs in lacks a right.
        """
        with reachable(self._engine):
            begin_runs(self._engine)
            shorten_waits(self._engine, retry=RETRY_AFTER, lease=timedelta(seconds=self._lease))
            while not self._stop.is_set() and (step := self._runs.claim()) is not None:
                self._take(step)
            finish_runs(self._engine)

    def _take(self, step: Step) -> None:
        try:
            self._go_on(step)
        except _StoppedError:
            self._runs.release(step)
        except PendingLimitError as error:  # other documents have to be done first
            logger.warning("sweep %s waits: %s", step.name, error)
            self._runs.wait(step, str(error))
        except UnwantedError as error:
            self._fail(step, str(error), final=True)
        except LeaseLostError as error:
            logger.warning("%s", error)
        except (ServiceUnavailableError, SchemaVersionError):
            raise  # an outage, which `run` logs
        except Exception as error:
            if is_outage(error):
                raise
            # Whatever a row caused here, later runs of the sweep and other sweeps continue.
            self._fail(step, _why(step, error), final=step.errors >= TRIES)

    def _go_on(self, step: Step) -> None:
        _check_still_wanted(step)
        own_url = self._engine.url.render_as_string(hide_password=False)
        with closing(open_source(step.source, own_url, self._settings)) as source:
            _check_kind(step, source)
            self._runs.renew(step)
            if step.to_watermark is None:
                self._probe(step, source)
            else:
                self._hand_over(step, source, step.to_watermark)

    def _probe(self, step: Step, source: Source) -> None:
        """Find out how far the rows reach; they are read once they have had time to settle."""
        highest = source.highest(step.query, step.watermark_column, step.from_watermark)
        if highest is None:
            self._runs.finish(step)
            return
        _check_is_above(step, highest)
        self._runs.settle(step, highest)

    def _hand_over(self, step: Step, source: Source, looked: str) -> None:
        """Submit the rows as a job, and advance the watermark with it."""
        up_to = self._reach(step, source, looked)
        rows = source.rows(step.query, step.watermark_column, step.from_watermark, up_to)
        submission = submit(
            self._engine,
            Task.MODERATION,
            self._records(step, rows),
            JobOptions(
                name=f"sweep {step.name}",
                idempotency_key=f"run {step.run_id}",  # the fence guarantees the same
                deadline_at=step.deadline_at,
            ),
            submitter=f"sweep {step.name}",
            limits=self._limits,
            progress=lambda _: self._runs.renew(step),
            on_open=lambda connection, job_id: self._runs.accept(connection, step, job_id, up_to),
        )
        logger.info(
            "sweep %s: job %s of %d rows", step.name, submission.job_id, submission.accepted
        )

    def _reach(self, step: Step, source: Source, looked: str) -> str:
        """The watermark up to which a job may hold all rows: `looked`, or a lower one.

        It is found after the time to settle, since rows that were committed late count, too. Rows
        with the same value stay together: the next run begins above it.

        Raises:
            PendingLimitError: too many documents are pending at the moment.
            UnwantedError: more rows have the lowest value than a job may ever hold.
        """
        with self._engine.begin() as connection:
            most, setting = allowance(connection, f"sweep {step.name}", self._limits)
        rows = (step.query, step.watermark_column, step.from_watermark)
        beyond = None
        for found in source.after(*rows, up_to=looked, rows=most):
            beyond = found
            self._runs.renew(step)
        if beyond is None:
            return looked
        reach = source.highest(*rows, below=beyond)
        self._runs.renew(step)
        if reach is None and most < highest_allowance(self._limits):
            msg = (
                f"{setting} leaves room for {most:,} documents at the moment, too few for its rows"
            )
            raise PendingLimitError(msg)
        if reach is None:
            msg = (
                f"more than {most:,} rows have {step.watermark_column} {beyond!r}, and {setting}"
                " allows no job that many; raise it, or choose a watermark that fewer rows share"
            )
            raise UnwantedError(msg)
        _check_is_above(step, reach)
        return reach

    def _records(self, step: Step, rows: Iterator[Mapping[str, object]]) -> Iterator[Record]:
        renewed = time.monotonic()
        for row in rows:
            if self._stop.is_set():
                raise _StoppedError
            if time.monotonic() - renewed >= RENEW_AFTER:
                self._runs.renew(step)
                renewed = time.monotonic()
            yield from_mapping(row, limits=self._limits)

    def _fail(self, step: Step, error: str, *, final: bool) -> None:
        logger.warning("sweep %s: %s", step.name, error)
        if final:
            self._runs.fail(step, error)
        else:
            self._runs.put_off(step, error)


def _check_still_wanted(step: Step) -> None:
    """Refuse a run whose deadline passed, or whose sweep was changed since the run began.

    Raises:
        UnwantedError: one of these is the case.
    """
    if step.late:
        msg = "its deadline passed before its rows were handed over"
        raise UnwantedError(msg)
    if step.changed:
        raise UnwantedError(CHANGED)


def _check_is_above(step: Step, reach: str) -> None:
    """Refuse a query that gives the rows at its watermark again, and so would never end.

    Raises:
        InputError: it gives them.
    """
    if reach == step.from_watermark:
        msg = (
            f"the query gives rows at the watermark {reach!r} itself, swept before;"
            " write > instead of >="
        )
        raise InputError(msg)


def _check_kind(step: Step, source: Source) -> None:
    """Refuse a watermark whose kind of values changed: in another order, rows would be left out.

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


def _why(step: Step, error: Exception) -> str:
    """What went wrong with a step, without anything that could quote a row."""
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
    """Dispatch was told to stop while a job was loading."""
