"""Texts made by filling slots in sentences."""

import json
from pathlib import Path

import numpy as np
import pytest

from schema.documents import Task
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS
from worker.training.rows import LabelledRow, ModerationRow, SentimentRow
from worker.training.templates import template_rows

IDENTITY = Path(__file__).parents[1] / "accuracy" / "identity.jsonl"


classified = pytest.mark.parametrize("task", [Task.SENTIMENT, Task.MODERATION])


def made(task: Task, seed: int = 0) -> list[LabelledRow]:
    return template_rows(task, 4000, np.random.default_rng(seed))


@classified
def test_the_same_seed_gives_the_same_texts(task: Task) -> None:
    """Without it an artifact could not be made again from its card."""
    assert made(task, seed=3) == made(task, seed=3) != made(task, seed=4)


def test_every_label_is_taught() -> None:
    """Without it a model would never see some label in these sentences, and take it for another."""
    labels = {
        label
        for row in made(Task.MODERATION)
        if isinstance(row, ModerationRow)
        for label in row.labels
    }
    classes = {row.label for row in made(Task.SENTIMENT) if isinstance(row, SentimentRow)}

    assert labels == set(MODERATION_LABELS)
    assert classes == set(SENTIMENT_LABELS)


@classified
def test_every_slot_is_filled(task: Task) -> None:
    """Without it a model would learn from texts with braces."""
    assert not any("{" in row.text for row in made(task))


@classified
def test_no_text_is_under_two_labels(task: Task) -> None:
    """Without it a text could be taught as both offensive and harmless."""
    rows = made(task)

    assert len({row.text for row in rows}) == len(rows)


def test_what_is_measured_is_not_trained_on() -> None:
    """Without it the sentences that name an identity would measure memorisation."""
    measured = {json.loads(line)["text"] for line in IDENTITY.read_text("utf-8").splitlines()}

    assert not measured & {row.text for row in made(Task.MODERATION)}
