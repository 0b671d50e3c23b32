"""How a network is scored while it is trained."""

from collections.abc import Iterable
from typing import Final

from worker.pipeline.model import Model
from worker.pipeline.tokenize import Tokenizer
from worker.training.evaluate import evaluate, in_memory
from worker.training.measures import (
    KeywordsMeasures,
    Measures,
    ModerationMeasures,
    SentimentMeasures,
)
from worker.training.recipe import Recipe

FEWEST_ROWS: Final = 20
"""Fewest validation rows of a source that has a score of its own."""


class Validation:
    """Scores a network on the validation splits, higher is better.

    The score is the mean of macro F1 over the sources for sentiment, of AUC over the labels of each
    source for moderation, and of F1@5 over the sources for keywords. Sources of fewer than 20
    validation rows count only if no source has more: their scores would be chance.
    """

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self._config = recipe.config(tokenizer)
        self._tokenizer = tokenizer
        sets = [rows for _, rows in recipe.sets("valid") if rows]
        self._sets = [rows for rows in sets if len(rows) >= FEWEST_ROWS] or sets

    def __call__(self, model: Model) -> float:
        """Score `model`, which is left in evaluation mode."""
        pipeline = in_memory(self._config, self._tokenizer, model)
        return score_of(evaluate(pipeline, rows) for rows in self._sets)


def score_of(measured: Iterable[Measures]) -> float:
    """The score that `Validation` gives the measures of all sources; 0 if none can be scored."""
    scores = [score for measures in measured for score in _scores(measures)]
    return sum(scores) / max(len(scores), 1)


def _scores(measures: Measures) -> list[float]:
    match measures:
        case SentimentMeasures():
            return [measures.macro_f1]
        case KeywordsMeasures():
            return [measures.f1_at_5]
        case ModerationMeasures():
            return [label.auc for label in measures.labels.values() if label.auc is not None]
