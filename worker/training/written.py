"""Training texts that come with the code: texts written one by one, and templates.

Collections hold what they were collected for: reviews, tweets on a subject, comments with offensive
words, abstracts. None holds what people say to each other, to a shop or to a colleague; there are
few Chinese abstracts, and no news reports, products or tickets with keywords. Most of the written
sentences are about everyday life, others in the registers of the collections or of other domains,
such as company news. Unlike texts from templates, no two of these share a frame.
"""

from hashlib import sha256
from importlib.resources import as_file, files
from typing import Final

import numpy as np

from schema.documents import Task
from worker.training.card import SourceEntry
from worker.training.hashing import content_hash
from worker.training.rows import ROW_TYPES, LabelledRow, RowFile

WRITTEN: Final[dict[Task, dict[str, float]]] = {
    Task.SENTIMENT: {"sentiment_sentences.jsonl": 0.3},
    Task.MODERATION: {"moderation_sentences.jsonl": 0.3},
    Task.KEYWORDS: {"keywords_abstracts.jsonl": 0.16, "keywords_documents.jsonl": 0.34},
}
"""Files of labelled texts by task, and how many texts are drawn from each, as a share of the rows
of the data."""

MOST_TIMES: Final = 5
"""Most times that a text is drawn."""

_FILES: Final[dict[Task, tuple[str, ...]]] = {
    Task.SENTIMENT: (*WRITTEN[Task.SENTIMENT], "sentiment_templates.toml"),
    Task.MODERATION: (
        *WRITTEN[Task.MODERATION],
        "moderation_templates.toml",
        *WRITTEN[Task.SENTIMENT],
        "sentiment_templates.toml",
    ),
    Task.KEYWORDS: tuple(WRITTEN[Task.KEYWORDS]),
}
"""Files that each task learns from; moderation takes those of sentiment as ordinary text."""


def drawn_texts(task: Task, name: str, texts: int, rng: np.random.Generator) -> list[LabelledRow]:
    """Draw from a task's file, each text about equally often; moderation rows annotate every label.

    Args:
        task: the task of the file's rows.
        name: one of the names in `WRITTEN` for the task.
        texts: how many to draw; fewer if each would be drawn more than `MOST_TIMES` times.
        rng: the source of randomness.
    """
    with as_file(files("worker.training").joinpath(name)) as path:
        rows = list(RowFile(path, ROW_TYPES[task]))
    times = min(texts / len(rows), MOST_TIMES)
    return [row for row in rows for _ in range(int(times + rng.random()))]


def written_hash(task: Task) -> str:
    """Hash over all files that a task learns from, 16 hex digits."""
    return content_hash(sha256(_read(name)).digest() for name in _FILES[task])


def written_entries(task: Task) -> tuple[SourceEntry, ...]:
    """The card's entries for written texts, one text per line; templates are part of the code."""
    return tuple(
        SourceEntry(
            name=name.partition(".")[0].replace("_", " "),
            use="written for training",
            licence_class="A",
            rows=len(_read(name).splitlines()),
        )
        for name in _FILES[task]
        if name.endswith(".jsonl")
    )


def _read(name: str) -> bytes:
    return files("worker.training").joinpath(name).read_bytes()
