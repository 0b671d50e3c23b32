"""Keywords in texts outside the data sets."""

from pathlib import Path

import pytest

from schema.documents import Task
from worker.pipeline import Pipeline
from worker.pipeline.artifact import SHIPPED
from worker.training.evaluate import evaluate
from worker.training.measures import KeywordsMeasures
from worker.training.rows import KeywordsRow, RowFile

HERE = Path(__file__).parent
LEAST_F1 = {
    "domains_keywords_en.jsonl": 0.45,
    "domains_keywords_zh.jsonl": 0.42,
}
"""Least F1@5 by file. Both files hold documents of fourteen kinds, such as news and contracts.
Their authors knew neither the training data nor the texts written for training."""


@pytest.mark.parametrize("name", LEAST_F1)
def test_keywords_are_found_beyond_the_data_sets(name: str) -> None:
    """Without it a model could be good only at abstracts and titles."""
    pipeline = Pipeline.load(SHIPPED / Task.KEYWORDS, "cpu")
    rows = list(RowFile(HERE / name, KeywordsRow))

    measures = evaluate(pipeline, rows)

    assert isinstance(measures, KeywordsMeasures)
    assert measures.present_documents == len(rows) > 100
    assert measures.f1_at_5 >= LEAST_F1[name]
