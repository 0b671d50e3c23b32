"""What to do after an attempt that failed as a whole."""

import random
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from schema.database_errors import MISCONFIGURED, TOO_LARGE, has_state
from schema.errors import ArtifactError, DeviceFullError, NotLoadedError

LONGEST = timedelta(minutes=1)
"""Longest delay before the next attempt."""

TRANSIENT = (sa.exc.SQLAlchemyError, ArtifactError, MemoryError, OSError)
"""Errors of the environment, which may have passed by the next attempt, perhaps at another worker:
that worker may have the model that this one lacks."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again.

    Attributes:
        wait: how long to wait before.
        counts: whether the attempt counts as a failed one of the chunk.
    """

    wait: timedelta
    counts: bool = True


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The chunk would fail again as a whole; its documents are to be tried separately."""


def decide(
    error: Exception, failed_attempts: int, max_attempts: int, *, seed: str
) -> Retry | GiveUp:
    """Whether and when to try again. Pure: the same arguments give the same decision.

    The delay doubles from one second up to `LONGEST`, and is then shortened by up to a half. How
    much depends on `seed`, so that chunks that failed together do not come back together.

    Args:
        error: what ended the attempt.
        failed_attempts: attempts that failed in a row, this one included, from 1.
        max_attempts: after this many the chunk is given up.
        seed: decides how much is taken off; different for each attempt.
    """
    if gives_up(error, failed_attempts, max_attempts):
        return GiveUp()
    counts = not is_no_fault_of_the_chunk(error)
    ceiling = (
        min(LONGEST, timedelta(seconds=2.0 ** min(failed_attempts - 1, 10))) if counts else LONGEST
    )
    return Retry(ceiling * random.Random(seed).uniform(0.5, 1), counts)  # noqa: S311  # no secret


def gives_up(error: Exception, failed_attempts: int, max_attempts: int) -> bool:
    """Whether `decide` would give up."""
    if is_no_fault_of_the_chunk(error):
        return False
    return failed_attempts >= max_attempts or is_permanent(error)


def is_no_fault_of_the_chunk(error: Exception) -> bool:
    """Whether an operator has to mend it, or it passes: no document may fail by it.

    In Postgres a right, a table or a function is missing; or the device has no memory left, or a
    whole model could not be loaded.
    """
    return isinstance(error, NotLoadedError | DeviceFullError) or has_state(error, MISCONFIGURED)


def is_permanent(error: Exception) -> bool:
    """Whether the same documents would meet the same error again."""
    if isinstance(error, sa.exc.DataError | sa.exc.IntegrityError):
        return True
    return not isinstance(error, TRANSIENT) or has_state(error, TOO_LARGE)
