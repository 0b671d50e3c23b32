"""Samples that are the same at every call: the hash of a text decides what is drawn."""

from collections.abc import Iterable
from hashlib import sha256

from worker.training.rows import RowType


def draw_of(text: str) -> float:
    """A number in [0, 1) from a text's hash."""
    return int.from_bytes(sha256(text.encode(errors="surrogatepass")).digest()[:8]) / 2**64


def sample(rows: Iterable[RowType], most: int) -> list[RowType]:
    """At most `most` of the rows, in an order independent of theirs."""
    return sorted(rows, key=lambda row: draw_of(row.text))[:most]
