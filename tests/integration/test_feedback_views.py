"""What verdicts add up to: gold, agreement, the quality of a model."""

import json

import pytest
import sqlalchemy as sa

from producer.feedback import add, export
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.errors import InputError
from schema.outcomes import ModerationResult
from schema.settings import IntakeSettings
from tests.fixtures.commands import invoke
from tests.fixtures.feedback import verdict
from tests.fixtures.outcomes import RESULTS, work_off
from tests.fixtures.postgres import DatabaseUrls


def test_gold_is_what_was_adjudicated_or_agreed(
    database: DatabaseUrls, producer_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, a model learns from both sides of a dispute."""
    job = jobs[Task.SENTIMENT]
    add(producer_engine, verdict(job, labels=["neutral"], annotator="kim"))
    add(producer_engine, verdict(job, labels=["negative"], annotator="lin"))
    add(producer_engine, verdict(job, "b", labels=["neutral"], annotator="kim"))
    add(producer_engine, verdict(job, "b", labels=["neutral"], annotator="lin"))

    before = states(producer_engine)
    disputed = [row["external_id"] for row in export(producer_engine, Task.SENTIMENT, gold=True)]
    add(producer_engine, verdict(job, verdict="agree", annotator="kim", adjudicates=True))
    with pytest.raises(InputError, match='"a" was adjudicated before'):
        add(producer_engine, verdict(job, verdict="agree", annotator="lin", adjudicates=True))

    printed = invoke(database, "feedback", "export", "sentiment", "--gold").stdout.splitlines()
    assert before == {"a": ("disputed", None), "b": ("agreed", ["neutral"])}
    assert disputed == ["b"]
    assert states(producer_engine) == {
        "a": ("adjudicated", ["positive"]),
        "b": ("agreed", ["neutral"]),
    }
    assert sorted((row["external_id"], row["label"]) for row in map(json.loads, printed)) == [
        ("a", "positive"),
        ("b", "neutral"),
    ]


def states(engine: sa.Engine) -> dict[str, tuple[str, list[str] | None]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.text("select * from textmill.feedback_status"))
        return {row.external_id: (row.state, row.gold) for row in rows}


def posts(engine: sa.Engine, count: int) -> JobId:
    """Submit so many documents for moderation, with their numbers as ids."""
    return submit(
        engine,
        Task.MODERATION,
        [Document(text=f"post {n}") for n in range(1, count + 1)],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id


@pytest.fixture
def judged(producer_engine: sa.Engine, worker_engine: sa.Engine) -> None:
    """Fifty moderated documents, judged by two people: 20 are spam to both, 15 to neither.

    Of the others, 5 are spam only to one and 10 only to the other: the textbook example of
    Cohen's kappa, 0.4.
    """
    job_id = posts(producer_engine, 50)
    work_off(producer_engine, worker_engine, job_id, RESULTS[Task.MODERATION])
    for annotator, spam in (("kim", range(1, 26)), ("lin", [*range(1, 21), *range(26, 36)])):
        for n in range(1, 51):
            fields: dict[str, object] = {"verdict": "agree"} if n in spam else {"labels": []}
            add(producer_engine, verdict(job_id, str(n), annotator=annotator, **fields))


@pytest.mark.usefixtures("judged")
def test_agreement_is_cohens_kappa(reader_engine: sa.Engine) -> None:
    """Without it, two annotators who guess look as if they agreed."""
    with reader_engine.connect() as connection:
        rows = connection.execute(sa.text("select * from textmill.annotator_agreement")).all()

    by_label = {row.label: row for row in rows}
    spam = by_label["spam"]
    assert (spam.annotator, spam.other, spam.documents) == ("kim", "lin", 50)
    assert (spam.agreement, spam.kappa) == (pytest.approx(0.7), pytest.approx(0.4))
    assert len(rows) == 7
    assert (by_label["hate"].agreement, by_label["hate"].kappa) == (1, None)


@pytest.mark.usefixtures("judged")
def test_quality_counts_settled_answers(reader_engine: sa.Engine) -> None:
    """Without it, a label that is always wrong looks as good as one that is always right."""
    with reader_engine.connect() as connection:
        clean, spam = connection.execute(
            sa.text("select * from textmill.model_quality order by label")
        ).all()

    assert (spam.task, spam.model_version, spam.label) == ("moderation", "test", "spam")
    assert (spam.agreed, spam.wrong, spam.missed) == (20, 15, 0)
    assert (spam.precision, spam.recall) == (pytest.approx(20 / 35), 1)
    assert (clean.label, clean.agreed, clean.wrong, clean.missed) == ("clean", 0, 0, 15)
    assert (clean.precision, clean.recall) == (None, 0)


def test_quality_of_clean_can_be_bad(producer_engine: sa.Engine, worker_engine: sa.Engine) -> None:
    """Without it, a model that calls everything clean looks perfect at that."""
    job_id = posts(producer_engine, 3)
    found = RESULTS[Task.MODERATION]
    assert isinstance(found, ModerationResult)
    calm = found.model_copy(update={"flagged": False, "labels": ()})
    work_off(producer_engine, worker_engine, job_id, calm)
    add(producer_engine, verdict(job_id, "1", verdict="agree"))
    for n in ("2", "3"):
        add(producer_engine, verdict(job_id, n, labels=["spam"]))

    with producer_engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select label, agreed, wrong, missed from textmill.model_quality order by label"
            )
        ).all()

    assert [tuple(row) for row in rows] == [("clean", 1, 2, 0), ("spam", 0, 0, 2)]


def test_quality_of_every_task(producer_engine: sa.Engine, jobs: dict[Task, JobId]) -> None:
    """Without it, one task's model goes unwatched."""
    add(producer_engine, verdict(jobs[Task.SENTIMENT], labels=["neutral"]))
    add(producer_engine, verdict(jobs[Task.SENTIMENT], "b", verdict="agree"))
    add(producer_engine, verdict(jobs[Task.KEYWORDS], keywords=["green tea", "cup"]))

    with producer_engine.connect() as connection:
        rows = connection.execute(
            sa.text("select task, label, agreed, wrong, missed from textmill.model_quality")
        ).all()

    assert sorted(map(str, rows)) == sorted(
        [
            "('sentiment', 'positive', 1, 1, 0)",
            "('sentiment', 'neutral', 0, 0, 1)",
            "('keywords', None, 1, 1, 1)",
        ]
    )


def test_what_a_moderator_reads_first(
    producer_engine: sa.Engine, reader_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, moderators review what others have reviewed, or nobody may see the text."""
    flags = sa.text("select * from textmill.moderation_flag")
    job = jobs[Task.MODERATION]
    with producer_engine.connect() as connection:
        seen = connection.execute(flags).all()
    add(producer_engine, verdict(job, verdict="agree"))
    with producer_engine.connect() as connection:
        left = connection.execute(flags).all()
    with reader_engine.connect() as connection:
        of_reader = connection.execute(flags).all()

    assert [(row.external_id, row.text) for row in seen] == [
        ("b", "green tea, b pot"),
        ("a", "green tea, a pot"),
    ]
    assert [row.external_id for row in left] == ["b"]
    assert [(row.external_id, row.labels, row.text) for row in of_reader] == [("b", ["spam"], None)]
