"""People's verdicts on results: stored, and exported as training data.

The database checks a verdict against its result, so that a verdict given in SQL meets the same
rules.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from html.entities import html5
from itertools import pairwise
from typing import Annotated, Final

import psycopg
import sqlalchemy as sa
from pydantic import StringConstraints, ValidationError

from producer.intake import written_id
from schema.base import Frozen
from schema.database import reachable
from schema.database_errors import refusal_of
from schema.documents import JobId, ShortText, Task
from schema.errors import DocumentError, InputError
from schema.gold import gold_fields
from schema.states import Agreement

# Postgres stores no NUL.
Words = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$")]


class Verdict(Frozen):
    """What a person says about one result.

    Attributes:
        job_id: the job that the document belongs to.
        external_id: the producer's own id of the document.
        verdict: whether the result is right.
        labels: the right labels if the result is wrong; exactly one for sentiment, an empty list
            for text that moderation should not have flagged.
        keywords: the right keywords if the result is wrong.
        comment: anything worth keeping.
        annotator: who gives the verdict; None leaves this to the caller who stores it.
        adjudicates: whether this verdict decides for all annotators of the document.
    """

    job_id: JobId
    external_id: Words
    verdict: Agreement
    labels: list[Words] | None = None
    keywords: list[Words] | None = None
    comment: Words | None = None
    annotator: ShortText | None = None
    adjudicates: bool = False


_ROWS_AT_ONCE: Final = 32
"""Rows that an export holds in memory; a text may be a megabyte long, and more are no faster."""

_ENTITY: Final = re.compile(r"&(#\d+|#[xX][\da-fA-F]+|[a-zA-Z][a-zA-Z\d]*);")

_EXPECTED: Final = {
    "job_id": "a job's id, as `textmill submit` prints it",
    "external_id": "the id of a document, a string",
    "verdict": "agree or disagree",
    "labels": "a list of labels",
    "keywords": "a list of keywords",
    "comment": "a text",
    "annotator": "a name of at most 200 characters",
    "adjudicates": "true or false",
}
"""What each field of a verdict must be."""


def parse(fields: Mapping[str, object]) -> Verdict:
    """Read a verdict from a row of a file.

    Lists may be written `a;b`, with a `+` before generated keywords, as files of results have them.
    An id may be an integer. An empty value means that the field is absent.

    Raises:
        InputError: a field is missing, unknown or malformed; the text names it.
    """
    given: dict[str, object] = {}
    for name, value in fields.items():
        if value is None or value == "":
            continue
        given[name] = _read(name, value)
    if given.get("labels") == ["clean"]:  # how CSV says "no labels": an empty cell means absent
        given["labels"] = []
    try:
        return Verdict.model_validate(given)
    except ValidationError as error:
        faults = {fault["loc"][:1]: fault["type"] for fault in error.errors()}
        raise InputError("; ".join(_said_of(faults))) from None


def split_list(written: str) -> list[str]:
    """The parts of a list that is written `a;b`.

    A semicolon that ends an HTML entity separates nothing: results quote their keywords as the text
    has them, as in `Procter &amp; Gamble`.
    """
    ends = {
        entity.end()
        for entity in _ENTITY.finditer(written)
        if entity[1].startswith("#") or f"{entity[1]};" in html5
    }
    cuts = [place for place, sign in enumerate(written, 1) if sign == ";" and place not in ends]
    return [written[first : last - 1] for first, last in pairwise([0, *cuts, len(written) + 1])]


def is_unjudged(fields: Mapping[str, object]) -> bool:
    """Whether a row has a field for the verdict, but nobody filled one in.

    Keywords do not count as filled in, since they are those of the result.
    """
    filled = {name for name, value in fields.items() if value not in (None, "")}
    return "verdict" in fields and not filled & {"verdict", "labels", "comment"}


def add(engine: sa.Engine, verdict: Verdict, *, annotator: str | None = None) -> int:
    """Store a verdict and return its number.

    Args:
        engine: database of a migrated Textmill.
        verdict: what a person says.
        annotator: who gives the verdict if it names nobody; None means the database user.

    Raises:
        InputError: there is no such result, the verdict does not fit its task or disagrees without
            a difference, this annotator judged it before, or it was adjudicated before.
        ServiceUnavailableError: Postgres does not answer.
    """
    given = {name: value for name, value in verdict if value is not None}
    if annotator is not None:
        given.setdefault("annotator", annotator)
    arguments = ", ".join(f"{name} => :{name}" for name in given)
    return _call(engine, f"add_feedback({arguments})", given)


def is_there(engine: sa.Engine, verdict: Verdict, *, annotator: str) -> bool:
    """Whether the same annotator gave the same verdict on the same document before.

    Args:
        engine: database of a migrated Textmill.
        verdict: what a person says; the order of labels or keywords does not matter.
        annotator: who gives the verdict if it names nobody.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    # Joins by the document's position, which the index of feedback holds; a job whose month was
    # pruned has only its verdicts.
    query = sa.text("""
        select f.verdict, f.labels, f.keywords, f.comment from textmill.document d
        join textmill.feedback f using (job_id, seq)
        where d.job_id = :job_id and d.external_id = :external_id
            and f.annotator = :annotator and f.adjudicates = :adjudicates
        union all
        select f.verdict, f.labels, f.keywords, f.comment from textmill.feedback f
        where not exists (select from textmill.document d where d.job_id = :job_id)
            and f.job_id = :job_id and f.external_id = :external_id
            and f.annotator = :annotator and f.adjudicates = :adjudicates
    """)
    given = verdict.model_dump(include={"job_id", "external_id", "adjudicates"})
    given["annotator"] = verdict.annotator or annotator
    with reachable(engine), engine.connect() as connection:
        return any(
            (row.verdict, row.comment) == (verdict.verdict, verdict.comment)
            and set(row.labels or ()) == set(verdict.labels or ())
            and set(row.keywords or ()) == set(verdict.keywords or ())
            for row in connection.execute(query, given)
        )


