"""The guide's questions, with the answers that a database gives."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.fixtures.fortnight import Clock, load
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.sql_page import ASKED, answered

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def fortnight(engine: sa.Engine) -> Clock:
    """A shop's database after two weeks."""
    return load(engine)


@pytest.mark.parametrize("name", ["sql.md", "feedback.md"])
def test_page_shows_what_the_database_answers(
    database: DatabaseUrls, fortnight: Clock, pytestconfig: pytest.Config, name: str
) -> None:
    """Without it, the first query that people copy fails, or answers something else.

    `pytest --rewrite-docs` writes the answers anew.
    """
    page = DOCS / name
    text = page.read_text(encoding="utf-8")

    seen = answered(text, database.reader, fortnight.timezone, fortnight.days)

    if pytestconfig.getoption("--rewrite-docs"):
        page.write_text(seen, encoding="utf-8")
    assert seen == page.read_text(encoding="utf-8")


def test_there_are_twenty_questions() -> None:
    """Without it, a question whose fence is broken is no longer asked."""
    page = (DOCS / "sql.md").read_text(encoding="utf-8")

    assert len(ASKED.findall(page.partition("\n## Questions\n")[2])) == 20
