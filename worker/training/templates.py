"""Texts made from sentences with slots, whose labels are certain.

Corpora of offence are collected by its words, so in them a name of a group of people, or a sentence
said to someone's face, nearly always offends. Texts of the same frames that harm nobody take that
away (Dixon et al. 2018), and the offending ones teach the plain cases that the corpora lack.
Of sentiment, reviews lack what is merely asked or told, and opinions that come as plain facts.
"""

import tomllib
from collections.abc import Callable
from importlib.resources import files
from string import Formatter
from typing import Final

import numpy as np
from pydantic import TypeAdapter

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
    """Draw about as many texts, from all groups alike; of moderation every label is annotated.

    Args:
        task: sentiment or moderation.
        texts: how many to draw; fewer come of it, since none comes twice.
        rng: draws.
    """
    path = files("worker.training").joinpath(f"{task}_templates.toml")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    templates = TypeAdapter(_Templates).validate_python(content)
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
    """A random text of the group, each slot filled anew wherever it stands."""
    filled = []
    for literal, slot, _, _ in Formatter().parse(str(rng.choice(group.texts))):
        filled.append(literal)
        if slot is not None:
            filled.append(str(rng.choice(templates.slots[slot])))
    return "".join(filled)
