"""Explanations of what moved a score."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.documents import Task
from schema.outcomes import RESULT, ModerationResult, SentimentResult
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.explain import MOST_SPANS, MOST_UNITS, evidence, occlude
from worker.pipeline.postprocess import sentiment_result
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import FloatArray, TokenizedDocument
from worker.pipeline.tokenize import Tokenizer

TOKENIZER = Tokenizer.train([preprocess("good bad")], size=260)
NEGATIVE = SentimentResult(
    language="en",
    model_version="1",
    label="negative",
    score=0.6,
    scores={"negative": 0.6, "neutral": 0.1, "positive": 0.3},
)


def document_of(text: str, window: int = 256) -> TokenizedDocument:
    return TOKENIZER.tokenize(preprocess(text), spans=True, window=window, overlap=0)


def scores(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float32)


def answers(document: TokenizedDocument, weights: dict[str, float]) -> list[str]:
    """The texts of the strongest spans if each word adds its weight to the score."""
    occlusion = occlude(NEGATIVE, document, [scores(sum(weights.values()))])
    words = document.clean.text.split()
    texts = [
        " ".join(
            word
            for index, word in enumerate(words)
            if not unit.first <= int(np.searchsorted(document.words, index)) < unit.last
        )
        for unit in occlusion.units
    ]
    found = [
        scores(sum(weight for part, weight in weights.items() if part in text)) for text in texts
    ]
    return [
        document.clean.text[slice(*item.span)] for item in evidence(document, occlusion, found, 0)
    ]


def test_the_words_that_carry_a_score_come_first() -> None:
    """Without it an explanation would name words that do not matter."""
    document = document_of("this was awful and sad indeed")

    assert answers(document, {"awful": 0.5, "sad": 0.2}) == ["awful", "sad"]


def test_two_words_that_count_only_together_are_given_together() -> None:
    """Without it `not good` would be explained by neither of its words."""
    document = document_of("this was not good indeed")
    occlusion = occlude(NEGATIVE, document, [scores(0.9)])
    spans = [
        document.clean.text[document.starts[u.first] : document.ends[u.last - 1]]
        for u in occlusion.units
    ]
    found = [scores(0.1 if span == "not good" else 0.9) for span in spans]

    [item] = evidence(document, occlusion, found, 0)

    assert document.clean.text[slice(*item.span)] == "not good"
    assert item.weight == pytest.approx(0.8)


def test_the_window_with_the_highest_score_is_explained() -> None:
    """Without it an explanation would name words of a harmless part."""
    document = document_of("fine fine fine awful awful awful", window=12)
    predictions = [scores(0.1) for _ in document.windows]
    predictions[-1] = scores(0.8)

    occlusion = occlude(NEGATIVE, document, predictions)

    assert all(unit.first >= document.windows[-1][0] for unit in occlusion.units)


def test_the_window_is_one_that_speaks_for_the_label() -> None:
    """Without it `negative` could be explained by a window of praise that is surer of its label."""
    document = document_of("awful awful awful fine fine", window=15)
    assert len(document.windows) == 2
    predictions = [scores(0.55, 0.05, 0.4), scores(0.35, 0.05, 0.6)]
    result = sentiment_result(document, predictions, "1")
    assert result.label == "negative"

    occlusion = occlude(result, document, predictions)

    assert {unit.last <= document.windows[0][1] for unit in occlusion.units} == {True}


@given(st.integers(1, 400))
def test_the_work_is_bounded(words: int) -> None:
    """Without it a long document would cost a forward pass per word."""
    document = document_of("ab " * words, window=10**6)

    occlusion = occlude(NEGATIVE, document, [scores(0.5)])

    assert len(occlusion.windows) == len(occlusion.units) < 2 * MOST_UNITS
    assert all(len(window) for window in occlusion.windows)


def test_a_document_of_one_word_has_nothing_to_leave_out() -> None:
    """Without it the shortest documents would fail when an explanation is requested."""
    document = document_of("good")

    occlusion = occlude(NEGATIVE, document, [scores(0.5)])

    assert evidence(document, occlusion, [], 0) == []


@pytest.mark.parametrize("task", [Task.SENTIMENT, Task.MODERATION])
def test_results_carry_an_explanation_only_where_asked(task: Task, artifacts: Path) -> None:
    """Without it every stored result would grow, or requested explanations would be missing."""
    pipeline = Pipeline.load(artifacts / task, "cpu")
    texts = [
        "The soup was \u200bcold and a\u200bwful",
        "味道很差，不会再来",
        "ok",
        "win a prize " * 300,
    ]

    plain = analyse(pipeline, texts)
    explained = analyse(pipeline, texts, explain=True)

    for text, without, result in zip(texts, plain, explained, strict=True):
        assert isinstance(result, SentimentResult | ModerationResult)
        assert result.explanation is not None
        assert result.model_copy(update={"explanation": None}) == without
        assert RESULT.validate_json(result.model_dump_json()) == result
        assert "explanation" not in without.model_dump_json()
        for found in result.explanation.values():
            assert len(found) <= MOST_SPANS
            assert all(0 <= item.span[0] < item.span[1] <= len(text) for item in found)


def test_a_weight_is_what_the_model_says_without_the_word(artifacts: Path) -> None:
    """Without it an explanation could describe another model than the one that serves."""
    pipeline = Pipeline.load(artifacts / "sentiment", "cpu")
    text = "lovely staff great room awful soup"

    [result] = analyse(pipeline, [text], explain=True)

    assert isinstance(result, SentimentResult)
    assert result.explanation is not None
    for item in result.explanation[result.label]:
        start, end = item.span
        [without] = analyse(pipeline, [text[:start] + text[end:]])
        assert isinstance(without, SentimentResult)
        assert result.score - without.scores[result.label] == pytest.approx(item.weight, abs=1e-3)
