"""Excerpts of texts."""

import numpy as np

from worker.training.excerpts import excerpts

TEXTS = (
    "The tea was warm and the room was quiet, so we stayed until dark.",
    "这家茶馆的茶很香，座位也舒服，下次还会再来。",
    "Too short",
)


def test_an_excerpt_is_a_part_of_its_text() -> None:
    """Otherwise excerpts would join words that no text joins, and teach nothing true."""
    for seed in range(50):
        english, chinese = excerpts(TEXTS, np.random.default_rng(seed))

        for excerpt, text in ((english, TEXTS[0]), (chinese, TEXTS[1])):
            assert excerpt in text
            assert 0 < len(excerpt) < len(text)
            assert excerpt == excerpt.strip()


def test_excerpts_begin_anywhere() -> None:
    """Otherwise a teacher would judge only beginnings, which say less than the middle of a text."""
    drawn = {next(excerpts(TEXTS, np.random.default_rng(seed))) for seed in range(200)}

    assert any(TEXTS[0].startswith(excerpt) for excerpt in drawn)
    assert any(TEXTS[0].endswith(excerpt) for excerpt in drawn)
    assert {len(excerpt.split()) for excerpt in drawn} >= {3, 8}
