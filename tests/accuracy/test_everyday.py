"""Sentences of everyday life, from no data set: nothing was trained, chosen or tuned by them."""

import json
from pathlib import Path

import torch

from schema.documents import Task
from schema.outcomes import Failure, ModerationResult, SentimentResult
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import SHIPPED

EVERYDAY = Path(__file__).parent / "everyday.jsonl"

LEAST_RIGHT = 0.58
"""Share of 180 sentences whose sentiment is right."""
MOST_FALSE_ALARMS = 0.16
"""Share of 88 harmless sentences that are flagged."""
LEAST_FLAGGED = 0.58
"""Share of 72 harmful sentences that are flagged."""


def test_sentiment_is_right_beyond_the_data_sets() -> None:
    """Without it a model could be good at reviews and tweets alone."""
    rows, results = answers(Task.SENTIMENT)

    right = [
        isinstance(result, SentimentResult) and result.label == row["label"]
        for row, result in zip(rows, results, strict=True)
    ]

    assert sum(right) / len(rows) >= LEAST_RIGHT


def test_moderation_tells_harm_from_everyday_talk() -> None:
    """Without it notices and idioms could be flagged, and scams and threats pass."""
    rows, results = answers(Task.MODERATION)

    flagged = [isinstance(result, ModerationResult) and result.flagged for result in results]

    harmful = [is_flagged for row, is_flagged in zip(rows, flagged, strict=True) if row["labels"]]
    harmless = [
        is_flagged for row, is_flagged in zip(rows, flagged, strict=True) if not row["labels"]
    ]
    assert sum(harmful) / len(harmful) >= LEAST_FLAGGED
    assert sum(harmless) / len(harmless) <= MOST_FALSE_ALARMS


def answers(task: Task) -> tuple[list[dict[str, object]], list[object]]:
    """The sentences for a task, and what the model that ships says of them."""
    torch.set_num_threads(1)
    lines = EVERYDAY.read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["task"] == task]
    results = analyse(Pipeline.load(SHIPPED / task, "cpu"), [str(row["text"]) for row in rows])
    assert not any(isinstance(result, Failure) for result in results)
    return rows, list(results)
