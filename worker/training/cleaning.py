"""Texts as models see them; cleaning may leave nothing of a text."""

from schema.errors import DocumentError
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import CleanText


def cleaned(text: str) -> str:
    """A text or a keyword as models see it; empty if cleaning leaves nothing."""
    clean = clean_text(text)
    return "" if clean is None else clean.text


def clean_text(text: str) -> CleanText | None:
    """A text as models see it; None if cleaning leaves nothing."""
    try:
        return preprocess(text)
    except DocumentError:  # blanks and control characters only
        return None
