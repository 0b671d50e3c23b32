"""Sentiment of texts outside the data sets."""

from pathlib import Path

import pytest

from schema.documents import Task
from worker.pipeline import Pipeline
from worker.pipeline.artifact import SHIPPED
from worker.training.evaluate import evaluate
from worker.training.measures import SentimentMeasures
from worker.training.rows import RowFile, SentimentRow

HERE = Path(__file__).parent
LEAST_RIGHT = {
    "everyday_sentiment.jsonl": 0.82,
    "domains_sentiment.jsonl": 0.76,
    "contrasts_sentiment.jsonl": 0.75,
}
"""Least accuracy by file. The files hold sentences of everyday life, texts of many domains, such as
company news, and texts in which negation, contrast or irony decides. Their authors knew neither the
training data nor the texts written for training."""


@pytest.mark.parametrize("name", LEAST_RIGHT)
def test_sentiment_is_right_beyond_the_data_sets(name: str) -> None:
    """Without it a model could be good only at reviews and tweets."""
    pipeline = Pipeline.load(SHIPPED / Task.SENTIMENT, "cpu")

    measures = evaluate(pipeline, list(RowFile(HERE / name, SentimentRow)))

    assert isinstance(measures, SentimentMeasures)
    assert measures.accuracy >= LEAST_RIGHT[name]
