"""The linear model over character n-grams, alone and pooled with the network."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save_file

from schema.errors import ArtifactError
from schema.outcomes import SENTIMENT_LABELS, SentimentLabel, SentimentResult
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import (
    CHARACTER_NGRAMS,
    TOKENIZER,
    Additions,
    read_config,
    read_model,
)
from worker.pipeline.character_ngrams import BITS, CharacterNgrams, buckets
from worker.pipeline.predict import serving_form
from worker.pipeline.records import FloatArray
from worker.pipeline.tokenize import Tokenizer
from worker.training.calibrate import pool_weights
from worker.training.character_ngrams import fit_character_ngrams, logits_of
from worker.training.evaluate import sentiment_scores
from worker.training.rows import SentimentRow

NEGATIVE, NEUTRAL, POSITIVE = range(len(SENTIMENT_LABELS))


def rows(label: SentimentLabel, *texts: str) -> list[SentimentRow]:
    return [SentimentRow(text=text, label=label) for text in texts]


def learned(*sets: Sequence[SentimentRow]) -> CharacterNgrams:
    return fit_character_ngrams([list(rows) * 50 for rows in sets], [], None, seed=0)


def knowing(word: str) -> CharacterNgrams:
    """Takes n-grams of `word` that "a cup of milk" lacks as positive; the network has no weight."""
    weights = np.zeros((2**BITS, len(SENTIMENT_LABELS)), np.float32)
    found, other = buckets([word]).ids, buckets(["a cup of milk"]).ids
    weights[np.setdiff1d(found, other), POSITIVE] = 10
    return CharacterNgrams(weights, [0.0] * len(SENTIMENT_LABELS), (0.0, 1.0))


def score(ngrams: CharacterNgrams, text: str) -> FloatArray:
    [row] = ngrams.logits([text])
    return np.asarray(row)


@pytest.fixture
def network(artifacts: Path) -> Pipeline:
    """A sentiment network without character n-grams."""
    return pipeline(artifacts, None)


def pipeline(artifacts: Path, ngrams: CharacterNgrams | None, window: int = 256) -> Pipeline:
    folder = artifacts / "sentiment"
    config = replace(read_config(folder), window=window, overlap=window // 8)
    return Pipeline(
        config,
        Tokenizer.load(folder / TOKENIZER),
        serving_form(read_model(folder, config.model, "cpu"), "cpu"),
        "test",
        Additions(character_ngrams=ngrams),
    )


def analysed(pipeline: Pipeline, *texts: str, explain: bool = False) -> list[SentimentResult]:
    results = analyse(pipeline, texts, explain=explain)
    return [result for result in results if isinstance(result, SentimentResult)]


def test_ngrams_fall_into_the_buckets_of_every_release() -> None:
    """Without it a release could read an artifact's weights from the wrong buckets."""
    assert buckets(["ab"]).ids.tolist() == [
        17429,
        69901,
        100801,
        123034,
        134195,
        164950,
        194021,
        194910,
        250274,
    ]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
def test_every_text_has_scores(text: str) -> None:
    """Without it a document of one character, or of none, would fail."""
    found, counts = buckets([text])

    assert 1 <= len(found) <= 4 * len(text) + 2
    assert len(set(found.tolist())) == len(found) == counts.sum()
    assert found.max() < 2**BITS
    assert np.isfinite(knowing("good").logits([text])).all()


@settings(deadline=None)
@given(
    texts=st.lists(st.text(st.sampled_from("ab 好\U0001f600"), max_size=12), max_size=20),
    most=st.integers(1, 30),
)
def test_no_text_influences_another(texts: list[str], most: int) -> None:
    """Without it a score would depend on the documents that happen to share a chunk."""
    ngrams = knowing("ab好")
    weights = np.random.default_rng(0).normal(size=ngrams.weights.shape).astype(np.float32)
    ngrams = replace(ngrams, weights=weights)
    alone = [ngrams.logits([text])[0] for text in texts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.pipeline.character_ngrams._MOST_CHARACTERS", most)
        together = ngrams.logits(texts)

    assert together.shape == (len(texts), len(SENTIMENT_LABELS))
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))


def test_words_that_no_training_text_holds_are_told_apart() -> None:
    """Without it misspellings and other forms of known words would mean nothing to the model."""
    ngrams = learned(
        rows("positive", "wonderful day", "a wonderful room")
        + rows("negative", "horrible day", "a horrible room")
        + rows("neutral", "a day", "the room")
    )

    assert np.argmax(score(ngrams, "wonderfully")) == POSITIVE
    assert np.argmax(score(ngrams, "horribly")) == NEGATIVE


