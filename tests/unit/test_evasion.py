"""Evasions are seeded, and change words only so far that a person can still read them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import any_texts
from worker.training.evasion import EVASIONS, MIX, Evasion, evade, evade_randomly

LATIN_ONLY = {"leetspeak", "homoglyphs", "full_width", "repeated"}
HAN_ONLY = {"traditional", "split_characters", "pinyin_initials"}


@settings(deadline=None)  # the first conversion reads dictionaries
@given(any_texts, st.sampled_from(EVASIONS), st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_text(text: str, evasion: Evasion, seed: int) -> None:
    """Without it neither a training nor a measurement could be repeated."""
    first, second = (evade(text, evasion, np.random.default_rng(seed)) for _ in "ab")

    assert first == second


@pytest.mark.parametrize("evasion", EVASIONS)
def test_an_evasion_changes_the_scripts_it_is_for(evasion: Evasion) -> None:
    """Without it a disguise that does nothing would count as seen through."""
    latin = evade("you stupid idiots", evasion, np.random.default_rng(0), share=1.0)
    han = evade("强奸骗钱", evasion, np.random.default_rng(0), share=1.0)

    assert (latin != "you stupid idiots") == (evasion not in HAN_ONLY)
    assert (han != "强奸骗钱") == (evasion not in LATIN_ONLY)


def test_addresses_names_and_numbers_stay() -> None:
    """Without it evasions would change text that nobody disguises."""
    text = "@someone #topic www.example.org 3.5 10:30"

    for evasion in EVASIONS:
        assert evade(text, evasion, np.random.default_rng(0), share=1.0) == text


def test_initials_follow_the_sound() -> None:
    """Without it the disguise would not be one that people use."""
    assert evade("傻逼", "pinyin_initials", np.random.default_rng(0), share=1.0) in {"s逼", "傻b"}
    assert evade("中国", "pinyin_initials", np.random.default_rng(0), share=1.0) in {"z国", "中g"}


def test_the_mix_leaves_a_stated_share_of_texts_alone() -> None:
    """Without it a model would learn that words are always disguised."""
    rng = np.random.default_rng(0)
    text = "stupid idiots 强奸骗钱 are everywhere around here"

    same = sum(evade_randomly(text, rng) == text for _ in range(2000)) / 2000

    assert same > 1 - sum(MIX.values()) - 0.03
    assert same < 0.85
