"""Retry delays of a chunk that failed as a whole."""

import pytest

from worker.chunk_processor import backoff


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (1000, 60)]
)
def test_backoff_doubles_up_to_a_minute(attempt: int, ceiling: float) -> None:
    """Without it, a chunk that always fails hammers the database, or an old one overflows."""
    delays = [backoff(attempt) for _ in range(100)]

    assert all(ceiling / 2 <= delay <= ceiling for delay in delays)