def test_a_label_that_a_source_lacks_is_not_taught_away() -> None:
    """Without it a source of reviews without neutral ones would teach that no review is neutral."""
    reviews = rows("positive", "good tea", "fine tea") + rows("negative", "bad tea", "poor tea")
    posts = rows("neutral", "bus 5", "a bus") + rows("positive", "nice bus", "neat bus")

    apart = score(learned(reviews, posts), "tea")
    together = score(learned(reviews + posts), "tea")

    assert apart[NEUTRAL] - max(apart) > together[NEUTRAL] - max(together)


def test_what_people_judged_speaks_of_every_label() -> None:
    """Without it feedback with a single label would teach next to nothing."""
    posts = rows("positive", "a tea") + rows("negative", "a bus") + rows("neutral", "a day")
    judged = rows("negative", "xyzzy") * 50

    as_source = score(learned(posts, judged), "xyzzy")
    refined = fit_character_ngrams([posts * 50], judged * 50, None, seed=0)
    as_judged = score(refined, "xyzzy")

    assert as_judged[NEGATIVE] - as_judged[NEUTRAL] > as_source[NEGATIVE] - as_source[NEUTRAL]


def test_the_same_rows_and_seed_give_the_same_weights() -> None:
    """Without it an artifact could not be made again from its card."""
    source = rows("positive", "good tea", "fine soup") + rows("negative", "bad tea")

    one, other = learned(source), learned(source)

    assert (one.weights == other.weights).all()
    assert one.bias == other.bias


def test_little_new_data_refines_what_was_learned_before() -> None:
    """Without it a retraining on little data would forget what the n-grams knew."""
    parent = learned(rows("positive", "good tea") + rows("negative", "bad tea"))
    parent = replace(parent, pool_weights=(0.6, 0.4))

    refined = fit_character_ngrams([], rows("negative", "xyzzy") * 20, parent, seed=0)

    assert refined.pool_weights == parent.pool_weights
    assert score(refined, "xyzzy")[NEGATIVE] > score(parent, "xyzzy")[NEGATIVE]
    assert np.argmax(score(refined, "good")) == POSITIVE


def test_training_scores_a_text_as_serving_does() -> None:
    """Without it weights would be fitted to another model than the one that serves."""
    ngrams = learned(rows("positive", "good tea") + rows("negative", "bad tea"))
    texts = ["good", "a bad cup of tea, a very bad one", "好"]
    found = [buckets([text]).ids.astype(np.int32) for text in texts]

    trained = logits_of(found, torch.from_numpy(ngrams.weights), torch.tensor(ngrams.bias))

    assert trained.numpy() == pytest.approx(ngrams.logits(texts), abs=1e-5)


def test_stored_weights_score_as_they_did_when_they_were_made(tmp_path: Path) -> None:
    """Without it the shipped model could differ from the measured one."""
    ngrams = learned(rows("positive", "good tea") + rows("negative", "bad tea"))

    ngrams.save(tmp_path / CHARACTER_NGRAMS)

    stored = CharacterNgrams.load(tmp_path / CHARACTER_NGRAMS)
    assert (score(stored, "tea") == score(ngrams, "tea")).all()


def test_a_broken_file_names_the_remedy(tmp_path: Path) -> None:
    """Without it a broken installation ends in a traceback that helps nobody."""
    (tmp_path / CHARACTER_NGRAMS).write_text("{}")

    with pytest.raises(ArtifactError, match="install the artifact again"):
        CharacterNgrams.load(tmp_path / CHARACTER_NGRAMS)


@pytest.mark.parametrize(
    "broken",
    [
        {"weights": np.zeros((2**16, 3))},
        {"bias": np.zeros(2)},
        {"pool_weights": np.array([1.0, np.nan])},
        {"pool_weights": np.array([1.0])},
    ],
    ids=["buckets", "labels", "not-a-number", "one-weight"],
)
def test_a_file_of_another_shape_is_refused(
    tmp_path: Path, broken: dict[str, NDArray[np.float64]]
) -> None:
    """Without it the worker starts, and then every document fails."""
    parts = {"weights": np.zeros((2**BITS, 3)), "bias": np.zeros(3), "pool_weights": np.ones(2)}
    save_file(parts | broken, tmp_path / CHARACTER_NGRAMS)

    with pytest.raises(ArtifactError, match="install the artifact again"):
        CharacterNgrams.load(tmp_path / CHARACTER_NGRAMS)


