"""Fixtures live in one module per service; this names them, and shuts out the environment."""

import os
from pathlib import Path

import pytest

pytest_plugins = [
    # Each after those that it imports, so that asserts in all of them explain themselves.
    "tests.fixtures.proxy",
    "tests.fixtures.postgres",
    "tests.fixtures.pooler",
    "tests.fixtures.redis",
    "tests.fixtures.servers",
    "tests.fixtures.processes",
    "tests.fixtures.corpus",
    "tests.fixtures.teaching",
    "tests.fixtures.phrases",
    "tests.fixtures.invariants",
    "tests.fixtures.mill",
    "tests.fixtures.recovery",
    "tests.fixtures.dispatch",
    "tests.fixtures.feedback",
    "tests.fixtures.review",
    "tests.fixtures.shop",
    "tests.fixtures.files",
]


def pytest_configure() -> None:
    """Tests run on servers of their own, whatever the developer's shell points at."""
    for name in [name for name in os.environ if name.startswith("TEXTMILL_")]:
        del os.environ[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite-docs` writes the parts of the guide that come from a database.

    `--documents N` is the size of the database that views are tested on at scale, `--postgres
    FOLDER` holds the `bin` of another Postgres than the one that is embedded.
    """
    parser.addoption("--rewrite-docs", action="store_true")
    parser.addoption("--documents", type=int, default=1_000_000)
    parser.addoption("--postgres", type=Path, metavar="FOLDER")
