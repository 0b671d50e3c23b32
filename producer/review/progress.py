"""How far an annotator has got, and how far people agree."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from producer.review.orders import Order, Selection, disputed, flagged, judging, of_job
from schema.documents import JobId, Task

MOST = 1000
"""Number up to which the documents left are counted; above it, the page shows "1,000+"."""

JOBS = 50
"""Most jobs to choose from."""


class Progress(NamedTuple):
    """How far an annotator has got with a selection.

    Attributes:
        reviewed: documents that this annotator judged.
        agreed: those of them whose result was right.
        left: documents that are still to be judged; some orders stop counting just above `MOST`.
    """

    reviewed: int
    agreed: int
    left: int


class JobChoice(NamedTuple):
    """A job to choose; see the view `textmill.job_status`."""

    job_id: JobId
    name: str | None
    created_at: datetime
    succeeded: int


def progress(connection: sa.Connection, selection: Selection, annotator: str) -> Progress:
    """How far `annotator` has got."""
    given = {
        "task": selection.task,
        "job": selection.job,
        "annotator": annotator,
        "most": MOST + 1,
    }
    judged = connection.execute(
        sa.text(f"""
            select count(*) as reviewed, count(*) filter (where verdict = 'agree') as agreed
            from textmill.feedback f
            where annotator = :annotator and not adjudicates
                and task = :task{of_job(selection, "f")}
        """),  # noqa: S608
        given,
    ).one()
    left = connection.scalar(sa.text(_left(selection)), given)
    return Progress(judged.reviewed, judged.agreed, max(left or 0, 0))


def job_choices(connection: sa.Connection, task: Task) -> list[JobChoice]:
    """The latest jobs with results of `task`, newest first."""
    rows = connection.execute(
        sa.text(f"""
            select j.job_id, j.name, j.created_at, j.succeeded
            from textmill.job_status j {_KEPT}
            where j.task = :task order by j.job_id desc limit :jobs
        """),  # noqa: S608
        {"task": task, "jobs": JOBS},
    )
    return [JobChoice(*row) for row in rows]


class Annotator(NamedTuple):
    """What one annotator did.

    Attributes:
        annotator: name of the annotator.
        reviewed: documents judged.
        agreed: those of them whose result was right.
        adjudicated: documents for which this annotator decided for all.
    """

    annotator: str
    reviewed: int
    agreed: int
    adjudicated: int


class Pair(NamedTuple):
    """How far two annotators agree; see the view `textmill.annotator_agreement`."""

    label: str | None
    annotator: str
    other: str
    documents: int
    agreement: float
    kappa: float | None


def annotators(connection: sa.Connection, task: Task) -> list[Annotator]:
    """Everyone who judged results of `task`, the busiest first."""
    rows = connection.execute(
        sa.text("""
            select annotator, count(*) filter (where not adjudicates) as reviewed,
                count(*) filter (where not adjudicates and verdict = 'agree') as agreed,
                count(*) filter (where adjudicates) as adjudicated
            from textmill.feedback where task = :task
            group by annotator order by reviewed desc, annotator
        """),
        {"task": task},
    )
    return [Annotator(*row) for row in rows]


def pairs(connection: sa.Connection, task: Task) -> list[Pair]:
    """How far any two annotators agree on results of `task`."""
    rows = connection.execute(
        sa.text("""
            select label, annotator, other, documents, agreement, kappa
            from textmill.annotator_agreement where task = :task
            order by annotator, other, label
        """),
        {"task": task},
    )
    return [Pair(*row) for row in rows]


_KEPT = """
cross join lateral (select from textmill.result where job_id = j.job_id limit 1) as kept
"""
"""Join that keeps only jobs `j` that still have results, since a job's counters outlast its month.
It is a lateral join, since with `exists` the planner may read all results."""

_UP_TO_MOST = "select count(*) from (select {} limit :most) as left_over"

_UNCERTAIN = f"""
with judged as (
    select coalesce(sum(documents), 0) as documents from (
        select job_id, count(distinct seq) as documents from textmill.feedback f
        where task = :task{{judging}} group by job_id
    ) as j {_KEPT}
), latest as (
    select succeeded from textmill.job_status j {_KEPT}
    where task = :task{{of_job}} order by job_id desc
    limit :most + (select documents from judged)
)
select coalesce(sum(succeeded), 0) - (select documents from judged) from latest
"""  # noqa: S608
"""Uses the jobs' counters instead of counting results one by one, and reads no more jobs than can
matter: each has at least one result."""


def _left(selection: Selection) -> str:
    match selection.order:
        case Order.FLAGGED:
            return _UP_TO_MOST.format(flagged(selection))
        case Order.DISPUTED:
            return _UP_TO_MOST.format(disputed(selection))
        case Order.UNCERTAIN:
            return _UNCERTAIN.format(
                judging=of_job(selection, "f") + judging(selection), of_job=of_job(selection, "j")
            )
