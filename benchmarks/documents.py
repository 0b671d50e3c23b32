"""Documents to measure with: half Chinese, half English, of mixed lengths, the same every time.

Words are drawn from the vocabulary of a shipped artifact, frequent ones more often (Zipf), so that
segmentation, subwords and memory are used as by real text; the texts have no meaning.
"""

import re

import numpy as np
from tokenizers import Tokenizer

from benchmarks import TASK
from worker.pipeline.artifact import SHIPPED, TOKENIZER

HAN = re.compile("[\u4e00-\u9fff]+")
LATIN = re.compile("[a-z]{2,}")


def make(count: int, *, words: int | None = None, seed: int = 0) -> list[str]:
    """Make documents.

    Args:
        count: how many.
        words: words per document; None mixes lengths, with a median of 20 words and a long tail.
        seed: different seeds give different documents.
    """
    generator = np.random.default_rng(seed)
    chinese, english = _vocabularies()
    lengths = np.clip(generator.lognormal(3, 0.8, count).astype(int), 1, 400)
    if words is not None:
        lengths[:] = words
    return [
        _sentence(generator, *((chinese, "") if number % 2 else (english, " ")), int(length))
        for number, length in enumerate(lengths)
    ]


def _sentence(generator: np.random.Generator, words: list[str], between: str, length: int) -> str:
    ranks = (len(words) ** generator.random(length)).astype(int) - 1
    return between.join(words[rank] for rank in ranks)


def _vocabularies() -> tuple[list[str], list[str]]:
    tokenizer = Tokenizer.from_file(str(SHIPPED / TASK / TOKENIZER))
    words = [tokenizer.decode([number]).strip() for number in range(tokenizer.get_vocab_size())]
    return (
        [word for word in words if HAN.fullmatch(word)],
        [word for word in words if LATIN.fullmatch(word)],
    )
