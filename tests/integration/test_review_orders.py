"""Which document comes next, and what finding it costs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from benchmarks.large_database import seed
from producer.feedback import add, parse
from producer.review import documents, progress
from producer.review.orders import ORDERS, Order, Place, Selection, following
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.outcomes import (
    MODERATION_LABELS,
    Keyword,
    KeywordsResult,
    ModerationResult,
    Result,
    SentimentResult,
)
from schema.settings import IntakeSettings
from tests.fixtures.outcomes import work_off
from tests.fixtures.plans import LARGE, nodes_of

DOCUMENTS = 450
"""More documents than two blocks of the order of keywords."""


def result_of(task: Task, seq: int) -> Result:
    """A result of the document at `seq`; scores repeat, so that ties occur."""
    score = seq * 7 % 20 / 20
    match task:
        case Task.MODERATION:
            label = MODERATION_LABELS[seq % 3]
            return ModerationResult(
                language="en",
                model_version="test",
                flagged=score > 0.4,
                labels=[label] if score > 0.4 else [],
                scores=dict.fromkeys(MODERATION_LABELS, 0.0) | {label: score},
            )
        case Task.SENTIMENT:
            best = 0.4 + score / 2
            rest = (1 - best) / 2
            return SentimentResult(
                language="en",
                model_version="test",
                label="positive" if seq % 2 else "negative",
                score=best,
                scores={
                    "negative": rest if seq % 2 else best,
                    "neutral": rest,
                    "positive": best if seq % 2 else rest,
                },
            )
        case Task.KEYWORDS:
            word = Keyword(text="text", score=score, spans=[(0, 4)])
            return KeywordsResult(
                language="en", model_version="test", keywords=[word] if seq % 10 else []
            )


def finished_job(producer: sa.Engine, worker: sa.Engine, task: Task, documents: int) -> JobId:
    job_id = submit(
        producer,
        task,
        [Document(text=f"text {n}") for n in range(documents)],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(producer, worker, job_id, lambda document: result_of(task, document.seq))
    return job_id


def walk(engine: sa.Engine, selection: Selection, annotator: str = "kim") -> list[Place]:
    """Every place that is reached by skipping."""
    seen: list[Place] = []
    with engine.connect() as connection:
        while found := following(connection, selection, annotator, seen[-1] if seen else None):
            assert found not in seen, "comes twice"
            seen.append(found)
    return seen


def doubt(task: Task, place: Place) -> float:
    """How certain the result at a place is."""
    result = result_of(task, place.seq)
    match result:
        case SentimentResult():
            return result.score
        case ModerationResult():
            return round(abs(max(result.scores.values()) - 0.5), 6)
        case KeywordsResult():
            block = (place.seq - 1) // 200
            return block + (result.keywords[0].score / 2 if result.keywords else 0)


@pytest.mark.parametrize("task", Task)
def test_uncertain_come_first_and_everything_once(
    producer_engine: sa.Engine, worker_engine: sa.Engine, annotator_engine: sa.Engine, task: Task
) -> None:
    """Without it, people review what the model is sure of, or never see some documents."""
    older = finished_job(producer_engine, worker_engine, task, 5)
    newer = finished_job(producer_engine, worker_engine, task, DOCUMENTS)

    seen = walk(annotator_engine, Selection(task=task, order=Order.UNCERTAIN))
    of_job = walk(annotator_engine, Selection(task=task, order=Order.UNCERTAIN, job=older))

    of_newer = [place for place in seen if place.job_id == newer]
    doubts = [doubt(task, place) for place in of_newer]
    assert seen == of_newer + of_job
    assert sorted(place.seq for place in of_newer) == [*range(1, DOCUMENTS + 1)]
    assert sorted(place.seq for place in of_job) == [1, 2, 3, 4, 5]
    assert doubts == sorted(doubts)


def test_flagged_come_as_the_view_has_them(
    producer_engine: sa.Engine, worker_engine: sa.Engine, annotator_engine: sa.Engine
) -> None:
    """Without it, the page and a SQL prompt give moderators different lists."""
    for documents_of_job in (60, 40):
        finished_job(producer_engine, worker_engine, Task.MODERATION, documents_of_job)
    with annotator_engine.connect() as connection:
        view = connection.execute(sa.text("select job_id, seq from textmill.moderation_flag")).all()

    seen = walk(annotator_engine, Selection(task=Task.MODERATION, order=Order.FLAGGED))

    assert seen == [Place(*row) for row in view]
    assert len(seen) > 50


def test_what_was_judged_does_not_come_again(
    producer_engine: sa.Engine, worker_engine: sa.Engine, annotator_engine: sa.Engine
) -> None:
    """Without it, two annotators do the same work, or nobody can ask for a second opinion."""
    job_id = finished_job(producer_engine, worker_engine, Task.MODERATION, 4)
    spoken = {"job_id": job_id, "verdict": "agree"}
    add(annotator_engine, parse({**spoken, "external_id": "1", "annotator": "kim"}))
    add(annotator_engine, parse({**spoken, "external_id": "2", "annotator": "lin"}))
    disagree = {"verdict": "disagree", "labels": ["hate"], "annotator": "kim"}
    add(annotator_engine, parse({**spoken, **disagree, "external_id": "2"}))
    selection = Selection(task=Task.MODERATION, order=Order.UNCERTAIN)

    fresh = {place.seq for place in walk(annotator_engine, selection)}
    second = selection.model_copy(update={"second": True})
    of_lin = {place.seq for place in walk(annotator_engine, second, "lin")}
    disputed = selection.model_copy(update={"order": Order.DISPUTED})
    quarrels = [place.seq for place in walk(annotator_engine, disputed)]
    with annotator_engine.connect() as connection:
        left = progress.progress(connection, selection, "kim")
        left_of_lin = progress.progress(connection, second, "lin")

    assert (fresh, of_lin, quarrels) == ({3, 4}, {1, 3, 4}, [2])
    assert (left.reviewed, left.agreed, left.left) == (2, 1, 2)
    assert (left_of_lin.reviewed, left_of_lin.agreed, left_of_lin.left) == (1, 1, 3)


@pytest.mark.parametrize("second", [False, True])
def test_what_was_dropped_is_not_left_to_judge(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    annotator_engine: sa.Engine,
    second: bool,  # noqa: FBT001
) -> None:
    """Without it, after a month is dropped, the first page leads to results that are gone."""
    old = finished_job(producer_engine, worker_engine, Task.MODERATION, 4)
    for annotator, labels in (("kim", ["hate"]), ("lin", ["spam"])):
        disagree = {"verdict": "disagree", "labels": labels, "annotator": annotator}
        add(annotator_engine, parse({**disagree, "job_id": old, "external_id": "1"}))
    with engine.begin() as connection:
        month = connection.scalar(sa.text("select to_char(now() at time zone 'UTC', 'YYYYMM')"))
        connection.exec_driver_sql(
            f"drop table textmill.document_{month}, textmill.result_{month},"
            f" textmill.failure_{month}"
        )
    kept = finished_job(producer_engine, worker_engine, Task.MODERATION, 3)
    selections = {
        order: Selection(task=Task.MODERATION, order=order, second=second)
        for order in ORDERS[Task.MODERATION]
    }

    with annotator_engine.connect() as connection:
        left = {
            order: progress.progress(connection, selection, "kim").left
            for order, selection in selections.items()
        }
        jobs = progress.job_choices(connection, Task.MODERATION)

    assert left == {Order.FLAGGED: 1, Order.UNCERTAIN: 3, Order.DISPUTED: 0}
    for order, selection in selections.items():
        assert len(walk(annotator_engine, selection)) == left[order]
    assert [job.job_id for job in jobs] == [kept]


@contextmanager
def heard(engine: sa.Engine) -> Iterator[list[tuple[str, Mapping[str, object]]]]:
    """The statements that are run in the block, with their parameters."""
    statements: list[tuple[str, Mapping[str, object]]] = []

    def hear(*heard_of: object) -> None:
        _, _, statement, values, *_ = heard_of
        assert isinstance(statement, str)
        assert isinstance(values, Mapping)
        statements.append((statement, values))

    sa.event.listen(engine, "before_cursor_execute", hear)
    yield statements
    sa.event.remove(engine, "before_cursor_execute", hear)


def test_no_page_reads_more_than_a_few_rows(engine: sa.Engine, annotator_engine: sa.Engine) -> None:
    """Without it, the page that is quick today takes a minute at ten million documents."""
    latest = {Task(task): JobId(UUID(job)) for task, job in seed(engine, 60_000).latest.items()}
    # A job has 588 results, so that a statement which reads them all stands out.
    for task, orders in ORDERS.items():
        for order in orders:
            for job in (None, latest[task]):
                selection = Selection(task=task, order=order, job=job)
                with annotator_engine.connect() as connection, heard(annotator_engine) as said:
                    first = following(connection, selection, "kim", None)
                    assert (first is None) == (order is Order.DISPUTED and task != "moderation")
                    place = Place(latest[task], 1)  # far down: most of its job comes before it
                    following(connection, selection, "kim", place)
                    documents.load(connection, place)
                    progress.progress(connection, selection, "kim")
                    documents.last_verdict(connection, "kim", task)
                    progress.job_choices(connection, task)

                for statement, values in said:
                    for node in nodes_of(engine, statement, values):
                        shown = f"{task} {order} {statement}\n{json.dumps(node)}"
                        if node.get("Relation Name", "").startswith(LARGE):
                            assert node["Node Type"] != "Seq Scan", shown
                            assert rows_read(node) <= most(statement, node), shown


def rows_read(node: Mapping[str, Any]) -> float:
    """How many rows a node of a plan read."""
    rows: float = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    loops: int = node["Actual Loops"]
    return rows * loops


def most(statement: str, node: Mapping[str, Any]) -> int:
    """How many rows of a large table a statement may read in a node."""
    if "count(*)" in statement and node["Node Type"] == "Index Only Scan":
        return progress.MOST + 1  # at most this many of the documents left are counted
    return 200 if "keywords" in statement else 60  # a block of keywords
