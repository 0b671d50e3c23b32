"""Verdicts of people, in through every door and out as training data."""

import json
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from producer.feedback import Verdict, add, export, parse
from producer.submit import submit
from schema.documents import Document, JobOptions, Task
from schema.errors import InputError
from schema.settings import IntakeSettings
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import RESULTS, work_off
from tests.fixtures.postgres import DatabaseUrls


@pytest.fixture
def jobs(producer_engine: sa.Engine, worker_engine: sa.Engine) -> dict[Task, UUID]:
    """A finished job of each task with documents `a` and `b`."""
    made: dict[Task, UUID] = {}
    for task, result in RESULTS.items():
        made[task] = submit(
            producer_engine,
            task,
            [Document(external_id=name, text=f"green tea, {name} pot") for name in ("a", "b")],
            JobOptions(),
            submitter="tester",
            limits=IntakeSettings(),
        ).job_id
        work_off(producer_engine, worker_engine, made[task], result)
    return made


def verdict(job_id: UUID, external_id: str = "a", **fields: object) -> Verdict:
    return parse({"job_id": job_id, "external_id": external_id, "verdict": "disagree", **fields})


def test_verdict_comes_back_as_gold(producer_engine: sa.Engine, jobs: dict[Task, UUID]) -> None:
    """Without it, what people say never reaches the next model."""
    add(producer_engine, verdict(jobs[Task.SENTIMENT], labels=["neutral"], annotator="kim"))
    add(producer_engine, verdict(jobs[Task.SENTIMENT], "b", verdict="agree"))
    add(producer_engine, verdict(jobs[Task.MODERATION], labels=[]))
    add(producer_engine, verdict(jobs[Task.KEYWORDS], keywords=["teapot"]))

    sentiment = list(export(producer_engine, Task.SENTIMENT))
    (moderation,) = export(producer_engine, Task.MODERATION)
    (keywords,) = export(producer_engine, Task.KEYWORDS)

    assert [(row["label"], row["external_id"]) for row in sentiment] == [
        ("neutral", "a"),
        ("positive", "b"),
    ]
    assert sentiment[0]["annotator"] == "kim"
    assert sentiment[0]["text"] == "green tea, a pot"
    assert moderation["labels"] == []
    assert "spam" in str(moderation["annotated"])
    assert keywords["keywords"] == ["teapot"]


@pytest.mark.parametrize(
    ("task", "fields", "reason"),
    [
        (Task.SENTIMENT, {"labels": ["great"]}, "exactly one of: negative, neutral, positive"),
        (Task.SENTIMENT, {"labels": ["neutral", "positive"]}, "exactly one"),
        (Task.SENTIMENT, {}, "names the right label"),
        (Task.MODERATION, {"labels": ["rude"]}, "abuse, hate"),
        (Task.KEYWORDS, {"labels": ["tea"]}, "names the right keywords"),
        (Task.SENTIMENT, {"labels": ["neutral"], "verdict": "agree"}, "an agreement neither"),
        (Task.SENTIMENT, {"labels": ["neutral"], "external_id": "z"}, "has no result"),
    ],
)
def test_verdict_that_does_not_fit_is_refused_with_the_reason(
    producer_engine: sa.Engine,
    jobs: dict[Task, UUID],
    task: Task,
    fields: dict[str, object],
    reason: str,
) -> None:
    """Without it, wrong feedback trains the next model."""
    given = {"job_id": jobs[task], "external_id": "a", "verdict": "disagree", **fields}

    with pytest.raises(InputError, match=reason):
        add(producer_engine, parse(given))

    assert list(export(producer_engine, task)) == []


def test_annotator_judges_a_document_once(
    producer_engine: sa.Engine, jobs: dict[Task, UUID]
) -> None:
    """Without it, one person's second thoughts count twice."""
    given = verdict(jobs[Task.SENTIMENT], verdict="agree", annotator="kim")
    add(producer_engine, given)

    with pytest.raises(InputError, match="judged document 'a' before"):
        add(producer_engine, given)


def test_plain_insert_meets_the_same_rules(
    producer_engine: sa.Engine, jobs: dict[Task, UUID]
) -> None:
    """Without it, a database client can store what no trainer understands."""
    insert = sa.text(
        "insert into textmill.feedback (job_id, external_id, verdict, labels)"
        " values (:job_id, 'a', 'disagree', :labels) returning text, task, model_version"
    )
    with producer_engine.begin() as connection:
        good = connection.execute(
            insert, {"job_id": jobs[Task.SENTIMENT], "labels": ["negative"]}
        ).one()
    with producer_engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.execute(insert, {"job_id": jobs[Task.SENTIMENT], "labels": ["great"]})

    assert tuple(good) == ("green tea, a pot", "sentiment", "test")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_import_takes_the_good_lines_and_names_the_bad(
    database: DatabaseUrls, jobs: dict[Task, UUID], tmp_path: Path, form: str
) -> None:
    """Without it, one typing error loses a day's reviewing."""
    job = str(jobs[Task.MODERATION])
    file = tmp_path / f"reviewed.{form}"
    if form == "csv":
        file.write_text(
            "job_id,external_id,verdict,labels\n"
            f"{job},a,disagree,spam;fraud\n{job},b,maybe,\n{job},b,disagree,clean\n",
            encoding="utf-8",
        )
    else:
        rows = [
            {"job_id": job, "external_id": "a", "verdict": "disagree", "labels": ["spam", "fraud"]},
            {"job_id": job, "external_id": "b", "verdict": "maybe"},
            {"job_id": job, "external_id": "b", "verdict": "disagree", "labels": []},
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    imported = invoke(database, "feedback", "import", file)
    exported = invoke(database, "feedback", "export", "moderation")

    line = 3 if form == "csv" else 2
    assert imported.exit_code == 1
    assert f"{file}:{line}: verdict:" in imported.stderr
    assert "2 verdicts added, 1 refused" in imported.stderr
    labels = [json.loads(row)["labels"] for row in exported.stdout.splitlines()]
    assert labels == [["spam", "fraud"], []]


def test_add_on_the_command_line(database: DatabaseUrls, jobs: dict[Task, UUID]) -> None:
    """Without it, a person at a terminal needs SQL to disagree."""
    job = jobs[Task.SENTIMENT]

    added = invoke(database, "feedback", "add", job, "a", "disagree", "--label", "negative")
    refused = invoke(database, "feedback", "add", job, "b", "disagree", "--label", "great")

    assert (added.exit_code, added.stdout) == (0, "1\n")
    assert refused.exit_code == 2
    assert "exactly one of" in refused.stderr
