"""What to do after an attempt that failed as a whole."""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from schema.database_errors import TOO_LARGE, has_state
from schema.errors import ArtifactError

LONGEST = timedelta(minutes=1)
"""Longest delay before the next attempt."""

TRANSIENT = (sa.exc.SQLAlchemyError, ArtifactError, MemoryError, OSError)
"""Errors of the environment, which may have passed by the next attempt, perhaps at another worker:
that worker may have the model that this one lacks."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The chunk would fail again as a whole; its documents are to be tried separately."""


def decide(error: Exception, failures: int, now: datetime, max_attempts: int) -> Retry | GiveUp:
    """Whether and when to try again. Pure: the same arguments give the same decision.

    The delay doubles from one second up to `LONGEST`, and is then shortened by up to a half. How
    much depends on `now`, so that chunks that failed together do not come back together.

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
    return not isinstance(error, TRANSIENT) or has_state(error, TOO_LARGE)
