"""What comes with the code to be learned from: sentences, abstracts and templates."""

from hashlib import sha256
from importlib.resources import files
from typing import Final

from schema.documents import Task
from worker.training.card import SourceEntry

SENTENCES: Final[dict[Task, dict[str, float]]] = {
    Task.SENTIMENT: {"sentiment_sentences.jsonl": 0.3},
    Task.MODERATION: {"moderation_sentences.jsonl": 0.3},
    Task.KEYWORDS: {"keywords_abstracts.jsonl": 0.16, "keywords_documents.jsonl": 0.24},
}
"""Files of labelled texts by task, and how many texts of each go beside the rows of the data, as a
share of these."""

_FILES: Final[dict[Task, tuple[str, ...]]] = {
    Task.SENTIMENT: (*SENTENCES[Task.SENTIMENT], "sentiment_templates.toml"),
    Task.MODERATION: (
        *SENTENCES[Task.MODERATION],
        "moderation_templates.toml",
        *SENTENCES[Task.SENTIMENT],
        "sentiment_templates.toml",
    ),
    Task.KEYWORDS: tuple(SENTENCES[Task.KEYWORDS]),
}
"""By the task that learns from them; those of sentiment are ordinary text to moderation."""


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
