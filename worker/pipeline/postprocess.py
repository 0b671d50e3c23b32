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
from worker.pipeline.phrases import occurrences_of
from worker.pipeline.records import Cut, FloatArray, IntArray, Layout, Phrase, TokenizedDocument

DECIMALS = 6
UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")
"""What no generated keyword may contain: control characters, of which Postgres refuses NUL, and the
replacement for bytes that form no character. Tokens can be either, or parts of a character."""

STUTTER = re.compile(r"(..+)\s?\1")
"""A word said twice, as a small decoder does when it knows nothing better."""


def sentiment_result(
    document: TokenizedDocument, predictions: Sequence[FloatArray], model_version: str
) -> SentimentResult:
    """Average the windows' probabilities, each weighted by its length.

    Args:
        document: the document.
        predictions: a probability per label, (labels,), for each window.
        model_version: model version that made them.
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
        thresholds: the score from which each label holds.
        model_version: model version that made them.
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
    phrases: Sequence[Phrase],
    layout: Layout,
    cut: Cut,
    model_version: str,
) -> KeywordsResult:
    """Choose among ranked phrases and find their spans.

    The spans of a keyword are all its occurrences as whole words, found by the model or not, except
    across the end of the title or of a paragraph, each place once. A phrase that occurs only inside
    occurrences of better ones is dropped. Both count in the original text, where several phrases
    may be one place: a run whose encoding was damaged may map as a whole.

    Args:
        document: the document, with spans.
        phrases: best first.
        layout: the document's layout; spans point into its original text.
        cut: how many are returned.
        model_version: model version that made them.
    """
    kept: list[Keyword] = []
    reach = np.zeros(len(layout.original), dtype=np.int32)
    for phrase in phrases:
        if phrase.score < cut.threshold or len(kept) == cut.limit:
            break
        occurrences = occurrences_of(document.clean.text, phrase.text, layout.ends)
        spans = [*dict.fromkeys(document.clean.original_span(*place) for place in occurrences)]
        if not _adds(spans, reach):
            continue
        first = slice(*spans[0])
        score = round(phrase.score, DECIMALS)
        kept.append(Keyword(text=layout.original[first], score=score, spans=spans))
    if cut.missed is not None and kept:
        total = sum(phrase.score for phrase in phrases) + cut.missed
        kept = kept[: _most_promising([keyword.score for keyword in kept], total)]
    return KeywordsResult(
        language=document.clean.language, model_version=model_version, keywords=kept
    )


def with_generated(
    result: KeywordsResult,
    document: TokenizedDocument,
    phrases: Sequence[tuple[str, float]],
    layout: Layout,
) -> KeywordsResult:
    """Add generated keywords to those that were found, which keep their order.

    One that does occur in the text gets its spans, or is left out if it was found as well.

    Args:
        result: the result with the found keywords.
        document: the document, with spans.
        phrases: cleaned text and score of each generated phrase, best first.
        layout: the document's layout; spans point into its original text.
    """
    known = {span for keyword in result.keywords for span in keyword.spans}
    generated: dict[str, Keyword] = {}
    for text, score in phrases:
        if not text or text in generated or UNFIT.search(text) or STUTTER.fullmatch(text):
            continue
        spans = [
            document.clean.original_span(*occurrence)
            for occurrence in occurrences_of(document.clean.text, text, layout.ends)
        ]
        if known.isdisjoint(spans):
            shown = layout.original[slice(*spans[0])] if spans else text
            generated[text] = Keyword(
                text=shown, score=round(score, DECIMALS), spans=spans, generated=True
            )
    return result.model_copy(update={"keywords": [*result.keywords, *generated.values()]})


def _columns(predictions: Sequence[FloatArray]) -> Iterator[tuple[float, ...]]:
    """For each label its probability in every window."""
    return zip(*(prediction.tolist() for prediction in predictions), strict=True)


def _most_promising(scores: Sequence[float], total: float) -> int:
    """How many of the best phrases promise the highest F1, at least one.

    Args:
        scores: probability that each phrase is a keyword, best first.
        total: expected number of keywords of the document.
    """
    counts = np.arange(1, len(scores) + 1)
    return int(np.argmax(np.cumsum(scores) / (counts + total))) + 1


def _adds(spans: Sequence[tuple[int, int]], reach: IntArray) -> bool:
    """Whether any span lies outside all kept ones; if so, all of `spans` are kept.

    Args:
        spans: where a phrase occurs in the original text, ascending; empty for a piece of a run
            that is too long for a word.
        reach: for each character of that text, the farthest end of a kept span that begins at or
            before it, or 0; updated here.
    """
    if not spans:
        return False
    starts, ends = np.array(spans, dtype=np.int32).T
    if np.all(reach[starts] >= ends):
        return False
    reach[starts] = np.maximum(reach[starts], ends)
    np.maximum.accumulate(reach, out=reach)
    return True
