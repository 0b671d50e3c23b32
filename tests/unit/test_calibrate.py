"""Temperatures and thresholds that are chosen on validation rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from schema.outcomes import MODERATION_LABELS, ModerationLabel
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

KEPT: Final[dict[str, float]] = dict.fromkeys(MODERATION_LABELS, 0.5)


def test_labels_that_are_often_wrong_lower_the_confidence(artifacts: Path) -> None:
    """Without it a score of 0.99 could be right only half of the time."""
    pipeline = Pipeline.load(artifacts / "sentiment", "cpu")
    right = [SentimentRow(text=text, label="positive") for text in PRAISE] * 5
    right += [SentimentRow(text=text, label="negative") for text in BLAME] * 5
    wrong = [SentimentRow(text=text, label="positive") for text in BLAME] * 5

    sure, unsure = (sentiment_temperature(pipeline, rows, [1.0]) for rows in (right, right + wrong))

    assert sure[0] < unsure[0]


def test_ordinary_texts_stay_below_the_threshold(artifacts: Path) -> None:
    """Without it the threshold with the best F1 could flag what everyone writes."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    adverts = [ModerationRow(text=text, labels=frozenset({"spam"})) for text in ADVERTS]
    ordinary = [ModerationRow(text=text, labels=frozenset()) for text in PLAIN]

    thresholds = moderation_thresholds(pipeline, [adverts * 10 + ordinary * 7], ordinary, KEPT)

    spam = MODERATION_LABELS.index("spam")
    assert moderation_scores(pipeline, ordinary)[:, spam].max() < thresholds["spam"]


def test_ordinary_texts_of_which_nothing_is_known_bound_no_threshold(artifacts: Path) -> None:
    """Without it insults in bad reviews would count as ordinary, and no insult would be flagged."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    adverts = [ModerationRow(text=text, labels=frozenset({"spam"})) for text in ADVERTS]
    unknown = [
        ModerationRow(text=text, labels=frozenset(), annotated=frozenset({"fraud"}))
        for text in ADVERTS
    ]

    clean = [ModerationRow(text=text, labels=frozenset()) for text in PLAIN]
    judged = adverts * 10 + clean * 7

    bounded = moderation_thresholds(pipeline, [judged], unknown, KEPT)

    assert bounded["spam"] == moderation_thresholds(pipeline, [judged], [], KEPT)["spam"]


def test_ordinary_texts_that_name_an_identity_bound_hate_by_themselves(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it these texts, few among all ordinary ones, could all be flagged."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    monkeypatch.setattr(calibrate, "moderation_scores", told_by_text)
    hate = [
        ModerationRow(text="0.3 of them", labels=frozenset({"hate", "abuse"})),
        ModerationRow(text="0.2 of us", labels=frozenset()),
    ]
    calm = [ModerationRow(text="0.1 the train leaves", labels=frozenset())] * 1000
    named = ModerationRow(text="0.5 the gay choir sings", labels=frozenset())

    free = moderation_thresholds(pipeline, [hate * 20], calm, KEPT)
    bound = moderation_thresholds(pipeline, [hate * 20], [*calm, named], KEPT)

    assert 0.2 < free["hate"] <= 0.3
    assert bound["hate"] > 0.5
    assert 0.2 < bound["abuse"] == free["abuse"] <= 0.3


def test_few_ordinary_texts_bound_a_threshold_by_the_same_share(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a label flags one in forty ordinary texts if there are but forty."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    monkeypatch.setattr(calibrate, "moderation_scores", told_by_text)
    spam = [
        ModerationRow(text="0.3 prize", labels=frozenset({"spam"})),
        ModerationRow(text="0.1 train", labels=frozenset()),
    ]
    calm = [ModerationRow(text="0.1 tea", labels=frozenset())] * 39
    alarming = ModerationRow(text="0.6 tea", labels=frozenset())

    thresholds = moderation_thresholds(pipeline, [spam * 20], [*calm, alarming], KEPT)

    assert thresholds["spam"] > 0.6


def test_neither_a_large_source_nor_a_few_rows_choose_a_threshold(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a label is found in the largest source alone, or two verdicts flag everything."""
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

    apart = moderation_thresholds(pipeline, [clear * 50, veiled * 10, veiled * 10], calm, KEPT)
    together = moderation_thresholds(pipeline, [clear * 50 + veiled * 20], calm, KEPT)
    few = moderation_thresholds(pipeline, [clear * 50, veiled, veiled], calm, KEPT)

    assert 0.1 < apart["hate"] <= 0.2
    assert 0.4 < together["hate"] <= 0.6
    assert 0.4 < few["hate"] <= 0.6


