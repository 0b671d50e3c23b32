"""What comes with the code to be learned from: texts written one by one, and templates.

Collections hold what they were collected for: reviews, tweets on a subject, comments with words of
offence, abstracts. What people say to each other, to a shop or to a colleague is in none, there are
few Chinese abstracts, and no news reports, products or tickets with keywords. Most sentences that
were written are of everyday life, others in the registers of the collections or of other domains,
such as company news. Unlike texts from templates, no two of these share a frame.
"""

from hashlib import sha256
from importlib.resources import as_file, files
from typing import Final

import numpy as np

from schema.documents import Task
from worker.training.card import SourceEntry
from worker.training.rows import ROW_TYPES, LabelledRow, RowFile

WRITTEN: Final[dict[Task, dict[str, float]]] = {
    Task.SENTIMENT: {"sentiment_sentences.jsonl": 0.3},
    Task.MODERATION: {"moderation_sentences.jsonl": 0.3},
    Task.KEYWORDS: {"keywords_abstracts.jsonl": 0.16, "keywords_documents.jsonl": 0.34},
}
"""Files of labelled texts by task, and how many texts of each go beside the rows of the data, as a
share of these."""

MOST_TIMES: Final = 5
"""Times that a text is repeated at most."""

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
"""By the task that learns from them; those of sentiment are ordinary text to moderation."""


def drawn_texts(task: Task, name: str, texts: int, rng: np.random.Generator) -> list[LabelledRow]:
    """Draw from a file of a task, each text about as often; of moderation every label is annotated.

    Args:
        task: whose rows the file holds.
        name: one of `WRITTEN` of the task.
        texts: how many to draw; fewer come of it where each would come more than `MOST_TIMES`.
        rng: draws.
    """
    with as_file(files("worker.training").joinpath(name)) as path:
        rows = list(RowFile(path, ROW_TYPES[task]))
    times = min(texts / len(rows), MOST_TIMES)
    return [row for row in rows for _ in range(int(times + rng.random()))]


def written_hash(task: Task) -> str:
    """Hash over all that a task learns from, 16 hex digits."""
    digest = sha256()
    for name in _FILES[task]:
        digest.update(sha256(_read(name)).digest())
    return digest.hexdigest()[:16]


def written_entries(task: Task) -> tuple[SourceEntry, ...]:
    """What a card says of them: a line is a text. Templates are a part of the code."""
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
