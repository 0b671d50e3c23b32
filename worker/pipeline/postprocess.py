"""Turn the predictions of a document's windows into the result of its task."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from schema.outcomes import (
    MODERATION_LABELS,
    SENTIMENT_LABELS,
    Keyword,
    KeywordsResult,
    ModerationResult,
    SentimentResult,
)
from worker.pipeline.records import Candidate, FloatArray, IntArray, TokenizedDocument

DECIMALS = 6

WIDENED = 32
"""Most characters by which a candidate grows on either side to be a whole word."""

_EDGE = re.compile(r"^[^\w+#]+|[^\w+#]+$")


def sentiment_result(
    document: TokenizedDocument, predictions: Sequence[FloatArray], model_version: str
) -> SentimentResult:
    """Average the windows' probabilities, each weighted by its length.

    Args:
        document: the document.
        predictions: a probability per label, (labels,), for each window.
        model_version: of the artifact that made them.
    """
    lengths = [last - first for first, last in document.windows]
    # Plain numbers: for a handful of them, numpy takes ten times as long.
    sums = [
        sum(length * score for length, score in zip(lengths, column, strict=True))
        for column in _columns(predictions)
    ]
    total = sum(sums)
    scores = {
        label: round(score / total, DECIMALS)
        for label, score in zip(SENTIMENT_LABELS, sums, strict=True)
    }
    label = max(scores, key=scores.__getitem__)
    return SentimentResult(
        language=document.clean.language,
        model_version=model_version,
        label=label,
        score=scores[label],
        scores=scores,
    )


def moderation_result(
    document: TokenizedDocument,
    predictions: Sequence[FloatArray],
    thresholds: Mapping[str, float],
    model_version: str,
) -> ModerationResult:
    """Take each label's highest probability over the windows: one bad passage is enough.

    Args:
        document: the document.
        predictions: a probability per label, (labels,), for each window.
        thresholds: from which score on a label applies.
        model_version: of the artifact that made them.
    """
    scores = {
        label: round(max(column), DECIMALS)
        for label, column in zip(MODERATION_LABELS, _columns(predictions), strict=True)
    }
    labels = [label for label in scores if scores[label] >= thresholds[label]]
    labels.sort(key=lambda label: -scores[label])
    return ModerationResult(
        language=document.clean.language,
        model_version=model_version,
        flagged=bool(labels),
        labels=labels,
        scores=scores,
    )


def keywords_result(
    document: TokenizedDocument,
    predictions: Sequence[list[Candidate]],
    original: str,
    limit: int,
    threshold: float,
    model_version: str,
) -> KeywordsResult:
    """Merge the candidates of all windows into ranked phrases.

    A candidate is widened to whole words. Candidates that read the same in the cleaned text, where
    case, width, script and blanks are folded, are one phrase; its score is the chance that at least
    one of its places is a keyword, `1 - ∏(1 - p)`, places taken as independent. Its spans are all
    places where it stands as words, found by the model or not. A phrase that stands only inside
    places of better ones is dropped.

    Args:
        document: the document, with spans.
        predictions: the candidates of each window.
        original: the text that spans point into.
        limit: most phrases returned.
        threshold: lowest score of a phrase.
        model_version: of the artifact that made them.
    """
    chances = _chances(document, predictions)
    ranked = sorted(chances, key=lambda phrase: (-chances[phrase], phrase))
    kept: list[Keyword] = []
    reach = np.zeros(len(document.clean.text), dtype=np.int32)
    for phrase in ranked:
        if chances[phrase] < threshold or len(kept) == limit:
            break
        places = list(_places(document.clean.text, phrase))
        if not _adds(places, reach):
            continue
        spans = [document.clean.original_span(*place) for place in places]
        first = slice(*spans[0])
        score = round(chances[phrase], DECIMALS)
        kept.append(Keyword(text=original[first], score=score, spans=spans))
    return KeywordsResult(
        language=document.clean.language, model_version=model_version, keywords=kept
    )


def _columns(predictions: Sequence[FloatArray]) -> Iterator[tuple[float, ...]]:
    """For each label its probability in every window."""
    return zip(*(prediction.tolist() for prediction in predictions), strict=True)


def _chances(
    document: TokenizedDocument, predictions: Sequence[list[Candidate]]
) -> dict[str, float]:
    """Each phrase with the chance that it is a keyword."""
    best: dict[tuple[int, int], float] = {}
    for (offset, _), candidates in zip(document.windows, predictions, strict=True):
        for candidate in candidates:
            span = _whole_words(document, offset + candidate.first, offset + candidate.last)
            if span is not None:
                best[span] = max(best.get(span, 0.0), candidate.score)
    missed: dict[str, float] = {}
    for (start, end), score in best.items():
        phrase = document.clean.text[start:end]
        missed[phrase] = missed.get(phrase, 1.0) * (1.0 - min(score, 1.0))
    return {phrase: 1.0 - chance for phrase, chance in missed.items()}


def _whole_words(document: TokenizedDocument, first: int, last: int) -> tuple[int, int] | None:
    """The span in the cleaned text, from word border to word border, without outer punctuation."""
    words = document.words
    from_token = int(np.searchsorted(words, words[first], side="left"))
    to_token = int(np.searchsorted(words, words[last - 1], side="right"))
    start, end = int(document.starts[from_token]), int(document.ends[to_token - 1])
    text = document.clean.text[start:end]
    stripped = _EDGE.sub("", text)
    if not stripped:
        return None
    start += text.index(stripped)
    return _widened(document.clean.text, start, start + len(stripped))


def _widened(text: str, start: int, end: int) -> tuple[int, int]:
    """Take in the rest of a name that segmentation cut, as in `covid|19`."""
    least, most = start - WIDENED, end + WIDENED
    while start > least and _joined(text[start - 1 : start], text[start]):
        start -= 1
    while end < most and _joined(text[end - 1], text[end : end + 1]):
        end += 1
    return start, end


def _places(text: str, phrase: str) -> Iterator[tuple[int, int]]:
    """Where a phrase stands in the cleaned text, not as a part of a longer Latin word."""
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        if not (_joined(text[at - 1 : at], phrase[0]) or _joined(phrase[-1], text[end : end + 1])):
            yield at, end
            at = text.find(phrase, end)
        else:
            at = text.find(phrase, at + 1)


def _joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word of letters, not of Han characters."""
    return left.isalnum() and right.isalnum() and left < "\u3040" and right < "\u3040"


def _adds(places: Sequence[tuple[int, int]], reach: IntArray) -> bool:
    """Whether a place lies outside all kept ones; if so, all of them are kept.

    Args:
        places: where a phrase stands; none for a piece of a run that is too long for a word.
        reach: for each character, how far a kept place that begins up to it goes, or 0; changed.
    """
    if not places:
        return False
    starts, ends = np.array(places, dtype=np.int32).T
    if np.all(reach[starts] >= ends):
        return False
    reach[starts] = np.maximum(reach[starts], ends)
    np.maximum.accumulate(reach, out=reach)
    return True
