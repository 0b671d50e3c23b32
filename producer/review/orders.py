"""Which document comes next.

An order continues from the place of the document last seen, by index: there is no OFFSET, and
however long a job is, few rows are read. An annotator who starts again starts at the top, without
the documents judged meanwhile.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from schema.base import Frozen
from schema.documents import LABELS, JobId, Task
from schema.states import FeedbackState


class Order(StrEnum):
    """What comes first.

    `flagged`: the highest scores of the newest job. `uncertain`: the results of the newest job that
    the model was least sure of. `disputed`: the results that annotators disagree about.
    """

    FLAGGED = "flagged"
    UNCERTAIN = "uncertain"
    DISPUTED = "disputed"


ORDERS: Mapping[Task, tuple[Order, ...]] = {
    Task.MODERATION: (Order.FLAGGED, Order.UNCERTAIN, Order.DISPUTED),
    Task.SENTIMENT: (Order.UNCERTAIN, Order.DISPUTED),
    Task.KEYWORDS: (Order.UNCERTAIN, Order.DISPUTED),
}
"""The orders of each task's results; the first one is the default."""


class Place(NamedTuple):
    """The place of a document: its job, and its position there."""

    job_id: JobId
    seq: int


class Selection(Frozen):
    """What an annotator wants to see.

    Attributes:
        task: results of this task.
        order: what comes first.
        job: of this job only.
        second: also results that others have judged, for a second opinion.
    """

    task: Task
    order: Order
    job: JobId | None = None
    second: bool = False


_MIDDLE: Mapping[Task, float] = {Task.SENTIMENT: 0.0, Task.MODERATION: 0.5}
"""The score at which a model is least sure."""

_LAST = 2**62
"""Above every position in a job."""

_BLOCK = 200
"""Documents of a keywords job that are sorted together, since no index has their scores."""

_CONFIDENCE = "coalesce((r.payload -> 'keywords' -> 0 ->> 'score')::float8, 0)"


def following(
    connection: sa.Connection, selection: Selection, annotator: str, after: Place | None
) -> Place | None:
    """The place of the next document for `annotator`; None if nothing is left.

    Args:
        connection: a connection that may read results and feedback.
        selection: which documents, in which order.
        annotator: has not judged the document yet; without `second`, nobody has.
        after: the document last seen; None begins at the top.
    """
    given: dict[str, object] = {"task": selection.task, "annotator": annotator}
    if selection.job:
        given["job"] = selection.job
    if after:
        given |= _standing(connection, selection, after)
    match selection.order, selection.task:
        case Order.FLAGGED, _:
            query = _flagged(selection, after)
        case Order.DISPUTED, _:
            query = _disputed(selection, after)
        case _, Task.KEYWORDS:
            return _through_jobs(connection, _KEYWORDS, selection, given, after)
        case _:
            return _through_jobs(connection, _UNCERTAIN, selection, given, after)
    return _place(connection, query, given)


def unjudged(selection: Selection) -> str:
    """SQL condition that a result `r` is still to be judged by `:annotator`."""
    return (
        "not exists (select from textmill.feedback f"
        f" where f.job_id = r.job_id and f.seq = r.seq{judging(selection)})"
    )


def judging(selection: Selection) -> str:
    """SQL condition, beginning with `and`, that a verdict `f` settles a result for `:annotator`.

    Empty if any verdict does.
    """
    return " and (f.annotator = :annotator or f.adjudicates)" if selection.second else ""


def of_job(selection: Selection, alias: str) -> str:
    """SQL condition, beginning with `and`, that a row belongs to the job of the selection."""
    return f" and {alias}.job_id = :job" if selection.job else ""


def flagged(selection: Selection) -> str:
    """SQL, beginning with `from`, for the results `r` to judge in the order `flagged`."""
    wanted = f"r.flagged{of_job(selection, 'r')} and {unjudged(selection)}"
    return f"from textmill.moderation_result r where {wanted}"


def disputed(selection: Selection) -> str:
    """Like `flagged`, for the order `disputed`; results whose month was pruned are left out."""
    return (
        "from textmill.feedback_status r"
        f" where r.task = :task and r.state = '{FeedbackState.DISPUTED}'{of_job(selection, 'r')}"
        " and exists (select from textmill.result k where k.job_id = r.job_id and k.seq = r.seq)"
    )


def _standing(connection: sa.Connection, selection: Selection, after: Place) -> dict[str, object]:
    """The values by which an order continues after a document."""
    row = connection.execute(
        sa.text(
            f"select score::float8 as score, {_CONFIDENCE} as confidence"  # noqa: S608
            " from textmill.result r where job_id = :job_id and seq = :seq"
        ),
        after._asdict(),
    ).one_or_none()
    score: float = (row and row.score) or 0.0
    return {
        "after_job": after.job_id,
        "after_seq": after.seq,
        "after_score": score,
        "after_confidence": row.confidence if row else 0.0,
        **_bounds(_MIDDLE.get(selection.task, 0.0), score, after.seq),
    }


