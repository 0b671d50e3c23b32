"""Cut cleaned text into words, words into subwords, long documents into windows.

Chinese words come from a dictionary (rjieba), others from their letters. Below them a byte-level
byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019) leaves nothing unknown. Words
repeat, so the subwords of each are remembered: almost every word costs one look-up.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rjieba
from tokenizers import Tokenizer as Encoder
from tokenizers import decoders, models, pre_tokenizers, trainers

from schema.errors import ArtifactError, DocumentError
from schema.outcomes import ErrorCode, Stage
from worker.pipeline.characters import HAN
from worker.pipeline.records import CleanText, IntArray, TokenizedDocument

PAD = 0
"""Vocabulary entry that fills up a micro-batch; no text contains it."""

LONGEST_WORD = 64
"""Characters; longer runs are cut, so that no single word costs much time or memory."""

REMEMBERED_WORDS = 200_000

_WORDS = re.compile(
    rf"[{HAN}]{{1,512}}"
    rf"|[^\W\d_{HAN}]{{1,{LONGEST_WORD}}}(?:['’][^\W\d_{HAN}]{{1,8}})?"
    rf"|\d{{1,{LONGEST_WORD}}}"
    r"|[^\w\s]|_"
)
_HAN_FIRST = re.compile(f"[{HAN}]")


class _Subwords(NamedTuple):
    """The subwords of a word; positions count within the word."""

    ids: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]


class Tokenizer:
    """Segmentation and vocabulary of one artifact."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._known: dict[str, _Subwords] = {}

    @classmethod
    def train(cls, texts: Iterable[CleanText], size: int) -> "Tokenizer":
        """Learn a vocabulary of `size` entries; the same texts give the same vocabulary."""
        encoder = Encoder(models.BPE())
        encoder.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        encoder.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        encoder.train_from_iterator((" ".join(words(clean.text)) for clean in texts), trainer)
        return cls(encoder)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is missing or broken.
        """
        try:
            return cls(Encoder.from_file(str(path)))
        except Exception as error:  # the library raises nothing more specific
            msg = f"cannot read the tokenizer {path}: {error}; install the artifact again"
            raise ArtifactError(msg) from error

    def save(self, path: Path) -> None:
        """Write the vocabulary as one JSON file."""
        self._encoder.save(str(path))

    @property
    def size(self) -> int:
        """Number of vocabulary entries."""
        return int(self._encoder.get_vocab_size())

    def tokenize(
        self, clean: CleanText, *, spans: bool, window: int, overlap: int
    ) -> TokenizedDocument:
        """Cut a document into tokens and windows.

        Args:
            clean: the cleaned document.
            spans: whether the place of each token is wanted.
            window: most tokens of a window.
            overlap: tokens that neighbouring windows share, less than `window`.

        Raises:
            DocumentError: the text holds no token.
        """
        found = list(word_spans(clean.text)) if spans else []
        subwords = self._subwords([word for word, _ in found] if spans else words(clean.text))
        ids = _array(entry.ids for entry in subwords)
        if not len(ids):
            msg = "the text holds no word"
            raise DocumentError(ErrorCode.NO_CONTENT, Stage.TOKENIZE, msg)
        placed = [(entry, at) for entry, (_, at) in zip(subwords, found, strict=False)]
        return TokenizedDocument(
            clean,
            ids,
            starts=_array([at + start for start in entry.starts] for entry, at in placed),
            ends=_array([at + end for end in entry.ends] for entry, at in placed),
            words=_array([number] * len(entry.ids) for number, (entry, _) in enumerate(placed)),
            windows=windows(len(ids), window, overlap),
        )

    def _subwords(self, found: Sequence[str]) -> list[_Subwords]:
        known = self._known
        try:
            return [known[word] for word in found]
        except KeyError:
            known = self._learn(found)
            return [known[word] for word in found]

    def _learn(self, found: Sequence[str]) -> dict[str, _Subwords]:
        """Encode what is unknown. A full memory is replaced, never emptied: threads share it."""
        memory = self._known if len(self._known) < REMEMBERED_WORDS else {}
        ordered = sorted(set(found) - memory.keys())
        for word, encoding in zip(
            ordered, self._encoder.encode_batch(ordered, add_special_tokens=False), strict=True
        ):
            starts, ends = zip(*encoding.offsets, strict=True)
            memory[word] = _Subwords(tuple(encoding.ids), starts, ends)
        self._known = memory
        return memory


def words(text: str) -> list[str]:
    """The words of a cleaned text, in order: all of it but the blanks."""
    found: list[str] = []
    for run in _WORDS.findall(text):
        if _HAN_FIRST.match(run):
            found += rjieba.cut(run, False)  # noqa: FBT003  # positional only: no guessed words
        else:
            found.append(run)
    return found


def word_spans(text: str) -> Iterator[tuple[str, int]]:
    """The words of a cleaned text, each with its position."""
    for match in _WORDS.finditer(text):
        at = match.start()
        for word in words(match[0]):
            yield word, at
            at += len(word)


def windows(length: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Token ranges `[first, last)` that cover `length` tokens, neighbours sharing `overlap`."""
    if length <= window:
        return [(0, length)]
    starts = range(0, length - overlap, window - overlap)
    return [(start, min(start + window, length)) for start in starts]


def _array(parts: Iterable[Sequence[int]]) -> IntArray:
    return np.fromiter(chain.from_iterable(parts), dtype=np.int32)
