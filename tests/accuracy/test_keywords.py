"""Keywords beyond the data sets."""

from pathlib import Path

import pytest

from schema.documents import Task
from worker.pipeline import Pipeline
from worker.pipeline.artifact import SHIPPED
from worker.training.evaluate import evaluate
from worker.training.measures import KeywordsMeasures
from worker.training.rows import KeywordsRow, RowFile

DOMAINS = Path(__file__).parent / "domains_keywords.jsonl"
LEAST_F1 = {"en": 0.4, "zh": 0.37}
"""F1@5 by language on documents of eighteen kinds, such as news and contracts. Their writers
knew neither training data nor what was written for training."""


class Document(KeywordsRow):
    """A document with the keywords that its writer gave it."""

    lang: str


@pytest.mark.parametrize("language", LEAST_F1)
def test_keywords_are_found_beyond_the_data_sets(language: str) -> None:
    """Without it a model could be good at abstracts and titles alone."""
    pipeline = Pipeline.load(SHIPPED / Task.KEYWORDS, "cpu")
    rows = [row for row in RowFile(DOMAINS, Document) if row.lang == language]

    measures = evaluate(pipeline, rows)

    assert isinstance(measures, KeywordsMeasures)
    assert measures.present_documents == len(rows) > 100
    assert measures.f1_at_5 >= LEAST_F1[language]
