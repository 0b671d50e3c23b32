"""A document on the page: its text in pieces, its scores and the choices."""

from collections.abc import Mapping
from typing import NamedTuple, Self

from starlette.datastructures import FormData

from producer.feedback import split_list
from producer.review import highlight
from producer.review.documents import ReviewedDocument, on_one_line
from producer.review.highlight import Mark, Piece
from schema.documents import LABELS
from schema.outcomes import KeywordsResult

CHARACTERS_SHOWN = 20_000
"""Characters of a text that are shown at first."""

LONGEST_COMMENT = 2000
"""Most characters of a comment."""

DIGITS = "1234567890"
"""Keys of the choices, in their order."""


class VerdictForm(NamedTuple):
    """What was filled into the form.

    Attributes:
        agrees: whether the result was called right as it is.
        chosen: the choices that are right.
        more: keywords that are not among the choices, separated by semicolons.
        comment: anything else.
    """

    agrees: bool
    chosen: list[str]
    more: str
    comment: str

    @classmethod
    def from_form(cls, form: FormData) -> Self:
        """Read a form; missing fields are empty."""
        return cls(
            agrees=form.get("action") == "agree",
            chosen=[str(value) for value in form.getlist("answer")],
            more=str(form.get("more") or ""),
            # A browser sends line breaks as two characters, and counts them as one.
            comment=str(form.get("comment") or "").replace("\r\n", "\n").strip(),
        )

    @property
    def answer(self) -> list[str]:
        """The labels or keywords that are right, each once."""
        more = split_list(self.more.replace("；", ";").replace("\n", ";"))
        return list(dict.fromkeys([*self.chosen, *filter(None, map(on_one_line, more))]))


class Choice(NamedTuple):
    """A label or keyword to choose.

    Attributes:
        name: the label or keyword.
        score: how sure the model is.
        key: the key to press; empty once the digits are used up.
        given: whether the model gave it.
        chosen: whether it is marked as right.
        generated: whether the model made it instead of finding it in the text.
    """

    name: str
    score: float
    key: str
    given: bool
    chosen: bool
    generated: bool


class DocumentView(NamedTuple):
    """A document on the page.

    Attributes:
        document: the document.
        pieces: its text, or the beginning of it.
        hidden: how many characters are left out.
        choices: the labels or keywords to choose from.
        reasons: labels for which it is known what moved their score.
        reason: the label whose reasons are shown.
        more: keywords that were typed in.
        comment: as it was typed in.
    """

    document: ReviewedDocument
    pieces: list[Piece]
    hidden: int
    choices: list[Choice]
    reasons: list[str]
    reason: str | None
    more: str
    comment: str


def document_view(
    document: ReviewedDocument, asked: Mapping[str, str], form: VerdictForm | None
) -> DocumentView:
    """The document as the page shows it.

    Args:
        document: the document.
        asked: `whole` shows all of a long text, `reason` chooses a label to explain.
        form: what the form held, if it was refused.
    """
    text = document.text or ""
    shown = text if asked.get("whole") else text[:CHARACTERS_SHOWN]
    reasons = _reasons(document)
    reason = asked.get("reason") if asked.get("reason") in reasons else next(iter(reasons), None)
    return DocumentView(
        document=document,
        pieces=highlight.pieces(shown, _marks(document, reason)),
        hidden=len(text) - len(shown),
        choices=_choices(document, document.given if form is None or form.agrees else form.chosen),
        reasons=reasons,
        reason=reason,
        more=form.more if form else "",
        comment=form.comment if form else "",
    )


def _reasons(document: ReviewedDocument) -> list[str]:
    if isinstance(document.result, KeywordsResult):
        return []
    return list(document.result.explanation or {})


def _marks(document: ReviewedDocument, reason: str | None) -> list[Mark]:
    if isinstance(document.result, KeywordsResult):
        return highlight.of_keywords(document.result.keywords)
    evidence = {str(label): parts for label, parts in (document.result.explanation or {}).items()}
    return highlight.of_evidence(evidence[reason], reason) if reason else []


def _choices(document: ReviewedDocument, chosen: list[str]) -> list[Choice]:
    if isinstance(document.result, KeywordsResult):
        keywords = [(on_one_line(found.text), found) for found in document.result.keywords]
        scores = {name: found.score for name, found in keywords}
        made = {name for name, found in keywords if found.generated}
    else:
        made = set()
        given = {str(label): score for label, score in document.result.scores.items()}
        scores = {label: given.get(label, 0.0) for label in LABELS[document.task]}
    keys = DIGITS.ljust(len(scores))
    return [
        Choice(name, score, key.strip(), name in document.given, name in chosen, name in made)
        for (name, score), key in zip(scores.items(), keys, strict=False)
    ]
