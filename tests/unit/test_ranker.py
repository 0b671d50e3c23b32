"""The ranker orders phrases by features that the tagger does not see."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from schema.errors import ArtifactError
from schema.outcomes import KeywordsResult
from tests.fixtures.ranking import CASE, TITLE, counts, document_of, phrase_at
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import RANKER, read_config
from worker.pipeline.phrase_features import features
from worker.pipeline.phrase_hashes import NO_BUCKET
from worker.pipeline.phrases import layout_of
from worker.pipeline.postprocess import keywords_result
from worker.pipeline.ranker import Ranker
from worker.pipeline.records import Cut, Phrase
from worker.training.ranker import LabelledPhrases, fit_weights, label_phrases
from worker.training.rows import KeywordsRow


def test_learned_weights_put_keywords_first() -> None:
    """Without it the list would stay in the tagger's order."""
    text = "solar cells here and other things there"
    document = document_of(text)
    phrases = [phrase_at(document, phrase) for phrase in ("other things", "solar cells")]
    seen = features(document, phrases, layout_of(document, text), counts())
    gold = np.array([phrase.text == "solar cells" for phrase in phrases], dtype=np.float32)
    weights = fit_weights([[LabelledPhrases([seen], gold, 0)] * 40], missed=0, seed=0)

    ranked = Ranker(counts(), weights).rank(document, phrases, layout_of(document, text))

    assert [phrase.text for phrase in ranked] == ["solar cells", "other things"]
    assert ranked[0].score > 0.8
    assert ranked[1].score < 0.2


def test_texts_that_are_shown_without_their_title_keep_their_capitals(artifacts: Path) -> None:
    """Without it the ranker would learn only half of what names are worth."""
    pipeline = Pipeline.load(artifacts / "keywords", "cpu")
    rows = [
        KeywordsRow(
            text=f"Good Tea\nSolar Cells on Glass, number {number}", keywords=("solar cells",)
        )
        for number in range(20)
    ]

    labelled = label_phrases(pipeline, rows, counts())

    titled = [item.views[0].dense[0, TITLE][1] for item in labelled]
    assert len(labelled) == len(rows)
    assert 0 < sum(titled) < len(rows)
    capitals = [item.views[0].dense[item.gold == 1, CASE].tolist() for item in labelled]
    assert capitals == [[[0.5, 1, 0, 1]]] * len(rows)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0, 3))
def test_as_many_are_given_as_promise_the_best_f1(scores: list[float], missed: float) -> None:
    """Without it even documents with few keywords would get ten."""
    words = [f"word{chr(97 + place)}" for place in range(len(scores))]
    text = " ".join(words)
    document = document_of(text)
    ordered = sorted(scores, reverse=True)
    phrases = [
        Phrase(word, score, score, 1, 0, 1) for word, score in zip(words, ordered, strict=True)
    ]

    result = keywords_result(
        document, phrases, layout_of(document, text), Cut(10, 0.0, missed), "v"
    )

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


def test_a_broken_ranker_is_refused(tmp_path: Path) -> None:
    """Without it a broken installation would end in a traceback that helps nobody."""
    (tmp_path / RANKER).write_text("{}")

    with pytest.raises(ArtifactError, match="install the artifact again"):
        Ranker.load(tmp_path / RANKER)


@pytest.mark.parametrize("name", ["mean", "hidden", "buckets"])
def test_a_ranker_of_another_version_is_refused(name: str, artifacts: Path, tmp_path: Path) -> None:
    """Without it every document would fail, or be ranked by weights of other features."""
    stored = load_file(artifacts / "keywords" / RANKER)
    save_file({**stored, name: stored[name][:-1].copy()}, tmp_path / RANKER)

    with pytest.raises(ArtifactError, match="another version of Textmill; train"):
        Ranker.load(tmp_path / RANKER)


def test_only_what_training_texts_told_of_has_a_weight() -> None:
    """Without it a document on an unseen subject would be ranked by words that it does not hold."""
    text = "solar cells here and other things there"
    document = document_of(text)
    phrases = [phrase_at(document, phrase) for phrase in ("other things", "solar cells")]
    seen = features(document, phrases, layout_of(document, text), counts())
    gold = np.array([0, 1], dtype=np.float32)
    unseen = seen._replace(buckets=np.full_like(seen.buckets, NO_BUCKET))

    weights = fit_weights([[LabelledPhrases([seen, unseen], gold, 0)] * 40], missed=0, seed=0)

    assert weights.buckets[NO_BUCKET] == 0
    assert (weights.buckets != 0).sum() == len(set(seen.buckets.flatten().tolist()))
    assert (weights(seen) != weights(unseen)).all()
