"""From predictions to results."""

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.outcomes import MODERATION_LABELS, KeywordsResult
from tests.strategies import ordinary_texts
from worker.pipeline.phrases import layout_of, phrases_of
from worker.pipeline.postprocess import (
    keywords_result,
    moderation_result,
    sentiment_result,
    with_generated,
)
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import Candidate, Cut, FloatArray, Layout, TokenizedDocument
from worker.pipeline.tokenize import Tokenizer

TOKENIZER = Tokenizer.train([preprocess("good bad")], size=260)
"""Nearly a token per byte, so that candidates may begin and end inside words."""

CUT = Cut(limit=10, threshold=0.1)

HALF: dict[str, float] = dict.fromkeys(MODERATION_LABELS, 0.5)


def document_of(text: str, window: int = 256, overlap: int = 0) -> TokenizedDocument:
    """`text`, with spans."""
    return TOKENIZER.tokenize(preprocess(text), spans=True, window=window, overlap=overlap)


def probabilities(*values: float) -> FloatArray:
    """One window's prediction."""
    return np.array(values, dtype=np.float32)


def candidate(document: TokenizedDocument, phrase: str, score: float, nth: int = 0) -> Candidate:
    """The `nth` occurrence of `phrase` in the cleaned text, as tokens of a single window."""
    at = -1
    for _ in range(nth + 1):
        at = document.clean.text.index(phrase, at + 1)
    first = int(np.searchsorted(document.starts, at))
    last = int(np.searchsorted(document.ends, at + len(phrase), side="right"))
    return Candidate(first, last, score)


def found_in(
    document: TokenizedDocument, text: str, predictions: Sequence[list[Candidate]], cut: Cut = CUT
) -> KeywordsResult:
    """The result for `text` if the model proposes these candidates in each window."""
    layout = layout_of(document, text)
    return keywords_result(document, phrases_of(document, predictions, layout), layout, cut, "v")


def keywords(
    text: str, phrases: Iterable[tuple[str, float]], limit: int = 10, threshold: float = 0.1
) -> KeywordsResult:
    """The result for `text` if the model proposes `phrases`, given as cleaned text."""
    document = document_of(text)
    proposed = [candidate(document, phrase, score) for phrase, score in phrases]
    return found_in(document, text, [proposed], Cut(limit, threshold))


def test_sentiment_windows_count_by_their_length() -> None:
    """Without it the short last window of a long document would weigh as much as a full one."""
    document = document_of("xyzw" * 2, window=6)

    result = sentiment_result(
        document, [probabilities(0.8, 0.1, 0.1), probabilities(0.0, 0.0, 1.0)], "v"
    )

    assert result.label == "negative"
    assert result.score == result.scores["negative"] == pytest.approx(0.6)
    assert sum(result.scores.values()) == pytest.approx(1)


def test_one_bad_passage_flags_the_whole_document() -> None:
    """Without it abuse could hide in a long harmless text."""
    document = document_of("xyzw" * 2, window=6)
    harmless, bad = probabilities(*[0.1] * 7), probabilities(0.9, 0.1, 0.1, 0.1, 0.1, 0.95, 0.1)

    result = moderation_result(document, [harmless, bad], HALF, "v")

    assert result.flagged
    assert result.labels == ["fraud", "abuse"]
    assert set(result.scores) == set(MODERATION_LABELS)


@pytest.mark.parametrize(("score", "flagged"), [(0.5, True), (0.499, False)])
def test_a_label_holds_from_its_threshold_on(score: float, flagged: bool) -> None:  # noqa: FBT001
    """Without it labels in a result would contradict its scores and the card's thresholds."""
    result = moderation_result(document_of("x"), [probabilities(score, *[0.0] * 6)], HALF, "v")

    assert result.flagged is flagged
    assert result.labels == (["abuse"] if flagged else [])


def test_a_keyword_points_into_the_original_text() -> None:
    """Without it a highlighted phrase would be shifted by every repair before it."""
    text = "<b>我们</b>研究 機器學習 &amp; Deep\u200b Learning"

    result = keywords(text, [("机器学习", 0.9), ("deep learning", 0.8)])

    assert [keyword.text for keyword in result.keywords] == ["機器學習", "Deep\u200b Learning"]
    assert [text[slice(*keyword.spans[0])] for keyword in result.keywords] == [
        "機器學習",
        "Deep\u200b Learning",
    ]


