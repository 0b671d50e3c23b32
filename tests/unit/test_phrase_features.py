"""The features of a phrase that the ranker sees."""

import numpy as np
import pytest
from hypothesis import given, settings

from tests.fixtures.ranking import (
    CASE,
    NEIGHBOURS,
    TITLE,
    counts,
    document_of,
    phrase_at,
    proposed,
)
from tests.strategies import any_texts
from worker.pipeline.phrase_features import DENSE, features
from worker.pipeline.phrase_hashes import KINDS, NO_BUCKET
from worker.pipeline.phrases import layout_of


@settings(deadline=None)
@given(any_texts)
def test_features_are_finite_for_any_text(text: str) -> None:
    """Without it one odd document could give a score that is not a number."""
    original = f"文 {text}"
    document = document_of(original)
    phrases = proposed(document)

    known = features(document, phrases, layout_of(document, original), counts())

    assert known.dense.shape == (len(phrases), DENSE)
    assert known.buckets.shape == (len(phrases), len(KINDS))
    assert np.isfinite(known.dense).all()
    assert (known.buckets < NO_BUCKET).all()


def test_counts_are_those_of_the_training_texts() -> None:
    """Without it the ranker would use counts of texts that it has not read."""
    text = "glass, solar cells, tea"
    document = document_of(text)
    phrases = [phrase_at(document, "glass"), phrase_at(document, "tea")]

    seen = features(document, phrases, layout_of(document, text), counts())
    unseen = features(document, phrases, layout_of(document, text), counts().without())

    assert (seen.dense[0] != unseen.dense[0]).any()
    assert (seen.dense[1] == unseen.dense[1]).all()
    assert (unseen.buckets == NO_BUCKET).all()


@pytest.mark.parametrize(
    "lines",
    [
        "&quot;solar power&quot; on ﬁre\nwe studied solar cells",
        ' "solar power" on fire \r\n\r\nwe studied solar cells',
    ],
)
def test_a_phrase_of_the_title_is_told_from_one_below_it(lines: str) -> None:
    """Without it the tagger's folded line breaks would hide where a title ends."""
    document = document_of(lines)
    line = lines.replace("\n", " ")
    phrases = [
        phrase_at(document, phrase) for phrase in ("solar power", "fire", "studied", "solar")
    ]

    titled = features(document, phrases, layout_of(document, lines), counts()).dense
    untitled = features(document, phrases, layout_of(document, line), counts()).dense

    told = titled[:, TITLE] - untitled[:, TITLE]
    assert told[:, 0].tolist() == [1, 1, 0, 1]
    assert told[0, 2] == pytest.approx(np.log1p(len('"solar power" on fire')))
    assert (np.delete(titled, TITLE, axis=1) == np.delete(untitled, TITLE, axis=1)).all()


def test_a_phrase_that_always_goes_on_alike_is_told_from_one_that_does_not() -> None:
    """Without it half of a term would be returned as the term."""
    alike, otherwise = "光子晶体，光子晶体", "光子晶体，光子晶格"

    [piece], [phrase] = (
        features(
            document, [phrase_at(document, "光子晶")], layout_of(document, text), counts()
        ).dense
        for text in (alike, otherwise)
        for document in [document_of(text)]
    )

    assert np.flatnonzero(piece != phrase).tolist() == [NEIGHBOURS[1]]
    assert piece[NEIGHBOURS] == pytest.approx([0, 1])
    assert phrase[NEIGHBOURS] == pytest.approx([0, 0.5])


def test_names_are_told_from_words_that_begin_a_sentence() -> None:
    """Without it the places and firms in the news would be treated like any other words."""
    text = "Solar&nbsp;power pays. We met Al Glass, of DNA, near a solar power plant."
    document = document_of(text)
    names = ["solar power", "we met", "al glass", "met al", "dna", "plant"]
    phrases = [phrase_at(document, name) for name in names]

    known = features(document, phrases, layout_of(document, text), counts()).dense[:, CASE]
    lower = features(document, phrases, layout_of(document, text.lower()), counts()).dense[:, CASE]

    assert known.tolist() == [
        [0, 0.5, 0, 1],
        [0, 0.5, 0, 1],
        [1, 1, 0, 1],
        [0.5, 0.5, 0, 1],
        [1, 1, 1, 1],
        [0, 0, 0, 1],
    ]
    assert not lower.any()


@pytest.mark.parametrize(
    "text",
    ["Notes\nSolar power pays", 'He said: "solar" and "Solar power pays"', "茶。Solar power"],
)
def test_a_capital_that_a_title_or_a_quotation_asks_for_names_nothing(text: str) -> None:
    """Without it the first words below a headline would be taken for a name."""
    document = document_of(text)

    known = features(
        document, [phrase_at(document, "solar power")], layout_of(document, text), counts()
    ).dense[:, CASE]

    assert known.tolist() == [[0, 0.5, 0, 1]]


@pytest.mark.parametrize(
    "text",
    [
        "(Solar power) pays, as we know\non glass",
        "it pays.\n\n(Solar power) as well",
        "it pays.\r\n\r\n(Solar power) as well",
        "it pays. \n\n(Solar power) as well",
    ],
)
def test_texts_and_paragraphs_begin_with_one_character(text: str) -> None:
    """Without it the line ends would decide whether a name after a bracket counts as a name."""
    document = document_of(text)

    known = features(
        document, [phrase_at(document, "solar power")], layout_of(document, text), counts()
    ).dense[:, CASE]

    assert known.tolist() == [[0.5, 0.5, 0, 1]]


def test_a_place_over_the_end_of_a_title_lends_a_phrase_no_capital() -> None:
    """Without it words on both sides of a headline's end would look like a name."""
    text = "Rain and Solar\nPower pays. We sell solar power."
    document = document_of(text)
    phrase = phrase_at(document, "solar power.")._replace(text="solar power")

    known = features(document, [phrase], layout_of(document, text), counts()).dense[:, CASE]

    assert known.tolist() == [[0, 0, 0, 1]]


def test_a_longer_word_lends_a_phrase_no_capital() -> None:
    """Without it `art` would be a name wherever an `Artist` is one."""
    text = "some art by the Artist"
    document = document_of(text)

    known = features(
        document, [phrase_at(document, "art")], layout_of(document, text), counts()
    ).dense[:, CASE]

    assert known.tolist() == [[0, 0, 0, 1]]
