"""Sentences written for training."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from schema.documents import Task
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS
from worker.training.measures import present_keywords
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow
from worker.training.written import MOST_TIMES, WRITTEN, drawn_texts

ACCURACY = Path(__file__).parents[1] / "accuracy"

each_task = pytest.mark.parametrize("task", list(Task))


def drawn(task: Task, texts: int = 1_000_000, seed: int = 0) -> list[LabelledRow]:
    rng = np.random.default_rng(seed)
    names = WRITTEN[task]
    return [row for name in names for row in drawn_texts(task, name, texts // len(names), rng)]


@each_task
def test_about_as_many_are_drawn_as_are_asked_for(task: Task) -> None:
    """Without it a user's few labels would drown in ours."""
    rows = drawn(task, texts=500)

    assert len(rows) == pytest.approx(500, rel=0.2)
    assert rows == drawn(task, texts=500) != drawn(task, texts=500, seed=1)


@each_task
def test_none_comes_more_often_than_it_may_or_under_two_labels(task: Task) -> None:
    """Without it a large data folder would make a model learn these texts by heart."""
    times = Counter(row.text.lower() for row in drawn(task))

    assert set(times.values()) == {MOST_TIMES}


def test_every_label_has_many() -> None:
    """Without it a model would see too few texts of some label, and take it for another."""
    labels = Counter(
        label
        for row in drawn(Task.MODERATION)
        if isinstance(row, ModerationRow)
        for label in row.labels
    )
    classes = Counter(row.label for row in drawn(Task.SENTIMENT) if isinstance(row, SentimentRow))

    assert all(labels[label] > 300 * MOST_TIMES for label in MODERATION_LABELS)
    assert all(classes[label] > 2000 * MOST_TIMES for label in SENTIMENT_LABELS)


def test_most_keywords_of_a_text_stand_in_it() -> None:
    """Without it a tagger would learn from texts that hold nothing to find."""
    rows = [row for row in drawn(Task.KEYWORDS) if isinstance(row, KeywordsRow)]

    present = sum(len(present_keywords(row)) for row in rows)
    assert all(map(present_keywords, rows))
    assert 0.8 < present / sum(len(set(row.keywords)) for row in rows) < 0.95


def test_what_is_measured_is_not_trained_on() -> None:
    """Without it the texts in `tests/accuracy` would measure memorisation."""
    measured = {
        json.loads(line)["text"].strip().lower()
        for path in ACCURACY.glob("*.jsonl")
        for line in path.read_text("utf-8").splitlines()
    }

    trained = {row.text.lower() for task in Task for row in drawn(task)}

    assert len(measured) > 400
    assert not measured & trained
