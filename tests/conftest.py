"""Lists the fixture modules and removes the developer's settings from the environment."""

import os
from pathlib import Path

import pytest

pytest_plugins = [
    # Each follows the modules that it imports, so that pytest can explain the asserts in all.
    "tests.fixtures.proxy",
    "tests.fixtures.postgres",
    "tests.fixtures.pooler",
    "tests.fixtures.redis",
    "tests.fixtures.servers",
    "tests.fixtures.processes",
    "tests.fixtures.processors",
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
    """Unset the shell's Textmill variables, so that tests run only on their own servers."""
    for name in [name for name in os.environ if name.startswith("TEXTMILL_")]:
        del os.environ[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite-docs` rewrites the generated parts of the guide.

    `--documents N` is the size of the database that views are tested on at scale. `--postgres
    FOLDER` names a folder with the `bin` of a Postgres other than the embedded one.
    """
    parser.addoption("--rewrite-docs", action="store_true")
    parser.addoption("--documents", type=int, default=1_000_000)
    parser.addoption("--postgres", type=Path, metavar="FOLDER")
