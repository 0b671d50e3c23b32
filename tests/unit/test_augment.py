"""Training noise is seeded and bounded, and leaves the gold correct."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import any_texts
from worker.pipeline.preprocess import preprocess
from worker.training.augment import MIX, Noise, augment, augment_row
from worker.training.rows import KeywordsRow, SentimentRow

ENGLISH = "Call me at 555 0199, see https://example.org/a?b=1 and ask @marta. It cost 3.5 euros!"
CHINESE = "我觉得这家店的服务很好，价格也不贵，推荐给大家！电话 13800000000。"


def only(noise: Noise, text: str, seed: int = 0) -> str:
    return augment(text, np.random.default_rng(seed), {noise: 1.0})


@settings(deadline=None)  # the first conversion reads dictionaries
@given(any_texts, st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_text(text: str, seed: int) -> None:
    """Without it a training could not be repeated."""
    first, second = (
        augment(text, np.random.default_rng(seed), dict.fromkeys(MIX, 1.0)) for _ in "ab"
    )

    assert first == second


@settings(deadline=None)  # the first conversion reads dictionaries
@given(any_texts, st.integers(0, 2**32))
def test_noise_never_bloats_a_text(text: str, seed: int) -> None:
    """Without it noisy copies would fill the memory during training."""
    everything: dict[Noise, float] = dict.fromkeys(MIX, 1.0)
    everything["mask"] = everything["case"] = 0.0

    noisy = augment(text, np.random.default_rng(seed), everything)

    assert len(noisy) <= 2 * len(text) + 16


@pytest.mark.parametrize("text", [ENGLISH, CHINESE])
@pytest.mark.parametrize("noise", sorted(MIX))
def test_each_noise_does_something(noise: Noise, text: str) -> None:
    """Without it a kind of noise could be listed in the mix and never reach the model."""
    if (noise, text) in {("traditional", ENGLISH), ("case", CHINESE)}:
        assert only(noise, text) == text
    else:
        assert any(only(noise, text, seed) != text for seed in range(5))


def test_about_half_of_all_texts_stay_as_they_are() -> None:
    """Without it a model would learn that text is always damaged."""
    rng = np.random.default_rng(0)

    same = sum(augment(ENGLISH, rng) == ENGLISH for _ in range(2000)) / 2000

    assert 0.45 < same < 0.7


@pytest.mark.parametrize("noise", ["case", "full_width", "traditional"])
def test_what_cleaning_undoes_is_the_same_for_the_model(noise: Noise) -> None:
    """Without it training would spend its rows on noise that no model ever sees."""
    assert preprocess(only(noise, CHINESE)).text == preprocess(CHINESE).text


def test_punctuation_inside_numbers_and_words_stays() -> None:
    """Without it noise would change what a text says."""
    texts_seen = {only("punctuation", "It isn't 3.5, a-b.", seed) for seed in range(20)}

    assert "It isn't 3.5 a-b" in texts_seen
    assert all("isn't 3.5" in text and "a-b" in text for text in texts_seen)


def test_a_masked_text_has_no_address_name_or_number_of_its_own() -> None:
    """Without it a model would learn that masks mark certain sources."""
    for seed in range(10):
        masked = only("mask", ENGLISH, seed)

        assert "example.org" not in masked
        assert "marta" not in masked
        assert "555 0199" not in masked


@given(st.integers(0, 2**32))
def test_keywords_survive_or_the_row_is_left_alone(seed: int) -> None:
    """Without it a tagger would learn to pass over keywords, or the generator to invent them."""
    row = KeywordsRow(
        text="Thin film solar cells: a survey of thin film growth. 太阳能电池的研究综述。",
        keywords=("thin film", "solar cells", "太阳能电池", "photovoltaics"),
    )

    seen = preprocess(augment_row(row, np.random.default_rng(seed)).text).text

    assert all(keyword in seen for keyword in row.keywords[:3])


@given(st.integers(0, 2**32))
def test_a_typo_never_loses_a_chinese_character(seed: int) -> None:
    """Without it `not good` could become `good` with the same gold."""
    assert "不" in only("typo", "价格不贵", seed)


def test_a_row_keeps_its_gold() -> None:
    """Without it noise would teach wrong labels."""
    rng = np.random.default_rng(1)
    row = SentimentRow(text=CHINESE, label="positive")

    noisy = [augment_row(row, rng) for _ in range(50)]

    assert {item.text for item in noisy} - {CHINESE}
    assert all(isinstance(item, SentimentRow) and item.label == "positive" for item in noisy)
