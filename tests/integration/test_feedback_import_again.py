"""Files of verdicts that are imported again, or twice at once: nothing is judged twice."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa

from schema.documents import JobId, Task
from tests.fixtures.commands import invoke
from tests.fixtures.files import write_lines
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.waiting import until_blocked


def test_file_that_came_in_before_can_be_imported_again(
    database: DatabaseUrls, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, repeating an interrupted import rejects lines that are already there."""
    row = {"job_id": str(jobs[Task.MODERATION]), "verdict": "disagree", "annotator": "kim"}
    first = row | {"external_id": "a", "labels": ["spam", "fraud"], "comment": "a scam"}
    half = write_lines(tmp_path / "half.jsonl", first)
    whole = write_lines(
        tmp_path / "whole.jsonl",
        first | {"labels": ["fraud", "spam"]},
        row | {"external_id": "b", "labels": []},
    )
    changes = ({"labels": ["fraud"]}, {"comment": "no scam"}, {"verdict": "agree", "labels": None})
    other = write_lines(tmp_path / "other.jsonl", *(first | change for change in changes))

    begun = invoke(database, "feedback", "import", half)
    resumed = invoke(database, "feedback", "import", whole, "--json")
    again = invoke(database, "feedback", "import", whole)
    different = invoke(database, "feedback", "import", other, "--json")

    assert (begun.exit_code, resumed.exit_code, again.exit_code) == (0, 0, 0)
    assert json.loads(resumed.stdout) == _counts(added=1, there_already=1)
    assert again.stderr == "0 verdicts added, 2 there already, 0 rejected\n"
    assert different.exit_code == 1
    assert json.loads(different.stdout) == _counts(rejected=3)
    assert different.stderr.count("judged document") == 3


def test_file_can_be_imported_again_after_its_month_was_pruned(
    database: DatabaseUrls, engine: sa.Engine, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, verdicts that are stored are rejected, with a remedy that finds no document."""
    row = {"job_id": str(jobs[Task.SENTIMENT]), "verdict": "agree", "annotator": "kim"}
    file = write_lines(tmp_path / "a.jsonl", row | {"external_id": "a"})
    late = write_lines(tmp_path / "late.jsonl", row | {"external_id": "b"})
    invoke(database, "feedback", "import", file)
    with engine.begin() as connection:
        connection.exec_driver_sql("truncate textmill.document, textmill.result, textmill.failure")

    again = invoke(database, "feedback", "import", file, "--json")
    refused = invoke(database, "feedback", "import", late, "--json")

    assert json.loads(again.stdout) == _counts(there_already=1)
    assert json.loads(refused.stdout) == _counts(rejected=1)
    assert "are gone: its month was pruned; judge those of a later job" in refused.stderr


def test_verdict_that_comes_in_meanwhile_is_there_already(
    database: DatabaseUrls, engine: sa.Engine, jobs: dict[Task, JobId], tmp_path: Path
) -> None:
    """Without it, of two people who import the same file at once, one has lines rejected."""
    row = {"job_id": str(jobs[Task.SENTIMENT]), "verdict": "agree", "annotator": "kim"}
    file = write_lines(tmp_path / "a.jsonl", *(row | {"external_id": name} for name in "ab"))

    with ThreadPoolExecutor(max_workers=1) as thread, engine.begin() as connection:
        connection.execute(
            sa.text(
                "select textmill.add_feedback(:job_id, 'a', :verdict, annotator => :annotator)"
            ),
            row,
        )
        begun = thread.submit(invoke, database, "feedback", "import", file, "--json")
        until_blocked(engine, begun)
        connection.commit()
        ended = begun.result()

    assert json.loads(ended.stdout) == _counts(added=1, there_already=1)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("select count(*) from textmill.feedback").scalar() == 2


def _counts(**counts: int) -> dict[str, int]:
    return {"added": 0, "there_already": 0, "not_judged": 0, "rejected": 0, **counts}
