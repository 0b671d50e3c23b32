"""People's verdicts as training data: one part to learn from, one held out to measure on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from schema.documents import Task
from worker.training.cleaning import cleaned
from worker.training.corpus import SPLITS, Source, Split
from worker.training.measures import folded
from worker.training.rows import LabelledRow, write_rows
from worker.training.sampling import draw_of

HELD_OUT: Final = 0.3
"""Share of judged documents that no training ever learns from."""
VALID: Final = 0.1
"""Share used only to choose the epoch and to calibrate."""

SHARE: Final = 0.2
"""Share of the learned rows that judged documents should make up; they are repeated to reach it."""
MOST_TIMES: Final = 10
"""Most times that a judged document is repeated."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Judged documents beside the original data, as a source with the three usual splits.

    Attributes:
        source: holds the judged documents; its `test` split is the held-out part.
        replay: most rows of the original data that are learned again, so that they are not
            forgotten (rehearsal, Robins 1995).
    """

    source: Source
    replay: int

    def replayed(
        self, sets: Sequence[Sequence[LabelledRow]], rng: np.random.Generator
    ) -> list[Sequence[LabelledRow]]:
        """A random part of each set, the same share of all sets, without judged texts."""
        others = self.unjudged(sets)
        share = min(1.0, self.replay / max(sum(map(len, others)), 1))
        return [
            [rows[place] for place in sorted(rng.permutation(len(rows))[:count])]
            for rows in others
            for count in [round(share * len(rows))]
        ]

    def unjudged(self, sets: Sequence[Sequence[LabelledRow]]) -> list[list[LabelledRow]]:
        """The rows of each set whose text was not judged."""
        judged = {_seen(row.text) for split in SPLITS for row in self.source.rows(split)}
        return [[row for row in rows if _seen(row.text) not in judged] for rows in sets]

    def repeated(self, beside: int) -> list[LabelledRow]:
        """The judged rows to learn from, repeated to make up `SHARE` next to `beside` others."""
        rows = self.source.rows("train")
        times = round(SHARE / (1 - SHARE) * beside / max(len(rows), 1))
        return rows * min(max(times, 1), MOST_TIMES)


def write_source(folder: Path, task: Task, gold: Iterable[LabelledRow]) -> Source:
    """Split judged documents and write them as a source.

    The hash of a text, as models see it, decides its split. So a document that was held out once is
    held out for ever, and a model is never measured on feedback that it learned from.

    Args:
        folder: created; its name becomes the source's.
        task: the task of the documents.
        gold: documents whose right answer is settled, each text once.
    """
    folder.mkdir(parents=True)
    parts: dict[Split, list[LabelledRow]] = {"train": [], "valid": [], "test": []}
    for row in gold:
        parts[_split(row.text)].append(row)
    source = Source(task, folder.name, "C", folder)
    for split, rows in parts.items():
        write_rows(source.path(split), rows)
    return source


def _split(text: str) -> Split:
    # Salted, so that documents which were chosen by a hash of their text are split like others.
    place = draw_of(f"held out: {_seen(text)}")
    if place < HELD_OUT:
        return "test"
    return "valid" if place < HELD_OUT + VALID else "train"


def _seen(text: str) -> str:
    """What models see of a text: invisible signs, for instance, do not make it another one."""
    return folded(cleaned(text) or text)
