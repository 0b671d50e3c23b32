"""Carry out the runs of sweeps: begin, settle, submit the rows, count.

Any number of dispatchers may do this. The transaction that makes a run's job visible also advances
the watermark.
"""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta

import psycopg
import sqlalchemy as sa

from producer.intake import from_mapping
from producer.pending_limits import allowance, highest_allowance
from producer.submit import submit
from producer.sweeps.beginning import begin_runs
from producer.sweeps.clocks import shorten_waits
from producer.sweeps.counting import finish_runs
from producer.sweeps.runs import CHANGED, RunClaim, RunStore, UnwantedError
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
                logger.warning("sweeps, continuing: %s", what_it_says(error))
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
            shorten_waits(self._engine, timedelta(seconds=self._lease))
            while not self._stop.is_set() and (claim := self._runs.claim()) is not None:
                self._run_step(claim)
            finish_runs(self._engine)

    def _run_step(self, claim: RunClaim) -> None:
        try:
            self._advance(claim)
        except _StoppedError:
            self._runs.release(claim)
        except PendingLimitError as error:  # other documents have to be done first
            logger.warning("sweep %s waits: %s", claim.name, error)
            self._runs.wait(claim, str(error))
        except UnwantedError as error:
            self._fail(claim, str(error), final=True)
        except LeaseLostError as error:
            logger.warning("%s", error)
        except (ServiceUnavailableError, SchemaVersionError):
            raise  # an outage, which `run` logs
        except Exception as error:
            if is_outage(error):
                raise
            # Whatever a row caused here, later runs of the sweep and other sweeps continue.
            self._fail(claim, _why(claim, error), final=claim.errors >= TRIES)

    def _advance(self, claim: RunClaim) -> None:
        _check_still_wanted(claim)
        with open_source(
            self._engine, self._settings, claim.source, claim.query, claim.watermark_column
        ) as source:
            _check_kind(claim, source)
            self._runs.renew(claim)
            if claim.to_watermark is None:
                self._probe(claim, source)
            else:
                self._hand_over(claim, source, claim.to_watermark)

    def _probe(self, claim: RunClaim, source: Source) -> None:
        """Find out how far the rows reach; they are read once they have had time to settle."""
        highest = source.highest(claim.from_watermark)
        if highest is None:
            self._runs.finish(claim)
            return
        _check_is_above(claim, highest)
        self._runs.settle(claim, highest)

    def _hand_over(self, claim: RunClaim, source: Source, highest: str) -> None:
        """Submit the rows as a job, and advance the watermark with it."""
        up_to = self._reach(claim, source, highest)
        rows = source.rows(claim.from_watermark, up_to)
        submission = submit(
            self._engine,
            Task.MODERATION,
            self._records(claim, rows),
            JobOptions(
                name=f"sweep {claim.name}",
                idempotency_key=f"run {claim.run_id}",  # the fence guarantees the same
                deadline_at=claim.deadline_at,
            ),
            submitter=f"sweep {claim.name}",
            limits=self._limits,
            progress=lambda _: self._runs.renew(claim),
            on_open=lambda connection, job_id: self._runs.accept(connection, claim, job_id, up_to),
        )
        logger.info(
            "sweep %s: job %s of %d rows", claim.name, submission.job_id, submission.accepted
        )

    def _reach(self, claim: RunClaim, source: Source, highest: str) -> str:
        """The watermark up to which a job may hold all rows: `highest`, or a lower one.

        It is found after the time to settle, since rows that were committed late count, too. Rows
        with the same value stay together: the next run begins above it.

        Raises:
            PendingLimitError: too many documents are pending at the moment.
            UnwantedError: more rows have the lowest value than a job may ever hold.
        """
        with self._engine.begin() as connection:
            most, setting = allowance(connection, f"sweep {claim.name}", self._limits)
        beyond = source.value_after(
            claim.from_watermark,
            most,
            up_to=highest,
            each_statement=lambda: self._runs.renew(claim),
        )
        if beyond is None:
            return highest
        reach = source.highest(claim.from_watermark, below=beyond)
        self._runs.renew(claim)
        if reach is None and most < highest_allowance(self._limits):
            msg = (
                f"{setting} leaves room for {most:,} documents at the moment, too few for its rows"
            )
            raise PendingLimitError(msg)
        if reach is None:
            msg = (
                f"more than {most:,} rows have {claim.watermark_column} {beyond!r}, and {setting}"
                " allows no job that many; raise it, or choose a watermark that fewer rows share"
            )
            raise UnwantedError(msg)
        _check_is_above(claim, reach)
        return reach

    def _records(self, claim: RunClaim, rows: Iterator[Mapping[str, object]]) -> Iterator[Record]:
        renewed = time.monotonic()
        for row in rows:
            if self._stop.is_set():
                raise _StoppedError
            if time.monotonic() - renewed >= RENEW_AFTER:
                self._runs.renew(claim)
                renewed = time.monotonic()
            yield from_mapping(row, limits=self._limits)

    def _fail(self, claim: RunClaim, error: str, *, final: bool) -> None:
        logger.warning("sweep %s: %s", claim.name, error)
        if final:
            self._runs.fail(claim, error)
        else:
            self._runs.put_off(claim, error)


def _check_still_wanted(claim: RunClaim) -> None:
    """Refuse a run whose deadline passed, or whose sweep was changed since the run began.

    Raises:
        UnwantedError: one of these is the case.
    """
    if claim.late:
        msg = "its deadline passed before its rows were handed over"
        raise UnwantedError(msg)
    if claim.changed:
        raise UnwantedError(CHANGED)


def _check_is_above(claim: RunClaim, reach: str) -> None:
    """Refuse a query that gives the rows at its watermark again, and so would never end.

    Raises:
        InputError: it gives them.
    """
    if reach == claim.from_watermark:
        msg = (
            f"the query gives rows at the watermark {reach!r} itself, swept before;"
            " write > instead of >="
        )
        raise InputError(msg)


def _check_kind(claim: RunClaim, source: Source) -> None:
    """Refuse a watermark whose kind of values changed: in another order, rows would be left out.

    Raises:
        InputError: the column was given another type.
    """
    kind = source.watermark_type().kind
    if kind != claim.watermark_kind:
        msg = (
            f"the watermark {claim.watermark_column!r} was a {claim.watermark_kind} and is a"
            f" {kind}; remove the sweep, and add it again --from where it should go on"
        )
        raise InputError(msg)


def _why(claim: RunClaim, error: Exception) -> str:
    """What went wrong with a step, without anything that could quote a row."""
    match error:
        case UsageError():
            return str(error)
        case sa.exc.DBAPIError() | psycopg.Error():  # COPY raises the latter
            return f"Textmill's database says: {what_it_says(error)}"
        case _:
            logger.error("sweep %s", claim.name, exc_info=error)
            return f"{type(error).__name__}, see dispatch's log"


class _StoppedError(Exception):
    """Dispatch was told to stop while a job was loading."""
