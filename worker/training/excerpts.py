"""Excerpts of texts, which a teacher judges in addition to the whole texts.

They are runs of words, as in Tang et al. (2019), where a transformer teaches a recurrent network.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import rjieba

FEWEST: Final = 6
"""Fewest words of a text from which an excerpt is taken."""
SHORTEST: Final = 3
"""Fewest words of an excerpt; it has at most two thirds of the text's."""


def excerpts(texts: Iterable[str], rng: np.random.Generator) -> Iterator[str]:
    """One excerpt of each text that is long enough, starting at a random word."""
    for text in texts:
        pieces: list[str] = rjieba.cut(text, False)  # noqa: FBT003  # positional only: no guessed words
        places = [place for place, piece in enumerate(pieces) if not piece.isspace()]
        if len(places) < FEWEST:
            continue
        length = int(rng.integers(SHORTEST, len(places) * 2 // 3 + 1))
        first = int(rng.integers(len(places) - length + 1))
        last = places[first + length - 1]
        yield "".join(pieces[places[first] : last + 1])