def withdraw(engine: sa.Engine, feedback_id: int, annotator: str) -> None:
    """Withdraw the verdict with this number.

    Raises:
        InputError: it is not by `annotator`, is more than an hour old, or was adjudicated since.
        ServiceUnavailableError: Postgres does not answer, or another session is judging or erasing
            the document.
    """
    given = {"feedback_id": feedback_id, "annotator": annotator}
    _call(engine, "withdraw_feedback(:feedback_id, :annotator)", given)


def export(engine: sa.Engine, task: Task, *, gold: bool = False) -> Iterator[dict[str, object]]:
    """Verdicts on results of `task`, oldest first, with the texts of their documents.

    Args:
        engine: database of a migrated Textmill.
        task: whose results.
        gold: the rows of the view `textmill.gold`, one for each text whose answer is settled;
            otherwise every verdict.

    Yields:
        Rows as the trainer reads them: `id`, `text`, the right `label`, `labels` or `keywords`
        (sorted), and for moderation `annotated`, the labels that the judged result has scores for;
        also `verdict`, `annotator`, `comment`, `model_version`, `job_id` and `external_id`.

    Raises:
        ServiceUnavailableError: Postgres does not answer, here or while rows are read.
    """
    everything = (
        "select f.*, textmill.annotated_of(f.task, f.payload) as annotated from textmill.feedback f"
    )
    chosen = "select * from textmill.gold" if gold else everything
    query = sa.text(f"{chosen} where task = :task order by feedback_id")
    with reachable(engine), engine.connect() as connection:
        rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query, {"task": task})
        for row in rows:
            yield {
                "id": f"feedback-{row.feedback_id}",
                "text": row.text,
                **gold_fields(task, row.answer, row.annotated),
                "verdict": row.verdict,
                "annotator": row.annotator,
                "comment": row.comment,
                "model_version": row.model_version,
                "job_id": str(row.job_id),
                "external_id": row.external_id,
            }


def _read(name: str, value: object) -> object:
    match value:
        case str() if name in ("labels", "keywords"):
            mark = "+" if name == "keywords" else ""
            parts = (part.strip().removeprefix(mark) for part in split_list(value))
            return [part for part in parts if part]
        case int() | float() | Decimal() if name == "external_id":
            with suppress(DocumentError):  # a boolean is not an id
                return written_id(value)
    return value


def _said_of(faults: Mapping[tuple[int | str, ...], str]) -> Iterator[str]:
    """What is wrong with each field; unknown fields are named together."""
    named = {str(where[0]): kind for where, kind in faults.items() if where}
    if len(named) < len(faults):  # no message can repeat such a name
        yield "the name of a field holds half of a surrogate pair; write the character whole"
    if unknown := [field for field in named if field not in _EXPECTED]:
        known = ", ".join(_EXPECTED)
        yield f"{', '.join(unknown)}: there is no such field; the fields are {known}"
    yield from (_fault(field, kind) for field, kind in named.items() if field in _EXPECTED)


def _fault(field: str, kind: str) -> str:
    if kind == "missing":
        return f"{field}: it is missing; give {_EXPECTED[field]}"
    return f"{field}: it must be {_EXPECTED[field]}"


def _call(engine: sa.Engine, function: str, given: Mapping[str, object]) -> int:
    """Call a function that returns a verdict's number; a refusal is raised in its own words."""
    try:
        with reachable(engine), engine.begin() as connection:
            call = sa.text(f"select textmill.{function}")
            return int(connection.execute(call, given).scalar_one())
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg.IntegrityError | psycopg.errors.NoDataFound):
            raise
        raise InputError(refusal_of(error)) from None
