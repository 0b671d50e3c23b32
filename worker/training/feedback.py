"""People's verdicts as training data: what is learned from, and what is held out to measure on."""

import gzip
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
import sqlalchemy as sa

from schema.database import reachable
from schema.documents import Task
from schema.outcomes import MODERATION_LABELS
from worker.training.corpus import Source, Split
from worker.training.evaluate import fold
from worker.training.rows import (
    KeywordsRow,
    LabelledRow,
    ModerationRow,
    SentimentRow,
)

HELD_OUT: Final = 0.3
"""Share of judged documents that no training learns from, now or later."""
VALID: Final = 0.1
"""Share that only helps to choose the epoch and to calibrate."""

SHARE: Final = 0.2
"""Share that judged documents should make up of what is learned from; they are repeated for it."""
MOST_TIMES: Final = 10
"""Times that one is repeated at most."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """Judged documents beside the original data, as a source with the three usual splits.

    Attributes:
        source: where they lie; `test` is what was held out.
        replay: most rows of the original data that are learned from again, so that it is not
            forgotten (rehearsal, Robins 1995).
    """

    source: Source
    replay: int

    def replayed(
        self, sets: Sequence[Sequence[LabelledRow]], generator: np.random.Generator
    ) -> list[Sequence[LabelledRow]]:
        """A random part of each set of rows, the same share of all, without judged texts."""
        splits: tuple[Split, ...] = ("train", "valid", "test")
        judged = {fold(row.text) for split in splits for row in self.source.rows(split)}
        others = [[row for row in rows if fold(row.text) not in judged] for rows in sets]
        share = min(1.0, self.replay / max(sum(map(len, others)), 1))
        return [
            [rows[place] for place in sorted(generator.permutation(len(rows))[:count])]
            for rows in others
            for count in [round(share * len(rows))]
        ]

    def repeated(self, beside: int) -> list[LabelledRow]:
        """The judged rows to learn from, each so often that they count beside so many others."""
        rows = self.source.rows("train")
        times = round(SHARE / (1 - SHARE) * beside / max(len(rows), 1))
        return rows * min(max(times, 1), MOST_TIMES)


def read_gold(engine: sa.Engine, task: Task) -> list[LabelledRow]:
    """Documents whose right answer is settled, adjudicated or agreed; of one text the latest.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
        SettingsError: the role may not read feedback.
    """
    query = """
        select distinct on (f.text) f.text, f.answer
        from textmill.feedback f join textmill.feedback_status s using (job_id, seq)
        where f.task = :task and f.answer = s.gold
        order by f.text, f.feedback_id desc
    """
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(sa.text(query), {"task": task})
        return [_row(task, row.text, row.answer) for row in rows]


def write_source(folder: Path, task: Task, gold: Iterable[LabelledRow]) -> Source:
    """Part judged documents and write them as a source.

    A text's hash decides where it goes: what was held out once is held out for ever, so that a
    model which learned from feedback is not measured on that same feedback later.

    Args:
        folder: made; its name is the source's.
        task: of the documents.
        gold: as `read_gold` gives it.
    """
    folder.mkdir(parents=True)
    parts: dict[Split, list[LabelledRow]] = {"train": [], "valid": [], "test": []}
    for row in gold:
        parts[_split(row.text)].append(row)
    source = Source(task, folder.name, "C", folder)
    for split, rows in parts.items():
        with gzip.open(source.path(split), "wt", encoding="utf-8") as file:
            file.writelines(_lines(rows))
    return source


def _split(text: str) -> Split:
    # Salted: documents that were themselves chosen by a hash of their text must part as others do.
    place = int.from_bytes(sha256(f"held out: {fold(text)}".encode()).digest()[:8]) / 2**64
    if place < HELD_OUT:
        return "test"
    return "valid" if place < HELD_OUT + VALID else "train"


def _lines(rows: Iterable[LabelledRow]) -> Iterator[str]:
    return (row.model_dump_json() + "\n" for row in rows)


def _row(task: Task, text: str, answer: list[str]) -> LabelledRow:
    match task:
        case Task.SENTIMENT:
            return SentimentRow.model_validate({"text": text, "label": answer[0]})
        case Task.MODERATION:
            return ModerationRow.model_validate(
                {"text": text, "labels": answer, "annotated": MODERATION_LABELS}
            )
        case Task.KEYWORDS:
            return KeywordsRow(text=text, keywords=tuple(answer))
