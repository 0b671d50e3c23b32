"""How good a pipeline is on labelled rows."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from schema.base import Frozen
from schema.documents import Task
from schema.outcomes import (
    MODERATION_LABELS,
    SENTIMENT_LABELS,
    Failure,
    KeywordsResult,
    ModerationResult,
    Result,
    SentimentResult,
    is_absent,
)
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.training import metrics
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow

_BLOCK: Final = 1024
"""Documents in memory at once."""


class SentimentMeasures(Frozen):
    """Of sentiment; means over the classes that occur in the gold.

    Attributes:
        documents: rows measured; one that cannot be analysed scores every label alike.
        loss: mean negative log-likelihood of the gold label.
        accuracy: share of rows whose best label is the gold one.
        macro_f1: mean F1 of the classes.
        macro_recall: mean recall of the classes.
        ece: expected calibration error of the best label's score.
    """

    documents: int
    loss: float
    accuracy: float
    macro_f1: float
    macro_recall: float
    ece: float


class LabelMeasures(Frozen):
    """Of one moderation label, over the rows where it is annotated.

    Attributes:
        precision: share of the predicted rows that are right.
        recall: share of the gold rows that are found.
        f1: their harmonic mean, at the artifact's threshold.
        auc: area under the ROC curve, null where a class is missing.
        support: rows that have the label.
    """

    precision: float
    recall: float
    f1: float
    auc: float | None
    support: int


class ModerationMeasures(Frozen):
    """Of moderation, over annotated labels only.

    Attributes:
        documents: rows measured; one that cannot be analysed scores 0 on every label.
        flag_f1: F1 of "any annotated label holds".
        flag_auc: area under the ROC curve of the best annotated score; null where a class is
            missing.
        ece: expected calibration error over all annotated scores.
        labels: measures of each label that is annotated anywhere.
    """

    documents: int
    flag_f1: float
    flag_auc: float | None
    ece: float
    labels: dict[str, LabelMeasures]


class KeywordsMeasures(Frozen):
    """Of keywords: exact match after lower-casing and folding blanks.

    Attributes:
        documents: rows measured.
        f1_at_5: mean F1 of the best five phrases over `present_documents`.
        f1_at_10: the same of the best ten.
        present_documents: rows with a gold keyword that occurs in the text; only those keywords
            count.
        absent_f1_at_5: mean F1 of the best five generated keywords over `absent_documents`; this
            and the next ones are missing where the artifact has no generator.
        absent_recall_at_10: mean share of the gold ones among the best ten generated keywords.
        absent_documents: rows with a gold keyword that does not occur in the text; only those
            keywords count.
    """

    documents: int
    f1_at_5: float
    f1_at_10: float
    present_documents: int
    absent_f1_at_5: float | None = Field(default=None, exclude_if=is_absent)
    absent_recall_at_10: float | None = Field(default=None, exclude_if=is_absent)
    absent_documents: int | None = Field(default=None, exclude_if=is_absent)


Measures = SentimentMeasures | ModerationMeasures | KeywordsMeasures


def evaluate(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> Measures:
    """Measure a pipeline on rows of its own task, at least one."""
    match pipeline.task:
        case Task.SENTIMENT:
            sentiment = _of(SentimentRow, rows)
            return sentiment_measures(sentiment, sentiment_scores(pipeline, sentiment))
        case Task.MODERATION:
            moderation = _of(ModerationRow, rows)
            scores = moderation_scores(pipeline, moderation)
            return moderation_measures(moderation, scores, pipeline.thresholds)
        case Task.KEYWORDS:
            return _keywords(pipeline, _of(KeywordsRow, rows))


def sentiment_scores(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> metrics.Floats:
    """Score of each label, (rows, labels); alike where a document cannot be analysed."""
    uniform = dict.fromkeys(SENTIMENT_LABELS, 1 / len(SENTIMENT_LABELS))
    scores = [
        result.scores if isinstance(result, SentimentResult) else uniform
        for result in _results(pipeline, rows)
    ]
    return np.array([[score[label] for label in SENTIMENT_LABELS] for score in scores])


def moderation_scores(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> metrics.Floats:
    """Score of each label, (rows, labels); 0 where a document cannot be analysed."""
    clean = dict.fromkeys(MODERATION_LABELS, 0.0)
    scores = [
        result.scores if isinstance(result, ModerationResult) else clean
        for result in _results(pipeline, rows)
    ]
    values = [[score[label] for label in MODERATION_LABELS] for score in scores]
    return np.array(values).reshape(-1, len(MODERATION_LABELS))


def moderation_gold(rows: Sequence[ModerationRow]) -> tuple[metrics.Bools, metrics.Bools]:
    """Which labels hold, and which are annotated; both (rows, labels)."""
    holds = [[label in row.labels for label in MODERATION_LABELS] for row in rows]
    known = [[label in row.annotated | row.labels for label in MODERATION_LABELS] for row in rows]
    shape = (-1, len(MODERATION_LABELS))
    return np.array(holds, bool).reshape(shape), np.array(known, bool).reshape(shape)


def ranked_phrases(
    pipeline: Pipeline, rows: Sequence[LabelledRow]
) -> list[tuple[list[str], list[float]]]:
    """Folded keywords and their scores per row, best first."""
    return [_listed(result, generated=False) for result in _results(pipeline, rows)]


def generated_phrases(
    pipeline: Pipeline, rows: Sequence[LabelledRow]
) -> list[tuple[list[str], list[float]]]:
    """Folded generated keywords and their scores per row, best first."""
    return [_listed(result, generated=True) for result in _results(pipeline, rows, generate=True)]


def present_keywords(row: KeywordsRow) -> set[str]:
    """The gold keywords that occur in the text, folded."""
    text = fold(row.text)
    return {keyword for keyword in map(fold, row.keywords) if keyword and keyword in text}


def absent_keywords(row: KeywordsRow) -> set[str]:
    """The gold keywords that do not occur in the text, folded."""
    text = fold(row.text)
    return {keyword for keyword in map(fold, row.all_keywords) if keyword and keyword not in text}


def fold(phrase: str) -> str:
    """Lower-case, and blanks folded to one."""
    return " ".join(phrase.lower().split())


def keywords_measures(
    rows: Sequence[KeywordsRow], ranked: Sequence[Sequence[str]]
) -> KeywordsMeasures:
    """Measure phrase lists, one per row and best first."""
    pairs = [(present_keywords(row), phrases) for row, phrases in zip(rows, ranked, strict=True)]
    pairs = [(gold, phrases) for gold, phrases in pairs if gold]
    at_5 = [metrics.f1_at(gold, phrases, 5) for gold, phrases in pairs]
    at_10 = [metrics.f1_at(gold, phrases, 10) for gold, phrases in pairs]
    return KeywordsMeasures(
        documents=len(rows),
        f1_at_5=_mean(at_5),
        f1_at_10=_mean(at_10),
        present_documents=len(pairs),
    )


def _keywords(pipeline: Pipeline, rows: Sequence[KeywordsRow]) -> KeywordsMeasures:
    results = list(_results(pipeline, rows, generate=pipeline.generates))
    found = keywords_measures(rows, [_listed(result, generated=False)[0] for result in results])
    if not pipeline.generates:
        return found
    made = (_listed(result, generated=True)[0] for result in results)
    pairs = [
        (gold, phrases)
        for row, phrases in zip(rows, made, strict=True)
        if (gold := absent_keywords(row))
    ]
    shares = [len(gold.intersection(phrases[:10])) / len(gold) for gold, phrases in pairs]
    return found.model_copy(
        update={
            "absent_f1_at_5": _mean([metrics.f1_at(gold, made, 5) for gold, made in pairs]),
            "absent_recall_at_10": _mean(shares),
            "absent_documents": len(pairs),
        }
    )


def _listed(result: Result | Failure, *, generated: bool) -> tuple[list[str], list[float]]:
    """Folded keywords that were generated, or that were found, and their scores."""
    if not isinstance(result, KeywordsResult):
        return [], []
    chosen = [keyword for keyword in result.keywords if keyword.generated is generated]
    return [fold(keyword.text) for keyword in chosen], [keyword.score for keyword in chosen]


def majority(rows: Sequence[LabelledRow]) -> float | None:
    """Accuracy of always saying the commonest label; None where the task has no such thing."""
    labels = Counter(row.label for row in rows if isinstance(row, SentimentRow))
    return max(labels.values()) / labels.total() if labels else None


def sentiment_measures(rows: Sequence[SentimentRow], scores: metrics.Floats) -> SentimentMeasures:
    """Measure scores of each label, (rows, labels)."""
    gold = np.array([SENTIMENT_LABELS.index(row.label) for row in rows])
    predicted = scores.argmax(axis=1)
    return SentimentMeasures(
        documents=len(rows),
        loss=metrics.log_loss(gold, scores),
        accuracy=float((gold == predicted).mean()),
        macro_f1=metrics.macro_f1(gold, predicted),
        macro_recall=metrics.macro_recall(gold, predicted),
        ece=metrics.calibration_error(gold == predicted, scores.max(axis=1)),
    )


def moderation_measures(
    rows: Sequence[ModerationRow], scores: metrics.Floats, thresholds: Mapping[str, float]
) -> ModerationMeasures:
    """Measure scores of each label, (rows, labels), with the threshold of each."""
    decided = scores >= np.array([thresholds[label] for label in MODERATION_LABELS])
    holds, known = moderation_gold(rows)
    flag, flag_score = np.any(holds, axis=1), np.where(known, scores, 0).max(axis=1)
    return ModerationMeasures(
        documents=len(rows),
        flag_f1=metrics.f1(flag, np.any(decided & known, axis=1)),
        flag_auc=metrics.auc(flag, flag_score),
        ece=metrics.calibration_error(holds[known], scores[known]) if known.any() else 0.0,
        labels={
            label: _label(holds[at, column], decided[at, column], scores[at, column])
            for column, label in enumerate(MODERATION_LABELS)
            if (at := known[:, column]).any()
        },
    )


def _label(
    holds: metrics.Bools, decided: metrics.Bools, scores: NDArray[np.float64]
) -> LabelMeasures:
    precision, recall = metrics.precision_recall(holds, decided)
    return LabelMeasures(
        precision=precision,
        recall=recall,
        f1=metrics.harmonic_mean(precision, recall),
        auc=metrics.auc(holds, scores),
        support=int(holds.sum()),
    )


def _results(
    pipeline: Pipeline, rows: Sequence[LabelledRow], *, generate: bool = False
) -> Iterator[Result | Failure]:
    for first in range(0, len(rows), _BLOCK):
        texts = [row.text for row in rows[first : first + _BLOCK]]
        yield from analyse(pipeline, texts, generate=generate)


RowT = TypeVar("RowT")


def _of(kind: type[RowT], rows: Sequence[object]) -> list[RowT]:
    return [row for row in rows if isinstance(row, kind)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
