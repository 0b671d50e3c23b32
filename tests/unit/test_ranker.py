"""The ranker orders phrases by what the tagger does not see."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.errors import ArtifactError
from schema.outcomes import KeywordsResult
from tests.strategies import any_texts
from worker.pipeline import Pipeline
from worker.pipeline.artifact import RANKER, read_config
from worker.pipeline.direct import analyse
from worker.pipeline.phrases import phrases_of
from worker.pipeline.postprocess import keywords_result
from worker.pipeline.preprocess import preprocess
from worker.pipeline.ranker import MOST, Ranker, features
from worker.pipeline.records import Candidate, Cut, Phrase, TokenizedDocument
from worker.pipeline.tokenize import Tokenizer
from worker.training.ranker import Judged, count, fit_weights
from worker.training.rows import KeywordsRow

TOKENIZER = Tokenizer.train([preprocess("good bad")], size=260)
ROWS = [
    KeywordsRow(text="solar cells on glass", keywords=("solar cells",)),
    KeywordsRow(text="glass and cheap solar cells", keywords=("Solar  Cells", "absent words")),
    KeywordsRow(text="glass is cheap. \u200b", keywords=("\u200b",)),
]
COUNTS = count(ROWS)


def document_of(text: str) -> TokenizedDocument:
    return TOKENIZER.tokenize(preprocess("文 " + text), spans=True, window=10**6, overlap=0)


def proposed(document: TokenizedDocument, score: float = 0.5) -> list[Phrase]:
    """Every short run of tokens as a phrase."""
    candidates = [
        Candidate(first, first + length, score)
        for first in range(min(len(document.ids), 40))
        for length in (1, 3, 9)
        if first + length <= len(document.ids)
    ]
    return phrases_of(document, [candidates])


@settings(deadline=None)
@given(any_texts)
def test_features_are_finite_for_any_text(text: str) -> None:
    """Without it one odd document could give a score that is no number."""
    document = document_of(text)
    phrases = proposed(document)[:MOST]

    values = features(document, phrases, COUNTS)

    assert values.shape[0] == len(phrases)
    assert np.isfinite(values).all()


def test_counts_are_those_of_the_training_texts() -> None:
    document = document_of("glass, solar cells, tea")
    phrases = [phrase for phrase in proposed(document) if phrase.text in {"glass", "tea"}]
    known, unknown = sorted(phrases, key=lambda phrase: phrase.text)

    with_counts = features(document, [known, unknown], COUNTS)
    without = features(document, [known, unknown], COUNTS.without())

    assert (with_counts[0] != without[0]).any()
    assert (with_counts[1] == without[1]).all()


def test_learned_weights_put_keywords_first() -> None:
    """Without it the list would stay in the tagger's order."""
    text = "solar cells here and other things there"
    document = document_of(text)
    chosen = {"solar cells", "other things"}
    words = [(text.index(phrase), text.index(phrase) + len(phrase)) for phrase in sorted(chosen)]
    phrases = [Phrase(text[first:last], 0.5, 0.5, 1, first + 2, last + 2) for first, last in words]
    seen = features(document, phrases, COUNTS)
    gold = np.array([phrase.text == "solar cells" for phrase in phrases], dtype=np.float32)
    weights = fit_weights([[Judged(seen, seen, gold, 0)] * 40], seed=0)

    ranked = Ranker(COUNTS, weights).rank(document, phrases)

    assert [phrase.text for phrase in ranked] == ["solar cells", "other things"]
    assert ranked[0].score > 0.8
    assert ranked[1].score < 0.2


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 3))
def test_as_many_are_given_as_promise_the_best_f1(scores: list[float], missed: float) -> None:
    words = [f"word{chr(97 + place)}" for place in range(len(scores))]
    text = " ".join(words)
    document = TOKENIZER.tokenize(preprocess(text), spans=True, window=10**6, overlap=0)
    ordered = sorted(scores, reverse=True)
    phrases = [
        Phrase(word, score, score, 1, 0, 1) for word, score in zip(words, ordered, strict=True)
    ]

    result = keywords_result(document, phrases, text, Cut(10, 0.0, missed), "v")

    promise = [
        2 * sum(ordered[:most]) / (most + sum(ordered) + missed)
        for most in range(1, min(len(scores), 10) + 1)
    ]
    assert promise[len(result.keywords) - 1] == pytest.approx(max(promise), abs=1e-5)


def test_an_artifact_ranks_as_it_did_when_it_was_made(artifacts: Path, tmp_path: Path) -> None:
    """Without it a stored ranker could differ from the one that was measured."""
    folder = artifacts / "keywords"
    assert read_config(folder).ranker
    ranker = Ranker.load(folder / RANKER)
    ranker.save(tmp_path / RANKER)

    assert (tmp_path / RANKER).read_bytes() == (folder / RANKER).read_bytes()
    [result] = analyse(Pipeline.load(folder, "cpu"), ["Solar cells for cheap solar power"])
    assert isinstance(result, KeywordsResult)
    assert all(0 <= keyword.score <= 1 for keyword in result.keywords)


def test_a_missing_ranker_is_said(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="install the artifact again"):
        Ranker.load(tmp_path / RANKER)
