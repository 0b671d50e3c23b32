"""The examples of a training: its rows, and noisy copies of them."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from schema.documents import Task
from worker.pipeline.tokenize import Tokenizer
from worker.training.augment import augment_row
from worker.training.evasion import evade_randomly
from worker.training.examples import Example, examples
from worker.training.rows import LabelledRow, ModerationRow
from worker.training.training_rows import TrainingRows

NOISY: Final = 0.4
"""Share of the rows for which a noisy copy is tried; moderation copies may be disguised, too."""
EVENNESS: Final = 0.4
"""How much more often noisy copies show the small sources of a classifier: 0 in proportion to their
rows, 1 as often as the largest (temperature sampling, Arivazhagan et al. 2019)."""


def make_examples(
    task: Task, rows: TrainingRows, tokenizer: Tokenizer, rng: np.random.Generator
) -> list[Example]:
    """Encode the rows of a training, and noisy copies of some of them.

    Args:
        task: what is learned.
        rows: what it is learned from.
        tokenizer: of the network.
        rng: decides the noise; the one that drew the rows goes on here.
    """
    beside = [rows.ordinary, rows.taught, rows.written]
    copies = [_copies(task, size, max(rows.sizes)) for size in rows.sizes]
    copies += [NOISY for _ in beside]
    learned = [
        example
        for some, share in zip([*rows.sets, *beside], copies, strict=True)
        for example in examples([*some, *_noisy_copies(some, share, rng)], tokenizer)
    ]
    noisy = _noisy_copies(rows.judged, NOISY, rng)
    return [*learned, *examples([*rows.judged, *noisy], tokenizer, any_label=True)]


def _copies(task: Task, rows: int, largest: int) -> float:
    """How many noisy copies of each row of a source are tried, on average."""
    if task is Task.KEYWORDS or not rows:
        return NOISY
    return NOISY + float((largest / rows) ** EVENNESS) - 1


def _noisy_copies(
    rows: Sequence[LabelledRow], share: float, rng: np.random.Generator
) -> Iterator[LabelledRow]:
    for row in rows:
        for _ in range(int(share + rng.random())):
            noisy = augment_row(row, rng)
            if isinstance(noisy, ModerationRow):
                evasive = evade_randomly(noisy.text, rng)
                noisy = noisy.model_copy(update={"text": evasive})
            if noisy.text != row.text:
                yield noisy
