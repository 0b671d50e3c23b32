"""What counts as right, and which rows count."""

import numpy as np
import pytest

from schema.outcomes import MODERATION_LABELS
from worker.training.measures import moderation_measures, sentiment_measures
from worker.training.rows import ModerationRow, SentimentRow


def test_a_document_that_cannot_be_analysed_counts_as_wrong() -> None:
    """Without it such documents count as right wherever their label is the first one."""
    rows = [SentimentRow(text="…", label="negative")] * 3

    measures = sentiment_measures(rows, np.full((3, 3), 1 / 3))

    assert (measures.accuracy, measures.macro_f1, measures.macro_recall) == (0, 0, 0)


def test_rows_without_annotations_decide_nothing() -> None:
    """Without it texts that nobody judged make a model that ranks everything wrong look good."""
    judged = [
        ModerationRow(text="win", labels=frozenset({"spam"}), annotated=frozenset({"spam"})),
        ModerationRow(text="tea", labels=frozenset(), annotated=frozenset({"spam"})),
    ]
    unknown = [ModerationRow(text="?", labels=frozenset(), annotated=frozenset())] * 30
    scores = np.zeros((32, len(MODERATION_LABELS)))
    scores[1] = 0.9
    thresholds = {str(label): 0.5 for label in MODERATION_LABELS}

    measures = moderation_measures([*judged, *unknown], scores, thresholds)

    assert measures.flag_auc == 0
    assert measures.flag_f1 == pytest.approx(0)
