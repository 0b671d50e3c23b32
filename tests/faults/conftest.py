"""Faults take their time, above all on a busy machine: each waits within a bound of its own."""

from pathlib import Path

import pytest

TIMEOUT = 400
"""Seconds after which a test that hangs is ended; the mill's own bounds speak first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test of a fault more time than others get."""
    for item in items:
        own = item.get_closest_marker("timeout")
        if own is None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT))
