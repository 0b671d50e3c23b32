"""Measures scores and phrase lists against gold: the arithmetic of `evaluate`."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from schema.base import Frozen
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS, is_absent
from worker.training import metrics
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow


class SentimentMeasures(Frozen):
    """Measures of sentiment; means are over the classes that occur in the gold.

    Attributes:
        documents: rows measured; one that cannot be analysed has the same score for all labels,
            and counts as wrong.
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
    """Measures of one moderation label, over the rows in which it is annotated.

    Attributes:
        precision: share of the predicted rows that are right.
        recall: share of the gold rows that are found.
        f1: their harmonic mean, at the artifact's threshold.
        auc: area under the ROC curve, null if a class is missing.
        support: rows that have the label.
    """

    precision: float
    recall: float
    f1: float
    auc: float | None
    support: int


class ModerationMeasures(Frozen):
    """Measures of moderation, over annotated labels only.

    Attributes:
        documents: rows measured; if one cannot be analysed, all its labels have score 0.
        flag_f1: F1 of "any annotated label holds", over rows with annotations.
        flag_auc: area under the ROC curve of the highest annotated score; null if a class is
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
    """Measures of keywords, by exact match after lower-casing and folding blanks.

    Attributes:
        documents: rows measured.
        f1_at_5: mean F1 of the best five phrases over `present_documents`.
        f1_at_10: the same for the best ten.
        present_documents: rows with a gold keyword that occurs in the text; only those keywords
            count.
        absent_f1_at_5: mean F1 of the best five generated keywords over `absent_documents`; this
            and the next two are missing if the artifact has no generator.
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


def sentiment_measures(rows: Sequence[SentimentRow], scores: metrics.Floats) -> SentimentMeasures:
    """Measure scores of each label, (rows, labels)."""
    gold = sentiment_gold(rows)
    predicted = best_labels(scores)
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
    """Measure scores of each label, (rows, labels), decided by the label's threshold."""
    decisions = decided(scores, thresholds)
    holds, known = moderation_gold(rows)
    judged = known.any(axis=1)
    flag, flag_score = np.any(holds, axis=1), np.where(known, scores, 0).max(axis=1)
    flagged = np.any(decisions & known, axis=1)
    return ModerationMeasures(
        documents=len(rows),
        flag_f1=metrics.f1(flag[judged], flagged[judged]),
        flag_auc=metrics.auc(flag[judged], flag_score[judged]),
        ece=metrics.calibration_error(holds[known], scores[known]) if known.any() else 0.0,
        labels={
            label: _label(holds[at, column], decisions[at, column], scores[at, column])
            for column, label in enumerate(MODERATION_LABELS)
            if (at := known[:, column]).any()
        },
    )


def _label(
    holds: metrics.Bools, decisions: metrics.Bools, scores: NDArray[np.float64]
) -> LabelMeasures:
    precision, recall = metrics.precision_recall(holds, decisions)
    return LabelMeasures(
        precision=precision,
        recall=recall,
        f1=metrics.harmonic_mean(precision, recall),
        auc=metrics.auc(holds, scores),
        support=int(holds.sum()),
    )


def keywords_measures(
    rows: Sequence[KeywordsRow],
    found: Sequence[Sequence[str]],
    generated: Sequence[Sequence[str]] | None = None,
) -> KeywordsMeasures:
    """Measure phrase lists, one per row and best first.

    Args:
        rows: hold the gold keywords.
        found: folded phrases that occur in the text.
        generated: folded phrases that need not occur in it; None if the artifact has no generator.
    """
    present = _beside_gold(map(present_keywords, rows), found)
    measures = KeywordsMeasures(
        documents=len(rows),
        f1_at_5=_mean_f1_at(5, present),
        f1_at_10=_mean_f1_at(10, present),
        present_documents=len(present),
    )
    if generated is None:
        return measures
    absent = _beside_gold(map(absent_keywords, rows), generated)
    shares = [len(gold.intersection(phrases[:10])) / len(gold) for gold, phrases in absent]
    return measures.model_copy(
        update={
            "absent_f1_at_5": _mean_f1_at(5, absent),
            "absent_recall_at_10": _mean(shares),
            "absent_documents": len(absent),
        }
    )


def decided(scores: metrics.Floats, thresholds: Mapping[str, float]) -> metrics.Bools:
    """Which moderation labels reach their thresholds, (rows, labels)."""
    return np.asarray(scores >= [thresholds[label] for label in MODERATION_LABELS])


def best_labels(scores: metrics.Floats) -> metrics.Ints:
    """The place of each row's best label, (rows,); -1, which is no label, if all score alike."""
    return np.where(scores.max(axis=1) > scores.min(axis=1), scores.argmax(axis=1), -1)


def sentiment_gold(rows: Sequence[SentimentRow]) -> metrics.Ints:
    """The place of each row's label in `SENTIMENT_LABELS`, (rows,)."""
    return np.array([SENTIMENT_LABELS.index(row.label) for row in rows])


def moderation_gold(rows: Sequence[ModerationRow]) -> tuple[metrics.Bools, metrics.Bools]:
    """Which labels hold, and which are annotated; both (rows, labels)."""
    holds = [[label in row.labels for label in MODERATION_LABELS] for row in rows]
    known = [[label in row.annotated | row.labels for label in MODERATION_LABELS] for row in rows]
    shape = (-1, len(MODERATION_LABELS))
    return np.array(holds, bool).reshape(shape), np.array(known, bool).reshape(shape)


def present_keywords(row: KeywordsRow) -> set[str]:
    """The gold keywords that occur in the text, folded."""
    text = folded(row.text)
    return {keyword for keyword in map(folded, row.keywords) if keyword and keyword in text}


def absent_keywords(row: KeywordsRow) -> set[str]:
    """The gold keywords that do not occur in the text, folded."""
    text = folded(row.text)
    return {keyword for keyword in map(folded, row.all_keywords) if keyword and keyword not in text}


def folded(phrase: str) -> str:
    """Lower-case a phrase and fold each run of blanks into one."""
    return " ".join(phrase.lower().split())


def majority(rows: Sequence[LabelledRow]) -> float | None:
    """Accuracy of always answering the commonest label; None if the task is not sentiment."""
    labels = Counter(row.label for row in rows if isinstance(row, SentimentRow))
    return max(labels.values()) / labels.total() if labels else None


def _beside_gold(
    gold: Iterable[set[str]], phrases: Sequence[Sequence[str]]
) -> list[tuple[set[str], Sequence[str]]]:
    """Gold keywords and phrases of the rows that have any gold."""
    return [(keywords, ranked) for keywords, ranked in zip(gold, phrases, strict=True) if keywords]


def _mean_f1_at(best: int, pairs: Sequence[tuple[set[str], Sequence[str]]]) -> float:
    return _mean([metrics.f1_at(gold, phrases, best) for gold, phrases in pairs])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
