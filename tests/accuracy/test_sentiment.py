"""Sentiment beyond the data sets."""

from pathlib import Path

from schema.documents import Task
from worker.pipeline import Pipeline
from worker.pipeline.artifact import SHIPPED
from worker.training.evaluate import evaluate
from worker.training.measures import SentimentMeasures
from worker.training.rows import RowFile, SentimentRow

EVERYDAY = Path(__file__).parent / "everyday_sentiment.jsonl"
"""Written by somebody who knew neither training data nor what was written for training."""
LEAST_RIGHT = 0.77


def test_sentiment_is_right_beyond_the_data_sets() -> None:
    """Without it a model could be good at reviews and tweets alone."""
    pipeline = Pipeline.load(SHIPPED / Task.SENTIMENT, "cpu")

    measures = evaluate(pipeline, list(RowFile(EVERYDAY, SentimentRow)))

    assert isinstance(measures, SentimentMeasures)
    assert measures.accuracy >= LEAST_RIGHT
