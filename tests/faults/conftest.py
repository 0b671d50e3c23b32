"""Fault tests take long, above all on a busy machine, so each gets a longer timeout."""

from pathlib import Path

import pytest

TIMEOUT = 400
"""Seconds after which a hanging test is stopped; the mill's own time limits are shorter."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each fault test more time than other tests get."""
    for item in items:
        own = item.get_closest_marker("timeout")
        if own is None and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TIMEOUT))
