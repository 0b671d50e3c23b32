"""Moderation texts made from sentences with slots, whose labels are certain.

Corpora of offence are collected by its words, so in them a name of a group of people, or a sentence
said to someone's face, nearly always offends. Texts of the same frames that harm nobody take that
away (Dixon et al. 2018), and the offending ones teach the plain cases that the corpora lack.
"""

import tomllib
from importlib.resources import files
from string import Formatter

import numpy as np
from pydantic import TypeAdapter

from schema.base import Frozen
from schema.outcomes import ModerationLabel
from worker.training.rows import ModerationRow


class _Group(Frozen):
    labels: frozenset[ModerationLabel]
    texts: tuple[str, ...]


class _Templates(Frozen):
    slots: dict[str, tuple[str, ...]]
    group: tuple[_Group, ...]


def template_rows(texts: int, generator: np.random.Generator) -> list[ModerationRow]:
    """Draw about as many texts, from all groups alike; every label is annotated."""
    content = files("worker.training").joinpath("templates.toml").read_text(encoding="utf-8")
    templates = TypeAdapter(_Templates).validate_python(tomllib.loads(content))
    draws = range(texts // len(templates.group))
    return [
        ModerationRow(text=text, labels=group.labels)
        for group in templates.group
        for text in sorted({_fill(group, templates, generator) for _ in draws})
    ]


def _fill(group: _Group, templates: _Templates, generator: np.random.Generator) -> str:
    """A random text of the group, each slot filled anew wherever it stands."""
    filled = []
    for literal, slot, _, _ in Formatter().parse(str(generator.choice(group.texts))):
        filled.append(literal)
        if slot is not None:
            filled.append(str(generator.choice(templates.slots[slot])))
    return "".join(filled)