def test_rows_of_sources_that_hold_a_label_or_lack_it_are_judged_together(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a label that each source has always or never would get the lowest threshold."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    monkeypatch.setattr(calibrate, "moderation_scores", told_by_text)
    hate = [ModerationRow(text="0.6 of them", labels=frozenset({"hate"}))]
    clean = [ModerationRow(text="0.4 of us", labels=frozenset())]
    calm = [ModerationRow(text="0.0 the train leaves", labels=frozenset())]

    thresholds = moderation_thresholds(pipeline, [hate * 20, clean * 20], calm, KEPT)

    assert 0.4 < thresholds["hate"] <= 0.6


def told_by_text(_: Pipeline, rows: Sequence[ModerationRow]) -> NDArray[np.float64]:
    """Scores of each label, (rows, labels): the number with which a text begins."""
    return np.array([[float(row.text[:3])] * len(MODERATION_LABELS) for row in rows])


@pytest.mark.parametrize(("held", "free"), [(0, 40), (40, 0), (19, 40), (40, 19), (20, 20)])
def test_a_label_that_too_few_rows_show_keeps_its_calibration(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, held: int, free: int
) -> None:
    """Without it, labels that one's own data lacks would be found everywhere or nowhere."""
    pipeline = Pipeline.load(artifacts / "moderation", "cpu")
    monkeypatch.setattr(calibrate, "moderation_scores", told_by_text)
    spam = frozenset[ModerationLabel]({"spam"})
    rows = [ModerationRow(text="0.8 prize", labels=spam, annotated=spam)] * held
    rows += [ModerationRow(text="0.7 train", labels=frozenset(), annotated=spam)] * free
    ordinary = [ModerationRow(text="0.1 tea", labels=frozenset())] * 100
    temperatures = [1.5] * len(MODERATION_LABELS)

    thresholds = moderation_thresholds(pipeline, [rows], ordinary, KEPT)
    chosen = moderation_temperatures(pipeline, rows, ordinary, temperatures)

    changed = {label for label in MODERATION_LABELS if thresholds[label] != KEPT[label]}
    place = MODERATION_LABELS.index("spam")
    assert changed == (spam if min(held, free) == 20 else set())
    assert (chosen[place] != 1.5) == (min(held, free) == 20)
    assert chosen[:place] + chosen[place + 1 :] == temperatures[1:]


@pytest.mark.parametrize(("second", "kept"), [(19, True), (20, False)])
def test_few_rows_of_sentiment_keep_the_temperature(
    artifacts: Path, second: int, *, kept: bool
) -> None:
    """Without it, three praising rows would make every score extreme."""
    pipeline = Pipeline.load(artifacts / "sentiment", "cpu")
    rows = [SentimentRow(text=PRAISE[0], label="positive")] * 40
    rows += [SentimentRow(text=BLAME[0], label="negative")] * second

    assert (sentiment_temperature(pipeline, rows, [1.5]) == [1.5]) == kept


def test_the_keyword_threshold_has_the_best_f1(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it most keywords in a result could be wrong, or right ones could be left out."""
    pipeline = Pipeline.load(artifacts / "keywords", "cpu")
    ranked = {"soup": (["soup", "spoon"], [0.7, 0.5]), "tea": (["tea", "pot"], [0.6, 0.1])}
    rows = [KeywordsRow(text=text, keywords=(text,)) for text in ranked] * 10
    monkeypatch.setattr(
        calibrate, "ranked_phrases", lambda _, rows: [ranked[row.text] for row in rows]
    )

    assert 0.5 < keyword_threshold(pipeline, [rows, []], 0.3) <= 0.6
    assert keyword_threshold(pipeline, [rows[1:], []], 0.3) == 0.3
