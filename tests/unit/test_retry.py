"""What is done after an attempt that failed as a whole."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from producer.marking import LONGEST_WAIT
from schema.database_errors import is_outage
from worker.retry import LONGEST, GiveUp, Retry, decide

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def database_error(kind: type[sa.exc.DBAPIError], cause: psycopg.Error) -> sa.exc.DBAPIError:
    return kind("select 1", None, cause)


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)]
)
def test_delay_doubles_up_to_a_minute(attempt: int, ceiling: float) -> None:
    """Without it, a chunk that always fails hammers the database, or an old one overflows."""
    decision = decide(OSError(), attempt, NOW, max_attempts=2000)

    assert isinstance(decision, Retry)
    assert timedelta(seconds=ceiling / 2) <= decision.at - NOW <= timedelta(seconds=ceiling)


@given(st.integers(1, 50), st.datetimes(timezones=st.just(UTC), min_value=datetime(2000, 1, 1)))  # noqa: DTZ001
def test_decision_is_pure_and_never_in_the_past(attempt: int, now: datetime) -> None:
    """Without it, a chunk comes back before its time, and no incident can be told again."""
    decision = decide(ConnectionResetError(), attempt, now, max_attempts=100)

    assert decision == decide(ConnectionResetError(), attempt, now, max_attempts=100)
    assert isinstance(decision, Retry)
    assert now < decision.at <= now + LONGEST


def test_dispatch_takes_no_retry_for_one_of_another_clock() -> None:
    """Without it, a chunk that waits for its next attempt goes at once, and so all its attempts."""
    assert LONGEST < LONGEST_WAIT


def test_chunks_that_failed_together_come_back_apart() -> None:
    """Without it, they fail together again: a thundering herd."""
    moments = [NOW + timedelta(microseconds=n) for n in range(100)]

    delays = {
        decision.at - now
        for now in moments
        if isinstance(decision := decide(OSError(), 5, now, max_attempts=9), Retry)
    }

    assert len(delays) > 90


@pytest.mark.parametrize(
    "error",
    [
        KeyError("label"),
        ValueError("no such thing"),
        database_error(sa.exc.DataError, psycopg.errors.UntranslatableCharacter()),
        database_error(sa.exc.IntegrityError, psycopg.errors.CheckViolation()),
        database_error(sa.exc.OperationalError, psycopg.errors.ProgramLimitExceeded()),
    ],
)
def test_permanent_error_is_not_tried_again(error: Exception) -> None:
    """Without it, what cannot work is tried for minutes before its neighbours are freed of it."""
    assert decide(error, 1, NOW, max_attempts=5) == GiveUp()
    assert not is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        OSError("no space left"),
        MemoryError(),
        database_error(sa.exc.OperationalError, psycopg.errors.AdminShutdown()),
        database_error(sa.exc.OperationalError, psycopg.errors.QueryCanceled()),
        database_error(sa.exc.OperationalError, psycopg.errors.IoError()),
    ],
)
def test_transient_error_is_tried_a_bounded_number_of_times(error: Exception) -> None:
    """Without it, a passing fault fails documents, or a lasting one is tried for ever."""
    tried = [decide(error, attempt, NOW, max_attempts=3) for attempt in (1, 2, 3)]

    assert [type(decision) for decision in tried] == [Retry, Retry, GiveUp]