def test_phrases_that_differ_in_case_width_or_script_are_one() -> None:
    """Without it a result would list the same phrase again and again."""
    text = "機器學習 and 机器学习, ＡＰＩ and api"

    result = keywords(text, [("机器学习", 0.9), ("api", 0.8)])

    assert [(keyword.text, keyword.spans) for keyword in result.keywords] == [
        ("機器學習", [(0, 4), (9, 13)]),
        ("ＡＰＩ", [(15, 18), (23, 26)]),
    ]


def test_a_candidate_is_widened_to_whole_words() -> None:
    """Without it keywords would be cut in the middle of a word."""
    result = keywords("the transformers of covid19 here", [("former", 0.9), ("covid", 0.8)])

    assert [keyword.text for keyword in result.keywords] == ["transformers", "covid19"]


def test_generated_keywords_follow_those_that_were_found() -> None:
    """Without it generated keywords could displace those found in the text."""
    text = "Solar Cells on glass, with love"
    found = keywords(text, [("solar cells", 0.3)])
    made = [("physics", 0.9), ("solar cells", 0.8), ("glass", 0.7), ("physics", 0.6), ("", 0.5)]

    result = with_generated(found, document_of(text), made, Layout(text))

    assert [keyword.model_dump() for keyword in result.keywords] == [
        {"text": "Solar Cells", "score": 0.3, "spans": [(0, 11)]},
        {"text": "physics", "score": 0.9, "generated": True},
        {"text": "glass", "score": 0.7, "spans": [(15, 20)], "generated": True},
    ]


@pytest.mark.parametrize("sign", ["\ufffd", "\0", "\n", "\x85"])
def test_a_generated_keyword_of_signs_that_are_no_text_is_left_out(sign: str) -> None:
    """Without it half a character is stored as a keyword, or a NUL fails the whole chunk."""
    made = [(f"a{sign}", 0.9)]

    result = with_generated(keywords("tea", []), document_of("tea"), made, Layout("tea"))

    assert result.keywords == []


def test_generated_word_that_is_said_twice_is_left_out() -> None:
    """Without it a phone is described by "phone phone"."""
    made = [("phone phone", 0.3), ("电池电池", 0.2), ("bora borat", 0.1), ("妈妈", 0.1)]

    result = with_generated(keywords("tea", []), document_of("tea"), made, Layout("tea"))

    assert [keyword.text for keyword in result.keywords] == ["bora borat", "妈妈"]


def test_a_keyword_has_no_punctuation_around_it() -> None:
    """Without it punctuation would turn one keyword into several."""
    result = keywords("about “solar cells”, c++ and #tags", [("“solar cells”,", 0.9), ("c++", 0.8)])

    assert [keyword.text for keyword in result.keywords] == ["solar cells", "c++"]


def test_punctuation_alone_is_no_keyword() -> None:
    """Without it dots would take the place of a keyword."""
    assert keywords("well... yes", [("...", 0.9)]).keywords == []


def test_a_short_phrase_is_not_found_inside_longer_words() -> None:
    """Without it `art` would be marked in `party`."""
    text = "party art start"
    document = document_of(text)
    proposed = candidate(document, "art", 0.9, nth=1)

    result = found_in(document, text, [[proposed]])

    assert result.keywords[0].spans == [(6, 9)]


def test_no_keyword_reaches_over_the_end_of_a_title_or_of_a_paragraph() -> None:
    """Without it the last word of a title and the first of the text could be one keyword."""
    text = "&quot;solar \u200b\nCells are\nnew \r\n\r\n tea and solar cells"
    document = document_of(text)
    proposed = [
        candidate(document, phrase, score)
        for phrase, score in [
            ("solar cells", 0.9),
            ("are new", 0.8),
            ("new tea", 0.7),
            ("tea", 0.6),
        ]
    ]
    below = candidate(document, "solar cells", 0.5, nth=1)

    over = found_in(document, text, [proposed])
    within = found_in(document, text, [[below]])

    assert [keyword.text for keyword in over.keywords] == ["are\nnew", "tea"]
    assert [text[slice(*span)] for span in within.keywords[0].spans] == ["solar cells"]
    found = within.model_copy(update={"keywords": []})
    made = with_generated(found, document, [("new tea", 0.4)], layout_of(document, text))
    assert [(keyword.text, keyword.spans) for keyword in made.keywords] == [("new tea", [])]


def test_lines_that_are_wrapped_by_hand_have_no_title() -> None:
    """Without it a keyword that spans the first line break of a mail would be lost."""
    wrapped, titled = "Panels of solar\ncells on glass", "on solar\nCells on glass"
    indented = "Panels of solar\n cells on glass"

    found = [
        found_in(document, text, [[proposed]]).keywords
        for text in (wrapped, indented, titled)
        for document in [document_of(text)]
        for proposed in [candidate(document, "solar cells", 0.9)]
    ]

    assert [[keyword.text for keyword in keywords] for keywords in found] == [
        ["solar\ncells"],
        ["solar\n cells"],
        [],
    ]


