"""What is done after an attempt that failed as a whole."""

from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from producer.capacity import LONGEST_WAIT
from schema.database_errors import is_outage
from schema.errors import ArtifactError, DeviceFullError, NotLoadedError
from worker.retry import LONGEST, GiveUp, Retry, decide

SEED = "job 1, chunk 7, attempt 2"


def database_error(kind: type[sa.exc.DBAPIError], cause: psycopg.Error) -> sa.exc.DBAPIError:
    return kind("select 1", None, cause)


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)]
)
def test_delay_doubles_up_to_a_minute(attempt: int, ceiling: float) -> None:
    """Without it, a chunk that always fails hammers the database, or an old one overflows."""
    decision = decide(OSError(), attempt, max_attempts=2000, seed=SEED)

    assert isinstance(decision, Retry)
    assert timedelta(seconds=ceiling / 2) <= decision.wait <= timedelta(seconds=ceiling)


@given(st.integers(1, 50), st.text())
def test_decision_is_pure_and_waits_within_bounds(attempt: int, seed: str) -> None:
    """Without it, a chunk comes back too early or far too late, and no incident can be replayed."""
    decision = decide(ConnectionResetError(), attempt, max_attempts=100, seed=seed)

    assert decision == decide(ConnectionResetError(), attempt, max_attempts=100, seed=seed)
    assert isinstance(decision, Retry)
    assert timedelta() < decision.wait <= LONGEST


def test_dispatch_takes_no_retry_for_one_of_another_clock() -> None:
    """Without it, a chunk that waits for its next attempt goes at once, and so all its attempts."""
    assert LONGEST < LONGEST_WAIT


def test_chunks_that_failed_together_come_back_apart() -> None:
    """Without it, they fail together again: a thundering herd."""
    delays = {
        decision.wait
        for chunk_no in range(100)
        if isinstance(
            decision := decide(OSError(), 5, max_attempts=9, seed=f"chunk {chunk_no}"), Retry
        )
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
    assert decide(error, 1, max_attempts=5, seed=SEED) == GiveUp()
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
    tried = [decide(error, attempt, max_attempts=3, seed=SEED) for attempt in (1, 2, 3)]

    assert [type(decision) for decision in tried] == [Retry, Retry, GiveUp]


@pytest.mark.parametrize(
    "cause",
    [
        psycopg.errors.InsufficientPrivilege(),
        psycopg.errors.UndefinedFunction(),
        psycopg.errors.UndefinedTable(),
    ],
)
def test_what_an_operator_must_mend_is_tried_until_it_is_mended(cause: psycopg.Error) -> None:
    """Without it, a revoked right or a missing function fails every document of every job."""
    error = database_error(sa.exc.ProgrammingError, cause)

    decision = decide(error, 1000, max_attempts=5, seed=SEED)

    assert isinstance(decision, Retry)
    assert not decision.counts
    assert LONGEST / 2 <= decision.wait <= LONGEST


@pytest.mark.parametrize("error", [NotLoadedError, DeviceFullError])
def test_a_model_that_may_yet_be_loaded_or_run_fails_no_document(
    error: type[NotLoadedError | DeviceFullError],
) -> None:
    """Without it, a network drive or a device that others fill for a while fails whole chunks."""
    decision = decide(error("no memory"), 1000, max_attempts=5, seed=SEED)

    assert isinstance(decision, Retry)
    assert not decision.counts
    assert decide(ArtifactError("it is missing"), 5, max_attempts=5, seed=SEED) == GiveUp()
