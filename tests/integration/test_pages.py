"""The guide's questions, with the answers that a database gives."""

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.fixtures.fortnight import Clock, load
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.sql_page import ASKED, answer, answered

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def fortnight(engine: sa.Engine) -> Clock:
    """A shop's database after two weeks."""
    return load(engine)


@pytest.mark.parametrize("name", ["sql.md", "feedback.md"])
def test_page_shows_what_the_database_answers(
    database: DatabaseUrls, fortnight: Clock, pytestconfig: pytest.Config, name: str
) -> None:
    """Without it, the first query that people copy fails, or gives another answer.

    `pytest --rewrite-docs` rewrites the answers.
    """
    page = DOCS / name
    text = page.read_text(encoding="utf-8")

    seen = answered(text, database.reader, fortnight.timezone, fortnight.days)

    if pytestconfig.getoption("--rewrite-docs"):
        page.write_text(seen, encoding="utf-8")
    assert seen == page.read_text(encoding="utf-8")


@pytest.mark.usefixtures("fortnight")
def test_commands_of_the_page_run(
    database: DatabaseUrls, engine: sa.Engine, producer_engine: sa.Engine
) -> None:
    """Without it, the page teaches functions that do not exist."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "create table public.posts as select 1 as id, 'hello' as body, 'north' as shop,"
            " current_date as day;"
            "grant select on public.posts to textmill_producer"
        )
    page = (DOCS / "sql.md").read_text(encoding="utf-8")
    commands = re.findall(r"```psql\n((?:.|\n)*?)```", page)

    for command in commands:
        assert answer(database.producer, "UTC", command)

    with producer_engine.connect() as connection:
        states = connection.execute(
            sa.text("select name, state, accepted from textmill.job_status")
        ).all()
    assert ("posts of today", "pending", 1) in states
    assert ("reviews", "pending", 2) in states
    assert ("import 2025", "cancelling", 4096) in states
    assert len(commands) == 2


def test_there_are_twenty_questions() -> None:
    """Without it, a question whose code fence is broken is silently left out."""
    page = (DOCS / "sql.md").read_text(encoding="utf-8")

    assert len(ASKED.findall(page.partition("\n## Questions\n")[2])) == 20