def test_a_phrase_inside_a_better_one_is_dropped_unless_it_stands_elsewhere() -> None:
    """Without it half of the list would repeat the other half."""
    inside = keywords("solar cells are good", [("solar cells", 0.9), ("cells", 0.5)])
    elsewhere = keywords("solar cells are cells", [("solar cells", 0.9), ("cells", 0.5)])

    assert [keyword.text for keyword in inside.keywords] == ["solar cells"]
    assert [keyword.text for keyword in elsewhere.keywords] == ["solar cells", "cells"]


def test_phrases_that_are_one_place_in_the_original_text_are_one_keyword() -> None:
    """Text that was damaged twice maps as a whole: the same keyword would fill the whole list."""
    text = "图像和文字".encode().decode("latin-1").encode().decode("latin-1")

    found = keywords(text, [("图像", 0.9), ("文字", 0.8)]).keywords

    assert [(keyword.text, keyword.spans) for keyword in found] == [(text, [(0, len(text))])]


def test_a_keyword_names_each_place_once() -> None:
    """Text that was damaged twice maps as a whole: whoever counts spans would count it often."""
    text = "图像和图像".encode().decode("latin-1").encode().decode("latin-1")

    found = keywords(text, [("图像", 0.9)]).keywords

    assert [keyword.spans for keyword in found] == [[(0, len(text))]]


def test_places_add_up_but_overlapping_windows_count_once() -> None:
    """Without it a phrase would score higher only because two windows overlap there."""
    text = "tea and tea or"
    document = document_of(text, window=10, overlap=8)
    whole = [candidate(document, "tea", 0.5), candidate(document, "tea", 0.5, nth=1)]
    predictions = [
        [
            Candidate(first_token - offset, last_token - offset, score)
            for first_token, last_token, score in whole
            if offset <= first_token and last_token <= end
        ]
        for offset, end in document.windows
    ]
    assert [len(candidates) for candidates in predictions] == [2, 1]

    result = found_in(document, text, predictions)

    assert [keyword.score for keyword in result.keywords] == [pytest.approx(0.75)]


def test_keywords_are_ranked_limited_and_sure_enough() -> None:
    """Without it guesses would be listed among the keywords."""
    phrases = [("alpha", 0.3), ("beta", 0.9), ("gamma", 0.6), ("delta", 0.05)]

    result = keywords("alpha beta gamma delta", phrases, limit=2)
    unlimited = keywords("alpha beta gamma delta", phrases)

    assert [keyword.text for keyword in result.keywords] == ["beta", "gamma"]
    assert [keyword.text for keyword in unlimited.keywords] == ["beta", "gamma", "alpha"]


@settings(deadline=None)
@given(ordinary_texts, st.data())
def test_every_span_of_a_keyword_reads_like_its_text(text: str, data: st.DataObject) -> None:
    """Without it a span could mark something other than the keyword."""
    text = f"<p>{text}</p>"
    document = document_of(text)
    count = len(document.ids)
    borders = st.lists(st.integers(0, count), min_size=2, max_size=2, unique=True).map(sorted)
    ranges = data.draw(st.lists(borders, max_size=6))
    candidates = [Candidate(first, last, 0.5) for first, last in ranges]

    result = found_in(document, text, [candidates])

    for keyword in result.keywords:
        key = preprocess(keyword.text).text
        assert keyword.text == text[slice(*keyword.spans[0])]
        assert {preprocess(text[slice(*span)]).text for span in keyword.spans} == {key}


def test_a_long_text_of_many_paragraphs_takes_no_longer_than_another() -> None:
    """Without it line ends could block a worker; the test fails by its timeout."""
    text = "tea\n\n" * 200_000
    document = document_of(text, window=10**6)
    proposed = [candidate(document, "tea", 0.9, nth=10)]

    result = found_in(document, text, [proposed])

    assert [len(keyword.spans) for keyword in result.keywords] == [200_000]


def test_a_word_that_stands_everywhere_in_a_long_text_is_found() -> None:
    """Without it a repetitive document could block a worker; the test fails by its timeout."""
    text = "tea or tea and " * 20_000
    document = document_of(text, window=10**6)
    proposed = [candidate(document, phrase, 0.9) for phrase in ("tea", "or tea", "and")]

    result = found_in(document, text, [proposed])

    assert sorted(len(keyword.spans) for keyword in result.keywords) == [20_000, 20_000, 40_000]