def test_only_sentiment_has_character_ngrams(artifacts: Path) -> None:
    """Without it other tasks would pay for n-grams that do not help them."""
    assert read_config(artifacts / "sentiment").character_ngrams
    assert not read_config(artifacts / "moderation").character_ngrams
    assert (artifacts / "sentiment" / CHARACTER_NGRAMS).is_file()


def test_without_weight_the_network_decides(network: Pipeline, artifacts: Path) -> None:
    """Without it a model with few validation rows would be worse than its network."""
    ngrams = replace(knowing("tea"), pool_weights=(1.0, 0.0))

    [alone] = analysed(network, "a cup of tea")
    [both] = analysed(pipeline(artifacts, ngrams), "a cup of tea")

    assert both.scores == pytest.approx(alone.scores, abs=2e-6)


def test_a_known_word_raises_its_label(artifacts: Path) -> None:
    """Without it the learned n-grams would change nothing."""
    tea, milk = analysed(pipeline(artifacts, knowing("tea")), "a cup of tea", "a cup of milk")

    assert tea.scores["positive"] > milk.scores["positive"] == pytest.approx(1 / 3, abs=1e-5)


def test_every_window_of_a_long_document_is_judged_by_its_own_text(artifacts: Path) -> None:
    """Without it a window would be judged by text that it does not hold."""
    of_windows = pipeline(artifacts, knowing("tea"), window=32)
    text = "milk and bread. " * 40

    document = of_windows.prepare(text)
    plain, begins, ends = analysed(of_windows, text, "tea " + text, text + "tea")

    texts = list(document.window_texts())
    assert len(texts) == len(document.windows) > 1
    assert all(piece in document.clean.text for piece in texts)
    assert texts[0] != document.clean.text
    assert begins.scores["positive"] > plain.scores["positive"]
    assert ends.scores["positive"] > plain.scores["positive"]


def test_a_long_document_needs_no_character_ngrams(artifacts: Path) -> None:
    """Without it every long document would fail with an artifact of an earlier release."""
    of_windows = pipeline(artifacts, None, window=32)

    [result] = analysed(of_windows, "milk and bread. " * 40)

    assert result.score > 0


def test_an_explanation_names_what_the_ngrams_know(artifacts: Path) -> None:
    """Without it an explanation would describe another model than the one that scored."""
    text = "We had a cup of Tea and some bread"

    [result] = analysed(pipeline(artifacts, knowing("tea")), text, explain=True)

    assert result.explanation is not None
    strongest, *others = result.explanation[result.label]
    assert "Tea" in text[slice(*strongest.span)]
    assert all(abs(item.weight) < strongest.weight / 2 for item in others)


def test_ngrams_that_validation_contradicts_get_no_weight(network: Pipeline) -> None:
    """Without it n-grams that know nothing would blur what the network knows."""
    wise = learned(rows("positive", "xyzzy") + rows("negative", "plugh"))
    judged = (rows("positive", "xyzzy", "so xyzzy") + rows("negative", "plugh", "so plugh")) * 125
    wrong = [row.model_copy(update={"label": _other(row.label)}) for row in judged]

    assert pool_weights(network, wise, judged)[1] > 0
    assert pool_weights(network, wise, wrong)[1] == 0
    assert pool_weights(network, wise, judged[:-1]) == wise.pool_weights == (1.0, 0.0)


def test_calibration_pools_as_serving_does(network: Pipeline) -> None:
    """Without it the weights would be fitted to another pool than the one that serves."""
    ngrams = learned(rows("positive", "xyzzy") + rows("negative", "plugh"))
    judged = rows("positive", "xyzzy") + rows("negative", "plugh")
    alone = sentiment_scores(network, judged).astype(np.float32)

    def loss(weights: tuple[float, float]) -> float:
        pooled = replace(ngrams, pool_weights=weights).pooled
        positive, negative = pooled(alone, ["xyzzy", "plugh"])
        return -float(np.log(positive[POSITIVE]) + np.log(negative[NEGATIVE]))

    best = pool_weights(network, ngrams, judged * 250)

    assert loss(best) <= min(loss((0.5, 0.5)), loss((1.2, 0.5)), loss((0.3, 0.95)))


def test_pooled_scores_sum_to_one() -> None:
    """Without it a score would not be a probability."""
    alone = np.array([[0.2, 0.3, 0.5], [0, 0, 1]], np.float32)

    both = knowing("tea").pooled(alone, ["no tea", "tea"])

    assert both.sum(axis=1) == pytest.approx([1, 1])
    assert (both >= 0).all()


def _other(label: SentimentLabel) -> SentimentLabel:
    return "negative" if label == "positive" else "positive"
