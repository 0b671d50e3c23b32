"""How good a pipeline is on labelled rows."""

from collections.abc import Iterator, Sequence

import numpy as np

from schema.documents import Task
from schema.outcomes import (
    MODERATION_LABELS,
    SENTIMENT_LABELS,
    Failure,
    KeywordsResult,
    ModerationResult,
    Result,
    SentimentResult,
)
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse_stream
from worker.pipeline.artifact import Additions, ArtifactConfig
from worker.pipeline.model import Model
from worker.pipeline.predict import serving_form
from worker.pipeline.ranker import Ranker
from worker.pipeline.tokenize import Tokenizer
from worker.training import metrics
from worker.training.measures import (
    Measures,
    folded,
    keywords_measures,
    moderation_measures,
    sentiment_measures,
)
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow, of_type


def evaluate(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> Measures:
    """Measure a pipeline on rows of its task, at least one."""
    match pipeline.task:
        case Task.SENTIMENT:
            sentiment = of_type(SentimentRow, rows)
            return sentiment_measures(sentiment, sentiment_scores(pipeline, sentiment))
        case Task.MODERATION:
            moderation = of_type(ModerationRow, rows)
            scores = moderation_scores(pipeline, moderation)
            return moderation_measures(moderation, scores, pipeline.thresholds)
        case Task.KEYWORDS:
            keywords = of_type(KeywordsRow, rows)
            results = list(_results(pipeline, keywords, generate=pipeline.generates))
            found, generated = (
                [_phrases(result, generated=which)[0] for result in results]
                for which in (False, True)
            )
            return keywords_measures(keywords, found, generated if pipeline.generates else None)


def sentiment_scores(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> metrics.Floats:
    """Score of each label, (rows, labels); all equal if a document cannot be analysed."""
    uniform = dict.fromkeys(SENTIMENT_LABELS, 1 / len(SENTIMENT_LABELS))
    scores = [
        result.scores if isinstance(result, SentimentResult) else uniform
        for result in _results(pipeline, rows)
    ]
    return np.array([[score[label] for label in SENTIMENT_LABELS] for score in scores])


def moderation_scores(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> metrics.Floats:
    """Score of each label, (rows, labels); 0 if a document cannot be analysed."""
    clean = dict.fromkeys(MODERATION_LABELS, 0.0)
    scores = [
        result.scores if isinstance(result, ModerationResult) else clean
        for result in _results(pipeline, rows)
    ]
    values = [[score[label] for label in MODERATION_LABELS] for score in scores]
    return np.array(values).reshape(-1, len(MODERATION_LABELS))


def ranked_phrases(
    pipeline: Pipeline, rows: Sequence[LabelledRow]
) -> list[tuple[list[str], list[float]]]:
    """Folded keywords and their scores per row, best first."""
    return [_phrases(result, generated=False) for result in _results(pipeline, rows)]


def generated_phrases(
    pipeline: Pipeline, rows: Sequence[LabelledRow]
) -> list[tuple[list[str], list[float]]]:
    """Folded generated keywords and their scores per row, best first."""
    return [_phrases(result, generated=True) for result in _results(pipeline, rows, generate=True)]


def in_memory(
    config: ArtifactConfig, tokenizer: Tokenizer, model: Model, ranker: Ranker | None = None
) -> Pipeline:
    """A pipeline over a network still in training; puts the network in evaluation mode."""
    network = serving_form(model.eval(), "cpu")
    return Pipeline(config, tokenizer, network, "unfinished", Additions(ranker=ranker))


def _phrases(result: Result | Failure, *, generated: bool) -> tuple[list[str], list[float]]:
    """Either the generated or the found keywords of a result, folded, and their scores."""
    if not isinstance(result, KeywordsResult):
        return [], []
    chosen = [keyword for keyword in result.keywords if keyword.generated is generated]
    return [folded(keyword.text) for keyword in chosen], [keyword.score for keyword in chosen]


def _results(
    pipeline: Pipeline, rows: Sequence[LabelledRow], *, generate: bool = False
) -> Iterator[Result | Failure]:
    return analyse_stream(pipeline, (row.text for row in rows), generate=generate)
