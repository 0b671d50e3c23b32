"""Features of a document's phrases, as numbers for the ranker."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.pipeline.keyword_counts import HashArray, KeywordCounts, hash_of, look_up
from worker.pipeline.phrase_hashes import (
    NO_BUCKET,
    PhraseWords,
    buckets_of,
    word_hashes,
    words_of,
)
from worker.pipeline.phrases import occurrences_of
from worker.pipeline.records import FloatArray, Layout, Phrase, TokenizedDocument

DENSE: Final = 51
"""Number of dense features of a phrase."""

_FAR: Final = 1e-4
_BEFORE_A_SENTENCE: Final = '.!?:;…。"“‘「'


class Features(NamedTuple):
    """Features of some phrases.

    Attributes:
        dense: the dense features, (phrases, DENSE).
        buckets: the bucket of each of `KINDS`, at most `NO_BUCKET`, (phrases, kinds).
    """

    dense: FloatArray
    buckets: HashArray


def features(
    document: TokenizedDocument, phrases: Sequence[Phrase], layout: Layout, counts: KeywordCounts
) -> Features:
    """The features of each phrase.

    Args:
        document: the document, with spans.
        phrases: at least one, best first.
        layout: the document's layout.
        counts: of the training texts; if no word is counted, every bucket is `NO_BUCKET`.
    """
    words = words_of(document, phrases)
    columns = [
        *_by_tagger(phrases),
        *_by_position(document, phrases),
        *_by_title(document, phrases, layout),
        *_by_neighbours(document, phrases),
        *_by_shape(document, phrases),
        *_by_case(document, phrases, layout),
        *_by_rivals(phrases),
        *_by_phrase_counts(phrases, counts),
        *_by_word_counts(document, words, counts),
    ]
    dense = np.empty((len(phrases), DENSE), dtype=np.float32)
    for index, column in zip(range(DENSE), columns, strict=True):
        dense[:, index] = column  # a single number applies to all phrases
    buckets = buckets_of(document.clean.text, phrases, words)
    if not len(counts.word_hashes):
        buckets = np.full_like(buckets, NO_BUCKET)
    return Features(dense, buckets)


def _by_tagger(phrases: Sequence[Phrase]) -> list[NDArray[np.float64]]:
    score = np.array([phrase.score for phrase in phrases])
    best = np.array([phrase.best for phrase in phrases])
    logit = _logit(score)
    return [
        logit,
        _logit(best),
        logit - logit[0],
        np.log1p(np.arange(len(phrases))),
        np.log(np.atleast_1d(score.sum()) + 0.1),
    ]


def _by_position(
    document: TokenizedDocument, phrases: Sequence[Phrase]
) -> list[NDArray[np.float64]]:
    text = document.clean.text
    length = len(text)
    first = np.array([text.find(phrase.text) for phrase in phrases])
    last = np.array([text.rfind(phrase.text) for phrase in phrases])
    count = np.array([text.count(phrase.text) for phrase in phrases])
    size = np.array([len(phrase.text) for phrase in phrases])
    proposed = np.array([phrase.proposed for phrase in phrases])
    left = np.array([_border(text[at - 1 : at]) for at in first])
    right = np.array([_border(text[at : at + 1]) for at in first + size])
    return [
        np.log(count),
        count / math.log(2 + length),
        proposed / count,
        first / length,
        last / length,
        np.log1p(first),
        np.log1p(length - last - size),
        (last - first) / length,
        (first == 0).astype(float),
        (last > text.rfind(" ")).astype(float),
        left,
        right,
        np.atleast_1d(math.log(length)),
    ]


def _by_title(
    document: TokenizedDocument, phrases: Sequence[Phrase], layout: Layout
) -> list[NDArray[np.float64]]:
    """Whether a phrase occurs in the title, whether there is one, and how long it is."""
    title = document.clean.text[: layout.title]
    occurs = np.array([phrase.text in title for phrase in phrases], dtype=float)
    return [occurs, np.atleast_1d(float(len(title) > 0)), np.atleast_1d(math.log1p(len(title)))]


def _by_neighbours(
    document: TokenizedDocument, phrases: Sequence[Phrase]
) -> list[NDArray[np.float64]]:
    """How often a phrase has the same letter beside it: a piece of a longer term always does.

    For a phrase that occurs only once, nothing is known: 0.
    """
    text = f" {document.clean.text} "
    shares = np.zeros((len(phrases), 2))
    for row, phrase in enumerate(phrases):
        before, *between = text.split(phrase.text)
        if len(between) > 1:
            left = [part[-1:] or phrase.text[-1] for part in (before, *between[:-1])]
            right = [part[:1] or phrase.text[0] for part in between]
            shares[row] = [_commonest_letter(side) / len(side) for side in (left, right)]
    return list(shares.T)


def _commonest_letter(neighbours: Sequence[str]) -> int:
    """How often the commonest letter or digit occurs among the neighbours."""
    counted = Counter(neighbours).items()
    return max((times for neighbour, times in counted if neighbour.isalnum()), default=0)


def _by_shape(document: TokenizedDocument, phrases: Sequence[Phrase]) -> list[NDArray[np.float64]]:
    texts = [phrase.text for phrase in phrases]
    size = np.array([len(text) for text in texts])
    return [
        np.log(size),
        np.minimum(size, 6).astype(float),
        np.array([text.count(" ") for text in texts], dtype=float),
        np.array([text[0] >= "\u3040" for text in texts], dtype=float),
        np.array([any(map(str.isdigit, text)) for text in texts], dtype=float),
        np.array([not text.replace(" ", "").isalnum() for text in texts], dtype=float),
        np.atleast_1d(float(document.clean.language == "zh")),
        np.atleast_1d(float(document.clean.language == "mixed")),
    ]


def _by_case(
    document: TokenizedDocument, phrases: Sequence[Phrase], layout: Layout
) -> list[NDArray[np.float64]]:
    """Whether a phrase is written as a name or in capitals, and whether the document has any."""
    text, starts, written = document.clean.text, document.clean.starts, layout.original
    if starts is not None:
        written = "".join(map(written.__getitem__, starts.tolist()))
    begun = {0, *(end + text.startswith(" ", end) for end in layout.ends)}
    capitals = np.zeros((len(phrases), 3))
    for row, phrase in enumerate(phrases):
        firsts = [first for first, _ in occurrences_of(text, phrase.text, layout.ends)]
        for first in {phrase.first, *firsts[:1], *firsts[-1:]}:
            shown = written[first : first + len(phrase.text)]
            if shown != phrase.text:
                before = text[max(first - 2, 0) : first].rstrip()
                begins = first in begun or before[-1:] in _BEFORE_A_SENTENCE
                capitals[row] = np.maximum(
                    capitals[row], _capitals(phrase.text, shown, begins=begins)
                )
    return [*capitals.T, np.atleast_1d(float(any(map(str.isupper, written))))]


def _capitals(phrase: str, shown: str, *, begins: bool) -> tuple[float, float, float]:
    """How one occurrence of a phrase is written.

    Args:
        phrase: as it reads in the cleaned text.
        shown: its characters in the original.
        begins: whether a paragraph, a sentence or a quotation begins with it, so that a capital at
            its start says nothing.

    Returns:
        The share of its words that are capitalised although no sentence asks for it, the share that
        are capitalised at all, and whether all its cased letters are capitals, as in `DNA` and
        `5G手机`.
    """
    words = [
        letter.isupper()
        for before, letter in zip(f" {phrase}", shown, strict=False)
        if before == " "
    ]
    told = words[1:] if begins else words
    shouted = shown.isupper() and len(shown) > 1
    return sum(told) / len(words), sum(words) / len(words), float(shouted)


def _by_rivals(phrases: Sequence[Phrase]) -> list[NDArray[np.float64]]:
    """How many better and worse phrases contain a phrase, and how many it contains."""
    texts = [phrase.text for phrase in phrases]
    holds = np.array([[inner in outer for inner in texts] for outer in texts])  # (outer, inner)
    np.fill_diagonal(holds, val=False)
    better = np.triu(holds)  # the outer one is better
    worse = np.tril(holds)
    return [
        np.log1p(better.sum(axis=0)),
        np.log1p(worse.sum(axis=1)),
        np.log1p(worse.sum(axis=0)),
        np.log1p(better.sum(axis=1)),
    ]


def _by_phrase_counts(
    phrases: Sequence[Phrase], counts: KeywordCounts
) -> list[NDArray[np.float64]]:
    hashes = np.array([hash_of(phrase.text) for phrase in phrases], dtype=np.uint32)
    texts, keys = look_up(hashes, counts.phrase_hashes, counts.phrase_texts, counts.phrase_keys)
    return [
        np.log1p(keys),
        np.log1p(texts),
        np.log((keys + 0.3) / (texts + 3)),
        (keys > 0).astype(float),
    ]


def _by_word_counts(
    document: TokenizedDocument, words: PhraseWords, counts: KeywordCounts
) -> list[NDArray[np.float64]]:
    inside, hashes = word_hashes(document.clean.text, words)
    texts, keys = look_up(hashes, counts.word_hashes, counts.word_texts, counts.word_keys)
    rarity = np.log((counts.texts[0] + 1) / (texts + 1))
    keyness = np.log((keys + 0.5) / (texts + 5))
    number = inside.sum(axis=1)
    row = np.arange(len(number))
    return [
        number.astype(float),
        (rarity * inside).sum(axis=1) / number,
        np.where(inside, rarity, np.inf).min(axis=1),
        np.where(inside, rarity, -np.inf).max(axis=1),
        keyness[:, 0],
        keyness[row, number - 1],
        (keyness * inside).sum(axis=1) / number,
        np.where(inside, keyness, np.inf).min(axis=1),
    ]


def _logit(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    near = probability.clip(_FAR, 1 - _FAR)
    return np.asarray(np.log(near / (1 - near)))


def _border(neighbour: str) -> float:
    """Whether a phrase visibly ends here: at an end of the text or at a sign."""
    return float(not neighbour or not (neighbour.isalnum() or neighbour.isspace()))
