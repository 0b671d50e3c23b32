"""What to do after an attempt that failed as a whole."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from schema.database import IDLED, READ_ONLY, TOO_LARGE, what_it_says
from schema.errors import ArtifactError

LONGEST = timedelta(minutes=1)
"""Longest delay before a next attempt."""

TRANSIENT = (sa.exc.SQLAlchemyError, ArtifactError, MemoryError, OSError)
"""Errors of the surroundings, which may have passed by the next attempt, perhaps at another worker:
that one may have the model that this one lacks."""

COUNTED = ("57014", "58")
"""SQLSTATEs, or classes of them, that a chunk may have caused itself: of a statement that was
cancelled, such as for the time it took, and of a system error, such as an unreadable page."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It would fail again as a whole; its documents are to be tried apart."""


def decide(error: Exception, failures: int, now: datetime, max_attempts: int) -> Retry | GiveUp:
    """Whether and when to try again. Pure: the same arguments give the same decision.

    The delay doubles from one second to `LONGEST`, of which up to a half is taken off: by `now`,
    so that chunks that failed together do not come back together.

    Args:
        error: what ended the attempt.
        failures: attempts that failed in a row, this one included, from 1.
        now: time of the failure.
        max_attempts: after this many the chunk is given up.
    """
    if gives_up(error, failures, max_attempts):
        return GiveUp()
    ceiling = min(LONGEST, timedelta(seconds=2.0 ** min(failures - 1, 10)))
    jitter = random.Random(now.timestamp()).uniform(0.5, 1)  # noqa: S311  # guards nothing
    return Retry(now + ceiling * jitter)


def gives_up(error: Exception, failures: int, max_attempts: int) -> bool:
    """Whether `decide` would give up."""
    return failures >= max_attempts or is_permanent(error)


def is_permanent(error: Exception) -> bool:
    """Whether the same documents would meet the same error again."""
    if isinstance(error, sa.exc.DataError | sa.exc.IntegrityError | sa.exc.ProgrammingError):
        return True
    return not isinstance(error, TRANSIENT) or _has_state(error, TOO_LARGE)


def is_outage(error: Exception) -> bool:
    """Whether Postgres is away, or cannot serve for a while; nothing is wrong with the chunk.

    So it is as well where another session holds what is needed (a lock timeout, a deadlock).
    """
    if not isinstance(error, sa.exc.DBAPIError) or _has_state(error, TOO_LARGE, *COUNTED):
        return False
    lost = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)
    return lost or error.connection_invalidated or isinstance(error.orig, IDLED | READ_ONLY)


def may_pass(error: Exception) -> bool:
    """Whether to try again what is no chunk's: an outage, or what would count against one."""
    return is_outage(error) or _has_state(error, *COUNTED)


def condition(error: sa.exc.DBAPIError) -> str:
    """What Postgres says, for a log: with its SQLSTATE, and without what may quote a row."""
    state, said = getattr(error.orig, "sqlstate", None), what_it_says(error.orig)
    return said if state is None or said.startswith(state) else f"{state} {said}"


def _has_state(error: Exception, *states: str) -> bool:
    """Whether it is an error of Postgres with one of these SQLSTATEs, or of these classes."""
    return isinstance(error, sa.exc.DBAPIError) and str(
        getattr(error.orig, "sqlstate", None)
    ).startswith(states)