def _bounds(middle: float, score: float, seq: int) -> dict[str, object]:
    """Bounds of the scores that follow: those above `high` or below `low`.

    They are further from the middle than `score`. At the same distance, the score above the middle
    comes first.
    """
    mirrored = 2 * middle - score
    if score >= middle:
        # At the middle itself, no score below it has the same distance.
        low_seq = _LAST if score > middle else 0
        return {"high": score, "high_seq": seq, "low": mirrored, "low_seq": low_seq}
    return {"high": mirrored, "high_seq": _LAST, "low": score, "low_seq": seq}


def _flagged(selection: Selection, after: Place | None) -> str:
    further = (
        " and r.job_id <= :after_job"
        " and (r.job_id, r.score, r.seq) < (:after_job, :after_score, :after_seq)"
        if after
        else ""
    )
    return (
        f"select r.job_id, r.seq {flagged(selection)}{further}"
        " order by r.job_id desc, r.score desc, r.seq desc limit 1"
    )


def _disputed(selection: Selection, after: Place | None) -> str:
    further = " and (r.job_id, r.seq) < (:after_job, :after_seq)" if after else ""
    return (
        f"select r.job_id, r.seq {disputed(selection)}{further}"
        " order by r.job_id desc, r.seq desc limit 1"
    )


_UNCERTAIN = """
select j.job_id, least_sure.seq
from textmill.job_status j
cross join lateral (
    select side.seq
    from unnest(cast(:labels as text[])) as l (label)
    cross join lateral (
        (select r.seq, r.score - :middle as distance, false as below
            from textmill.{task}_result r
            where r.job_id = j.job_id and r.label = l.label
                and (r.score, r.seq) > (:high, :high_seq) and {unjudged}
            order by r.score, r.seq limit 1)
        union all
        (select r.seq, :middle - r.score, true
            from textmill.{task}_result r
            where r.job_id = j.job_id and r.label = l.label
                and (r.score, r.seq) < (:low, :low_seq) and {unjudged}
            order by r.score desc, r.seq desc limit 1)
    ) as side
    order by side.distance, side.below, case when side.below then -side.seq else side.seq end
    limit 1
) as least_sure
where j.task = :task and {jobs}
order by j.job_id desc
limit 1
"""

_KEYWORDS = f"""
select j.job_id, least_sure.seq
from textmill.job_status j
cross join lateral (
    select r.seq from textmill.result r
    where r.job_id = j.job_id and r.seq > :block_end and {{unjudged}}
    order by r.seq limit 1
) as first
cross join lateral (
    select r.seq from textmill.result r
    where r.job_id = j.job_id and {{unjudged}}
        and r.seq between first.seq and (first.seq - 1) / {_BLOCK} * {_BLOCK} + {_BLOCK}
    order by {_CONFIDENCE}, r.seq limit 1
) as least_sure
where j.task = :task and {{jobs}}
order by j.job_id desc
limit 1
"""  # noqa: S608

_KEYWORDS_OF_BLOCK = f"""
select r.job_id, r.seq from textmill.result r
where r.job_id = :after_job and r.seq between :block_first and :block_end
    and ({_CONFIDENCE}, r.seq) > (:after_confidence, :after_seq) and {{unjudged}}
order by {_CONFIDENCE}, r.seq limit 1
"""  # noqa: S608


def _through_jobs(
    connection: sa.Connection,
    query: str,
    selection: Selection,
    given: dict[str, object],
    after: Place | None,
) -> Place | None:
    """The rest of the job last seen, then the jobs before it, each from its top."""
    pending = unjudged(selection)
    middle = _MIDDLE.get(selection.task, 0.0)
    given |= {"labels": list(LABELS.get(selection.task, ())), "middle": middle}

    def look(jobs: str, **more: object) -> Place | None:
        found = query.format(task=selection.task, unjudged=pending, jobs=jobs)
        return _place(connection, found, given | more)

    if after:
        last = (after.seq - 1) // _BLOCK * _BLOCK + _BLOCK
        block = {"block_first": last - _BLOCK + 1, "block_end": last}
        if selection.task is Task.KEYWORDS:
            here = _KEYWORDS_OF_BLOCK.format(unjudged=pending)
            if found := _place(connection, here, given | block):
                return found
        if (found := look("j.job_id = :after_job", **block)) or selection.job:
            return found
    jobs = "j.job_id = :job" if selection.job else "j.job_id < :after_job" if after else "true"
    top = {"high": middle, "high_seq": 0, "low": middle, "low_seq": 0, "block_end": 0}
    return look(jobs, **top)


def _place(connection: sa.Connection, query: str, given: Mapping[str, object]) -> Place | None:
    row = connection.execute(sa.text(query), given).one_or_none()
    return None if row is None else Place(row.job_id, row.seq)
