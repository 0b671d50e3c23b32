"""People's verdicts on results: in, and out again as training data.

The database checks a verdict against the result it speaks of, so that one given in SQL meets the
same rules.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal
from uuid import UUID

import sqlalchemy as sa
from pydantic import StringConstraints, ValidationError

from schema.base import Frozen
from schema.database import reachable
from schema.documents import Label, Task
from schema.errors import InputError

# Postgres stores no NUL.
Words = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$")]


class Verdict(Frozen):
    """What a person says of one result.

    Attributes:
        job_id: the job that the document belongs to.
        external_id: the document, by the producer's own id.
        verdict: whether the result is right.
        labels: the right labels where it is not; exactly one for sentiment, none for text that
            moderation should have left alone.
        keywords: the right keywords where they are not.
        comment: anything worth keeping.
        annotator: who says so; None stands for the database user.
        adjudicates: whether this verdict decides for all annotators of the document.
    """

    job_id: UUID
    external_id: Words
    verdict: Literal["agree", "disagree"]
    labels: list[Words] | None = None
    keywords: list[Words] | None = None
    comment: Words | None = None
    annotator: Label | None = None
    adjudicates: bool = False


def parse(fields: Mapping[str, object]) -> Verdict:
    """Read a verdict from a row of a file; lists may be written `a;b`, blanks mean absent.

    Raises:
        InputError: a field is missing, unknown or malformed; the text names it.
    """
    given: dict[str, object] = {}
    for name, value in fields.items():
        if value is None or value == "":
            continue
        given[name] = (
            [part.strip() for part in value.split(";") if part.strip()]
            if name in ("labels", "keywords") and isinstance(value, str)
            else value
        )
    if given.get("labels") == ["clean"]:  # an empty cell of a CSV file means absent
        given["labels"] = []
    try:
        return Verdict.model_validate(given)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise InputError(faults) from None


def add(engine: sa.Engine, verdict: Verdict) -> int:
    """Store a verdict and return its number.

    Raises:
        InputError: there is no such result, the verdict does not fit its task, this annotator
            judged it before, or it was adjudicated before.
        ServiceUnavailableError: Postgres does not answer.
    """
    given = {name: value for name, value in verdict if value is not None}
    columns = ", ".join(given)
    values = ", ".join(f":{name}" for name in given)
    try:
        with reachable(engine), engine.begin() as connection:
            return int(
                connection.execute(
                    sa.text(
                        f"insert into textmill.feedback ({columns}) values ({values})"  # noqa: S608
                        " returning feedback_id"
                    ),
                    given,
                ).scalar_one()
            )
    except sa.exc.IntegrityError as error:
        raise InputError(_reason(error, verdict)) from None


def export(engine: sa.Engine, task: Task, *, gold: bool = False) -> Iterator[dict[str, object]]:
    """Verdicts on results of `task`, oldest first, with the text they speak of.

    Args:
        engine: database of a migrated Textmill.
        task: whose results.
        gold: one row for each document whose answer is settled, because it was adjudicated or all
            its annotators agree; otherwise every verdict.

    Yields:
        Rows as the trainer reads them: `id`, `text`, `labels` or `keywords` as they should be,
        beside `verdict`, `annotator`, `comment`, `model_version`, `job_id` and `external_id`.
    """
    settled = (
        "select distinct on (f.job_id, f.seq) f.* from textmill.feedback f"
        " join textmill.feedback_status s using (job_id, seq)"
        " where f.task = :task and f.answer = s.gold"
        " order by f.job_id, f.seq, f.adjudicates desc, f.feedback_id"
    )
    everything = "select * from textmill.feedback where task = :task"
    with reachable(engine), engine.connect() as connection:
        rows = connection.execution_options(yield_per=1000).execute(
            sa.text(
                f"select * from ({settled if gold else everything}) as chosen"  # noqa: S608
                " order by feedback_id"
            ),
            {"task": task},
        )
        for row in rows:
            yield {
                "id": f"feedback-{row.feedback_id}",
                "text": row.text,
                **_gold(row),
                "verdict": row.verdict,
                "annotator": row.annotator,
                "comment": row.comment,
                "model_version": row.model_version,
                "job_id": str(row.job_id),
                "external_id": row.external_id,
            }


def _gold(row: sa.Row[tuple[object, ...]]) -> dict[str, object]:
    """The right answer: the correction, or the result itself where the person agrees."""
    agrees = row.verdict == "agree"
    match Task(row.task):
        case Task.SENTIMENT:
            return {"label": row.payload["label"] if agrees else row.labels[0]}
        case Task.MODERATION:
            labels = row.payload["labels"] if agrees else row.labels
            return {"labels": labels, "annotated": list(row.payload["scores"])}
        case Task.KEYWORDS:
            given = [keyword["text"] for keyword in row.payload["keywords"]]
            return {"keywords": given if agrees else row.keywords}


def _reason(error: sa.exc.IntegrityError, verdict: Verdict) -> str:
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is None:
        return str(error.orig)
    if diagnosis.constraint_name == "feedback_once":
        return f"this annotator judged document {verdict.external_id!r} before"
    if diagnosis.constraint_name == "feedback_adjudicated":
        return f"document {verdict.external_id!r} was adjudicated before"
    if diagnosis.constraint_name == "feedback_correction":
        return "a disagreement names the right labels or keywords, an agreement neither"
    hint = f"; {diagnosis.message_hint}" if diagnosis.message_hint else ""
    return f"{diagnosis.message_primary}{hint}"
