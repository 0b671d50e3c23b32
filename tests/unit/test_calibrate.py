"""Temperatures and thresholds that are chosen on validation rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from schema.outcomes import MODERATION_LABELS
from tests.fixtures.corpus import ADVERTS, BLAME, PLAIN, PRAISE
from worker.pipeline import Pipeline
from worker.training import calibrate
from worker.training.calibrate import (
    keyword_threshold,
    moderation_temperatures,
    moderation_thresholds,
    sentiment_temperature,
)
from worker.training.evaluate import moderation_scores
from worker.training.rows import KeywordsRow, ModerationRow, SentimentRow


def test_labels_that_are_often_wrong_lower_the_confidence(artifacts: Path) -> None:
    """Without it a score of 0.99 could be right only half of the time."""
    pipeline = Pipeline.load(artifacts / "sentiment", "cpu")
    right = [SentimentRow(text=text, label="positive") for text in PRAISE]
    wrong = [SentimentRow(text=text, label="positive") for text in BLAME]

    sure, unsure = (sentiment_temperature(pipeline, rows) for rows in (right, right + wrong))

    assert sure[0] < unsure[0]


def test_ordinary_texts_stay_below_every_threshold(artifacts: Path) -> None:
    """Without it the threshold with the best F1 could flag what everyone writes."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    adverts = [ModerationRow(text=text, labels=frozenset({"spam"})) for text in ADVERTS]
    ordinary = [ModerationRow(text=text, labels=frozenset()) for text in PLAIN]

    thresholds = moderation_thresholds(pipeline, [adverts], ordinary)

    highest = moderation_scores(pipeline, ordinary).max(axis=0)
    assert (highest < np.array([thresholds[label] for label in MODERATION_LABELS])).all()


def test_ordinary_texts_of_which_nothing_is_known_bound_no_threshold(artifacts: Path) -> None:
    """Without it insults in bad reviews would count as ordinary, and no insult would be flagged."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    adverts = [ModerationRow(text=text, labels=frozenset({"spam"})) for text in ADVERTS]
    unknown = [
        ModerationRow(text=text, labels=frozenset(), annotated=frozenset({"fraud"}))
        for text in ADVERTS
    ]

    bounded = moderation_thresholds(pipeline, [adverts], unknown)

    assert bounded["spam"] == moderation_thresholds(pipeline, [adverts], [])["spam"]


def test_ordinary_texts_that_name_an_identity_bound_hate_by_themselves(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it these texts, few among all ordinary ones, could all be flagged."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    monkeypatch.setattr(calibrate, "moderation_scores", told_by_text)
    hate = [
        ModerationRow(text="0.3 of them", labels=frozenset({"hate"})),
        ModerationRow(text="0.2 of us", labels=frozenset()),
    ]
    calm = [ModerationRow(text="0.1 the train leaves", labels=frozenset())] * 1000
    named = ModerationRow(text="0.5 the gay choir sings", labels=frozenset())

    free = moderation_thresholds(pipeline, [hate], calm)
    bound = moderation_thresholds(pipeline, [hate], [*calm, named])

    assert 0.2 < free["hate"] <= 0.3
    assert bound["hate"] > 0.5
    assert bound["abuse"] == free["abuse"]


def test_a_large_source_does_not_choose_a_threshold_for_small_ones(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it the label would be found in the largest source, and hardly elsewhere."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    monkeypatch.setattr(calibrate, "moderation_scores", told_by_text)
    clear, veiled = (
        [
            ModerationRow(text=f"{held} of them", labels=frozenset({"hate"})),
            ModerationRow(text=f"{free} of them", labels=frozenset()),
        ]
        for held, free in ((0.6, 0.4), (0.2, 0.1))
    )
    calm = [ModerationRow(text="0.0 the train leaves", labels=frozenset())]

    apart = moderation_thresholds(pipeline, [clear * 50, veiled, veiled], calm)
    together = moderation_thresholds(pipeline, [clear * 50 + veiled + veiled], calm)

    assert 0.1 < apart["hate"] <= 0.2
    assert 0.4 < together["hate"] <= 0.6


def test_rows_of_sources_that_hold_a_label_or_lack_it_are_judged_together(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a label that each source has always or never would get the lowest threshold."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    monkeypatch.setattr(calibrate, "moderation_scores", told_by_text)
    hate = [ModerationRow(text="0.6 of them", labels=frozenset({"hate"}))]
    clean = [ModerationRow(text="0.4 of us", labels=frozenset())]
    calm = [ModerationRow(text="0.0 the train leaves", labels=frozenset())]

    thresholds = moderation_thresholds(pipeline, [hate, clean], calm)

    assert 0.4 < thresholds["hate"] <= 0.6


def told_by_text(_: Pipeline, rows: Sequence[ModerationRow]) -> NDArray[np.float64]:
    """Scores of each label, (rows, labels): the number with which a text begins."""
    return np.array([[float(row.text[:3])] * len(MODERATION_LABELS) for row in rows])


def test_a_label_without_annotations_keeps_its_temperature(artifacts: Path) -> None:
    """Without it a label that nobody judged would be calibrated on nothing."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    rows = [
        ModerationRow(text=text, labels=frozenset(), annotated=frozenset({"spam"}))
        for text in PLAIN
    ]

    temperatures = dict(
        zip(MODERATION_LABELS, moderation_temperatures(pipeline, rows), strict=True)
    )

    assert temperatures["fraud"] == 1
    assert temperatures["spam"] != 1


def test_the_keyword_threshold_has_the_best_f1(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it most keywords in a result could be wrong, or right ones could be left out."""
    pipeline = Pipeline.load(artifacts / "keywords", "cpu")
    ranked = {"soup": (["soup", "spoon"], [0.7, 0.5]), "tea": (["tea", "pot"], [0.6, 0.1])}
    rows = [KeywordsRow(text=text, keywords=(text,)) for text in ranked]
    monkeypatch.setattr(
        calibrate, "ranked_phrases", lambda _, rows: [ranked[row.text] for row in rows]
    )

    assert 0.5 < keyword_threshold(pipeline, [rows, []]) <= 0.6
