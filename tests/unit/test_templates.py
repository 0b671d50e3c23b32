"""Moderation texts made from sentences with slots."""

import json
from pathlib import Path

import numpy as np

from worker.training.templates import template_rows

IDENTITY = Path(__file__).parents[1] / "accuracy" / "identity.jsonl"


def test_the_same_seed_gives_the_same_texts() -> None:
    one, other = (template_rows(2000, np.random.default_rng(3)) for _ in range(2))

    assert one == other
    assert {label for row in one for label in row.labels} >= {"abuse", "hate", "violence"}


def test_every_slot_is_filled() -> None:
    """Without it a model would learn braces."""
    assert not any("{" in row.text for row in template_rows(2000, np.random.default_rng(0)))


def test_no_text_is_under_two_labels() -> None:
    """Without it a slot that offends in one group and not in another would teach nothing."""
    rows = template_rows(2000, np.random.default_rng(0))

    assert len({row.text for row in rows}) == len(rows)


def test_what_is_measured_is_not_trained_on() -> None:
    """Without it the sentences that name an identity would measure memory."""
    measured = {json.loads(line)["text"] for line in IDENTITY.read_text("utf-8").splitlines()}

    assert not measured & {row.text for row in template_rows(2000, np.random.default_rng(0))}
