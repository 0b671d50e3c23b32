"""Content hashes, by which cards and checkpoints name what they were made from."""

from collections.abc import Iterable
from hashlib import sha256


def content_hash(parts: Iterable[bytes]) -> str:
    """Hash over parts in their order, 16 hex digits; where they are cut does not matter."""
    digest = sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
