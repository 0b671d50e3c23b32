"""What commands show on a terminal: progress, and tables that fit."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from producer.cli.show import COLUMNS
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.commands import invoke
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import environment
from tests.fixtures.terminal import on_terminal


@pytest.fixture
def variables(database: DatabaseUrls, broker_url: str, key_prefix: str) -> dict[str, str]:
    """The environment of a producer's command."""
    return environment(database.producer, broker_url, key_prefix)


def test_submit_shows_its_progress(
    variables: dict[str, str], tmp_path: Path, producer_engine: sa.Engine
) -> None:
    """Without it, the first command that a newcomer types ends in a traceback."""
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {n}"}) + "\n" for n in range(3)))

    code, shown = on_terminal(
        *("producer.cli", "submit", "sentiment", str(path)), environment=variables, columns=80
    )

    assert code == 0, shown
    assert "Traceback" not in shown
    with producer_engine.connect() as connection:
        assert connection.scalar(sa.text("select accepted from textmill.job_status")) == 3


@pytest.mark.parametrize("columns", [64, 80, 100, 160])
def test_status_keeps_what_matters_on_a_narrow_terminal(
    variables: dict[str, str], producer_engine: sa.Engine, columns: int
) -> None:
    """Without it, a table of eleven columns shows nothing but dots."""
    job_id = submit_named(producer_engine, "reviews of a whole year, of all shops and branches")

    code, shown = on_terminal("producer.cli", "status", environment=variables, columns=columns)

    assert code == 0, shown
    header, row, without_workers = shown.splitlines()
    assert row.split()[0] == str(job_id)
    assert "pending" in row
    assert "0.0" in row
    assert len(row.rstrip()) <= columns
    assert ("succeeded" in header) == (columns >= 160)
    assert without_workers.startswith("no worker process")


def test_status_in_a_pipe_has_all_columns(
    database: DatabaseUrls, producer_engine: sa.Engine
) -> None:
    """Without it, a script that reads the table lacks columns that a wide terminal shows."""
    job_id = submit_named(producer_engine, "reviews of a whole year, of all shops and branches")

    header, row = invoke(database, "status").stdout.splitlines()

    assert re.split(r"  +", header.strip()) == list(COLUMNS)
    assert row.split()[0] == str(job_id)


def test_status_of_one_job_leaves_nothing_out(
    variables: dict[str, str], producer_engine: sa.Engine
) -> None:
    """Without it, the status of one job shows neither its name nor its number of documents."""
    deadline = datetime.now(UTC) + timedelta(hours=4)
    job_id = submit_named(producer_engine, "reviews of a whole year", deadline)

    code, shown = on_terminal(
        "producer.cli", "status", str(job_id), environment=variables, columns=80
    )
    _, as_json = on_terminal(
        "producer.cli", "status", str(job_id), "--json", environment=variables, columns=80
    )

    assert code == 0, shown
    *rows, without_workers = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    said = dict(row.rstrip().split(": ", 1) for row in rows)
    assert {name: value.strip() for name, value in said.items() if name != "created_at"} == {
        "job_id": str(job_id),
        "name": "reviews of a whole year",
        "task": "moderation",
        "lane": "bulk",
        "state": "pending",
        "accepted": "1",
        "succeeded": "0",
        "failed": "0",
        "cancelled": "0",
        "pending": "1",
        "percent": "0.0",
        "submitted_by": "tester",
        "deadline_at": f"{deadline.astimezone():%Y-%m-%d %H:%M:%S}",
    }
    assert without_workers.startswith("no worker process")
    fields = json.loads(as_json)
    assert datetime.fromisoformat(fields["deadline_at"]) == deadline
    assert fields["age"].startswith("PT")


def submit_named(engine: sa.Engine, name: str, deadline: datetime | None = None) -> JobId:
    return submit(
        engine,
        Task.MODERATION,
        [Document(text="a text")],
        JobOptions(name=name, deadline_at=deadline),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
