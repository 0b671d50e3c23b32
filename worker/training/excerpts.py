"""Parts of texts, which say something of their own: a teacher judges them beside the whole.

Runs of words, as Tang et al. (2019) draw them for a recurrent network that a transformer teaches.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import rjieba

FEWEST: Final = 6
"""Words of a text that has excerpts."""
SHORTEST: Final = 3
"""Words of an excerpt; two thirds of the text at most."""


def excerpts(texts: Iterable[str], rng: np.random.Generator) -> Iterator[str]:
    """One excerpt of each text that is long enough, from a random word on."""
    for text in texts:
        pieces: list[str] = rjieba.cut(text, False)  # noqa: FBT003  # positional only: no guessed words
        places = [place for place, piece in enumerate(pieces) if not piece.isspace()]
        if len(places) < FEWEST:
            continue
        length = int(rng.integers(SHORTEST, len(places) * 2 // 3 + 1))
        first = int(rng.integers(len(places) - length + 1))
        last = places[first + length - 1]
        yield "".join(pieces[places[first] : last + 1])
