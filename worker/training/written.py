"""What comes with the code to be learned from: sentences, abstracts and templates."""

from hashlib import sha256
from importlib.resources import files
from typing import Final

from schema.documents import Task
from worker.training.card import SourceEntry

SENTENCE_FILES: Final[dict[Task, tuple[str, ...]]] = {
    Task.SENTIMENT: ("sentiment_sentences.jsonl",),
    Task.MODERATION: ("moderation_sentences.jsonl",),
    Task.KEYWORDS: ("keywords_abstracts.jsonl", "keywords_documents.jsonl"),
}
"""Files of labelled rows, by task."""

_FILES: Final[dict[Task, tuple[str, ...]]] = {
    Task.SENTIMENT: (*SENTENCE_FILES[Task.SENTIMENT], "sentiment_templates.toml"),
    Task.MODERATION: (
        *SENTENCE_FILES[Task.MODERATION],
        "moderation_templates.toml",
        *SENTENCE_FILES[Task.SENTIMENT],
        "sentiment_templates.toml",
    ),
    Task.KEYWORDS: SENTENCE_FILES[Task.KEYWORDS],
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
