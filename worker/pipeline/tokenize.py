"""Cut cleaned text into words, words into subwords, long documents into windows.

Chinese words are found with a dictionary (rjieba), others by their letters. Within words, a
byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019) leaves nothing unknown.
Words repeat, so the subwords of each are remembered: almost every word costs one look-up.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rjieba
from tokenizers import Tokenizer as BpeTokenizer
from tokenizers import decoders, models, pre_tokenizers, trainers

from schema.errors import ArtifactError, DocumentError
from schema.outcomes import ErrorCode, Stage
from worker.pipeline.characters import HAN
from worker.pipeline.records import CleanText, IntArray, TokenizedDocument

LONGEST_WORD = 64
"""Most characters of a word; longer runs are cut, so that no word costs much time or memory."""

REMEMBERED_WORDS = 100_000
"""How many words are remembered, besides those of one more document: in about 50 MB, or, if all are
as long as can be, in 450 MB."""

_WORD = (
    rf"[{HAN}]{{1,512}}"
    rf"|[^\W\d_{HAN}]{{1,{LONGEST_WORD}}}(?:['’][^\W\d_{HAN}]{{1,8}})?"
    rf"|\d{{1,{LONGEST_WORD}}}"
    r"|[^\w\s]|_"
)
_WORDS = re.compile(_WORD)
_WORDS_AND_BLANKS = re.compile(rf"{_WORD}|\s")
_HAN_FIRST = re.compile(f"[{HAN}]")
_FIRST_HAN = "\u3400"


class _Subwords(NamedTuple):
    """The subwords of a word, or none for a blank; positions count within the word.

    Each array, (tokens,) of int32, is kept as bytes, which are joined in one step and take little
    memory.
    """

    characters: int
    tokens: int
    ids: bytes
    starts: bytes
    ends: bytes


class _TokenSpans(NamedTuple):
    """Where tokens are; see `TokenizedDocument`."""

    starts: IntArray
    ends: IntArray
    words: IntArray


_NOTHING = np.empty(0, dtype=np.int32)
_NO_SPANS = _TokenSpans(_NOTHING, _NOTHING, _NOTHING)


class Tokenizer:
    """Segmentation and vocabulary of one artifact."""

    def __init__(self, bpe: BpeTokenizer) -> None:
        self._bpe = bpe
        self._known: dict[str, _Subwords] = {}

    @classmethod
    def train(cls, texts: Iterable[CleanText], size: int) -> "Tokenizer":
        """Learn a vocabulary of `size` entries; the same texts give the same vocabulary."""
        bpe = BpeTokenizer(models.BPE())
        bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=["<pad>"],  # the first of them has the id `PAD`
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator((" ".join(words(clean.text)) for clean in texts), trainer)
        return cls(bpe)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read what `save` wrote.

        Raises:
            ArtifactError: the file is missing or broken.
        """
        vocabulary = path.read_bytes()
        try:
            return cls(BpeTokenizer.from_buffer(vocabulary))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # the library raises nothing more specific; a panic is none
            msg = f"cannot read the tokenizer {path}: {error}; install the artifact again"
            raise ArtifactError(msg) from error

    def save(self, path: Path) -> None:
        """Write the vocabulary as one JSON file."""
        self._bpe.save(str(path))

    @property
    def size(self) -> int:
        """Number of vocabulary entries."""
        return int(self._bpe.get_vocab_size())

    def tokenize(
        self, clean: CleanText, *, spans: bool, window: int, overlap: int
    ) -> TokenizedDocument:
        """Cut a document into tokens and windows.

        Args:
            clean: the cleaned document.
            spans: whether the span of each token is wanted.
            window: most tokens of a window.
            overlap: tokens that neighbouring windows share, less than `window`.

        Raises:
            DocumentError: the text holds no token.
        """
        parts = parts_of(clean.text) if spans else words(clean.text)
        subwords = self._subwords(parts)
        ids = _joined([entry.ids for entry in subwords])
        if not len(ids):
            msg = "the text contains no word"
            raise DocumentError(ErrorCode.NO_CONTENT, Stage.TOKENIZE, msg)
        token_spans = _token_spans(subwords) if spans else _NO_SPANS
        return TokenizedDocument(clean, ids, *token_spans, windows(len(ids), window, overlap))

    def ids_of(self, word: str) -> list[int]:
        """Vocabulary entries of a text without blanks."""
        pieces = [entry.ids for entry in self._subwords(words(word))]
        ids: list[int] = _joined(pieces).tolist()
        return ids

    def text_of(self, ids: Sequence[int]) -> str:
        """The text of vocabulary entries; bytes that form no character are replaced."""
        return str(self._bpe.decode(list(ids)))

    def _subwords(self, parts: Sequence[str]) -> list[_Subwords]:
        known = self._known
        try:
            return [known[part] for part in parts]
        except KeyError:
            known = self._learn(parts)
            return [known[part] for part in parts]

    def _learn(self, parts: Sequence[str]) -> dict[str, _Subwords]:
        """Encode unknown words. A full memory is replaced, never emptied: threads share it."""
        memory = self._known if len(self._known) < REMEMBERED_WORDS else {}
        for word in set(parts):
            if word not in memory:
                # One at a time: the library's batches wake threads on every core for a few words.
                encoding = self._bpe.encode(word)
                spans = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)
                memory[word] = _Subwords(
                    characters=len(word),
                    tokens=len(spans),
                    ids=np.array(encoding.ids, dtype=np.int32).tobytes(),
                    starts=spans[:, 0].tobytes(),
                    ends=spans[:, 1].tobytes(),
                )
        self._known = memory
        return memory


def words(text: str) -> list[str]:
    """The words of a cleaned text, in order: all of it but the blanks."""
    return _cut(_WORDS, text)


def parts_of(text: str) -> list[str]:
    """The words and blanks of a cleaned text; joined, they are the text."""
    return _cut(_WORDS_AND_BLANKS, text)


def windows(length: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """Token ranges `[first, last)` that cover `length` tokens, neighbours sharing `overlap`."""
    if length <= window:
        return [(0, length)]
    starts = range(0, length - overlap, window - overlap)
    return [(start, min(start + window, length)) for start in starts]


def _cut(pattern: re.Pattern[str], text: str) -> list[str]:
    parts: list[str] = []
    for run in pattern.findall(text):
        # For most runs, this comparison alone rules out Chinese.
        if run >= _FIRST_HAN and _HAN_FIRST.match(run):
            parts += rjieba.cut(run, False)  # noqa: FBT003  # positional only: no guessed words
        else:
            parts.append(run)
    return parts


def _token_spans(subwords: Sequence[_Subwords]) -> _TokenSpans:
    """Where each token begins and ends, and the number of its word, not counting blanks."""
    all_lengths, all_counts, _, starts, ends = zip(*subwords, strict=True)
    lengths, counts = np.array(all_lengths, np.int32), np.array(all_counts, np.int32)
    offsets = (lengths.cumsum(dtype=np.int32) - lengths).repeat(counts)
    numbers = (counts > 0).cumsum(dtype=np.int32) - np.int32(1)
    return _TokenSpans(
        starts=offsets + _joined(starts),
        ends=offsets + _joined(ends),
        words=numbers.repeat(counts),
    )


def _joined(pieces: Iterable[bytes]) -> IntArray:
    return np.frombuffer(bytearray().join(pieces), dtype=np.int32)
