"""Texts made by filling slots in sentences, so that their labels are certain.

Moderation corpora are collected by offensive words, so in them the name of a group of people, or a
sentence addressed to someone, is nearly always offensive. Harmless texts of the same frames correct
this bias (Dixon et al. 2018), and offensive ones teach the plain cases that the corpora lack. For
sentiment, reviews lack mere questions and statements, and opinions given as plain facts.
"""

import tomllib
from collections.abc import Callable
from importlib.resources import files
from string import Formatter
from typing import Final

import numpy as np

from schema.base import Frozen
from schema.documents import Task
from worker.training.rows import LabelledRow, ModerationRow, SentimentRow


class _Group(Frozen):
    labels: tuple[str, ...]
    texts: tuple[str, ...]


class _Templates(Frozen):
    slots: dict[str, tuple[str, ...]]
    group: tuple[_Group, ...]


def template_rows(task: Task, texts: int, rng: np.random.Generator) -> list[LabelledRow]:
    """Draw about as many texts, equally from all groups; for moderation every label is annotated.

    Args:
        task: sentiment or moderation.
        texts: how many to draw; fewer are returned, since none is returned twice.
        rng: the source of randomness.
    """
    path = files("worker.training").joinpath(f"{task}_templates.toml")
    templates = _Templates.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    draws = range(texts // len(templates.group))
    return [
        _ROW[task](text, group.labels)
        for group in templates.group
        for text in sorted({_fill(group, templates, rng) for _ in draws})
    ]


def _moderation_row(text: str, labels: tuple[str, ...]) -> LabelledRow:
    return ModerationRow.model_validate({"text": text, "labels": labels})


def _sentiment_row(text: str, labels: tuple[str, ...]) -> LabelledRow:
    [label] = labels
    return SentimentRow.model_validate({"text": text, "label": label})


_ROW: Final[dict[Task, Callable[[str, tuple[str, ...]], LabelledRow]]] = {
    Task.MODERATION: _moderation_row,
    Task.SENTIMENT: _sentiment_row,
}


def _fill(group: _Group, templates: _Templates, rng: np.random.Generator) -> str:
    """A random text of the group; a slot that occurs twice is filled independently each time."""
    filled = []
    for literal, slot, _, _ in Formatter().parse(str(rng.choice(group.texts))):
        filled.append(literal)
        if slot is not None:
            filled.append(str(rng.choice(templates.slots[slot])))
    return "".join(filled)
