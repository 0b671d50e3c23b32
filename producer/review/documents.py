"""One document with its result and its verdicts."""

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from producer.review.orders import Place
from schema.documents import Task
from schema.outcomes import RESULT, Result, SentimentResult
from schema.states import Agreement


class ReviewedDocument(NamedTuple):
    """A document with its result, to be reviewed.

    Attributes:
        place: its job and its position there.
        external_id: the producer's own id; the position if the month's documents were dropped.
        text: the original text; None if it was erased, or if the month's documents were dropped.
        metadata: what was submitted with the text.
        result: what the model said.
        job_name: what people call its job.
        created_at: when the result was written.
    """

    place: Place
    external_id: str
    text: str | None
    metadata: dict[str, Any]
    result: Result
    job_name: str | None
    created_at: datetime

    @property
    def task(self) -> Task:
        """The task of the result."""
        return Task(self.result.task)

    @property
    def given(self) -> list[str]:
        """The labels or keywords of the result, in its order, each on one line."""
        match self.result:
            case SentimentResult(label=label):
                return [label]
            case result if result.task == "moderation":
                return list(result.labels)
            case result:
                return [on_one_line(keyword.text) for keyword in result.keywords]


class GivenVerdict(NamedTuple):
    """A verdict that was given.

    Attributes:
        feedback_id: its number.
        place: the document it is about.
        external_id: the producer's own id of that document.
        annotator: who gave it.
        verdict: agree or disagree.
        answer: the labels or keywords that the annotator considers right.
        comment: the annotator's comment.
        adjudicates: whether it decides for all.
    """

    feedback_id: int
    place: Place
    external_id: str
    annotator: str
    verdict: Agreement
    answer: list[str]
    comment: str | None
    adjudicates: bool


def on_one_line(words: str) -> str:
    """The words with one blank between them, as the answers of verdicts have them.

    A keyword may go on in the next line of its text, and a browser sends line breaks as others.
    """
    return " ".join(words.split())


def load(connection: sa.Connection, place: Place) -> ReviewedDocument | None:
    """The document at `place`; None if there is none with a result."""
    row = connection.execute(
        sa.text("""
            select coalesce(d.external_id, seq::text) as external_id, d.text, d.metadata,
                r.payload, j.name, r.created_at
            from textmill.result r
            join textmill.job_status j using (job_id)
            left join textmill.document d using (job_id, seq)
            where job_id = :job_id and seq = :seq
        """),
        place._asdict(),
    ).one_or_none()
    if row is None:
        return None
    return ReviewedDocument(
        place=place,
        external_id=row.external_id,
        text=row.text,
        metadata=row.metadata or {},
        result=RESULT.validate_python(row.payload),
        job_name=row.name,
        created_at=row.created_at,
    )


def verdicts(connection: sa.Connection, place: Place) -> list[GivenVerdict]:
    """The verdicts on the document, in the order in which they were given."""
    return _given_verdicts(
        connection,
        "job_id = :job_id and seq = :seq order by feedback_id",
        **place._asdict(),
    )


def last_verdict(connection: sa.Connection, annotator: str, task: Task) -> GivenVerdict | None:
    """The latest verdict of `annotator` that may still be withdrawn."""
    found = _given_verdicts(
        connection,
        # The rule costs one query per row, so it is checked for the last day's verdicts only.
        "annotator = :annotator and task = :task and created_at > now() - interval '1 day'"
        " and textmill.withdrawable(feedback)"
        " order by feedback_id desc limit 1",
        annotator=annotator,
        task=task,
    )
    return found[0] if found else None


def _given_verdicts(connection: sa.Connection, which: str, **given: object) -> list[GivenVerdict]:
    rows = connection.execute(
        sa.text(
            "select feedback_id, job_id, seq, external_id, annotator, verdict, answer, comment,"  # noqa: S608
            f" adjudicates from textmill.feedback where {which}"
        ),
        given,
    )
    return [
        GivenVerdict(
            feedback_id=row.feedback_id,
            place=Place(row.job_id, row.seq),
            external_id=row.external_id,
            annotator=row.annotator,
            verdict=Agreement(row.verdict),
            answer=row.answer,
            comment=row.comment,
            adjudicates=row.adjudicates,
        )
        for row in rows
    ]
