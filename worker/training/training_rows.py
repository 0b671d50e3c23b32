"""The rows of a training: what it learns from, and what is new to it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from schema.documents import Task
from worker.training.ordinary import ordinary_row
from worker.training.ranker import RankerRows
from worker.training.recipe import FOLDS, Recipe
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, of_type
from worker.training.soft_labels import SoftLabel, with_soft_labels
from worker.training.templates import template_rows
from worker.training.written import WRITTEN, drawn_texts

TEMPLATES: Final[dict[Task, float]] = {Task.SENTIMENT: 0.04, Task.MODERATION: 0.16}
"""Texts made from templates, as a share of the labelled rows."""


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """The rows of a training, without noise; with feedback, a part of each set is learned.

    Attributes:
        sets: the rows of each source of the data folder, with any soft labels they have.
        ordinary: for moderation, ordinary text as weak negatives, with any soft labels it has.
        taught: for sentiment, rows that only a teacher labelled.
        written: texts from templates and texts written one by one, in proportion to the sources.
        judged: the rows of feedback, repeated.
        sizes: number of rows of each source, of which `sets` may hold a part.
        ranker: for keywords, what the ranker learns from; otherwise None.
    """

    sets: Sequence[Sequence[LabelledRow]]
    ordinary: Sequence[LabelledRow]
    taught: Sequence[LabelledRow]
    written: Sequence[LabelledRow]
    judged: Sequence[LabelledRow]
    sizes: Sequence[int]
    ranker: RankerRows | None


def training_rows(
    recipe: Recipe, own: Mapping[str, SoftLabel], rng: np.random.Generator
) -> TrainingRows:
    """Read the data of a training, and draw what is learned beside it.

    Args:
        recipe: what is trained.
        own: soft labels of what it starts from, by text; those of teachers take precedence.
        rng: decides what is drawn.
    """
    teachers = [own, *(taught.by_text for taught in recipe.soft_labels)]
    whole = [source.rows("train") for source in recipe.original_sources()]
    sets = [_with_soft_labels(_kept(recipe, rows), teachers) for rows in whole]
    drawn = _drawn(recipe, sum(map(len, sets)), rng)
    learned: list[Sequence[LabelledRow]] = [
        *sets,
        _with_soft_labels(recipe.ordinary("train"), teachers),
        _taught_alone(recipe, sets),
        [row for rows in drawn for row in _kept(recipe, rows)],
    ]
    judged: list[LabelledRow] = []
    if recipe.feedback is not None:
        learned = recipe.feedback.replayed(learned, rng)
        judged = recipe.feedback.repeated(sum(map(len, learned)))
    *replayed, ordinary, taught, written = learned
    ranker = _ranker_rows(recipe, whole, drawn) if recipe.task is Task.KEYWORDS else None
    sizes = [len(rows) for rows in sets]
    return TrainingRows(replayed, ordinary, taught, written, judged, sizes, ranker)


def _kept(recipe: Recipe, rows: Iterable[LabelledRow]) -> list[LabelledRow]:
    return [row for row in rows if not recipe.leaves_out(row)]


def _with_soft_labels(
    rows: Sequence[LabelledRow], teachers: Iterable[Mapping[str, SoftLabel]]
) -> Sequence[LabelledRow]:
    for by_text in teachers:
        rows = [with_soft_labels(row, by_text) for row in rows]
    return rows


def _taught_alone(recipe: Recipe, known: Iterable[Sequence[LabelledRow]]) -> list[LabelledRow]:
    """For sentiment, rows that only a teacher labelled and whose text is not in `known`."""
    if recipe.task is not Task.SENTIMENT:
        return []
    texts = {row.text for rows in known for row in rows}
    return [row for taught in recipe.soft_labels for row in taught.beyond(texts)]


def _drawn(recipe: Recipe, rows: int, rng: np.random.Generator) -> list[list[LabelledRow]]:
    """Texts from templates and written ones, a list per file, including the fold left out.

    Args:
        recipe: what is trained.
        rows: number of rows of the data that are learned; the texts are in proportion to it.
        rng: decides which are drawn.
    """
    if recipe.left_out is not None:  # `rows` lacks the fold, but the texts drawn here include it
        rows = rows * FOLDS // (FOLDS - 1)

    def filled(task: Task) -> list[LabelledRow]:
        return template_rows(task, int(TEMPLATES[task] * rows), rng)

    def written(task: Task) -> list[list[LabelledRow]]:
        return [
            drawn_texts(task, name, int(share * rows), rng) for name, share in WRITTEN[task].items()
        ]

    if recipe.task is Task.KEYWORDS:
        return written(recipe.task)
    drawn = [filled(recipe.task), *written(recipe.task)]
    if recipe.task is Task.MODERATION:
        # Templates are polite; a written sentence in anger may hold an insult.
        polite = filled(Task.SENTIMENT)
        drawn.append([ModerationRow(text=row.text, labels=frozenset()) for row in polite])
        drawn += [list(map(ordinary_row, texts)) for texts in written(Task.SENTIMENT)]
    return drawn


def _ranker_rows(
    recipe: Recipe, whole: Sequence[list[LabelledRow]], drawn: Sequence[list[LabelledRow]]
) -> RankerRows:
    """What the ranker learns from; new to the tagger is the fold left out, or else validation.

    The new rows are a set per source, then one per file written for training; the latter are empty
    unless a fold is left out.

    Args:
        recipe: what is trained.
        whole: the rows of each source, including the fold left out.
        drawn: the written texts of each file, including the fold left out.
    """
    sets = [_kept(recipe, rows) for rows in whole]
    if recipe.feedback is not None:
        sets = [*recipe.feedback.unjudged(sets), recipe.feedback.source.rows("train")]
    written = _once(row for rows in drawn for row in _kept(recipe, rows))
    counted = [row for rows in (*sets, written) for row in rows]
    if recipe.left_out is None:
        new = [*(rows for _, rows in recipe.sets("valid")), *([] for _ in drawn)]
    else:
        new = [list(filter(recipe.leaves_out, rows)) for rows in (*whole, *map(_once, drawn))]
    return RankerRows(of_type(KeywordsRow, counted), [of_type(KeywordsRow, rows) for rows in new])


def _once(rows: Iterable[LabelledRow]) -> list[LabelledRow]:
    return list({row.text: row for row in rows}.values())
