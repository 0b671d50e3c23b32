"""From the candidates of a document's windows to its phrases."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence

import numpy as np

from worker.pipeline.records import Candidate, Layout, Phrase, TokenizedDocument

WIDENED = 32
"""Most characters added on either side of a candidate to make it whole words."""

_EDGE = re.compile(r"^[^\w+#]+|[^\w+#]+$")
_PARAGRAPH = re.compile(r"\n\s*\n")


def phrases_of(
    document: TokenizedDocument, predictions: Sequence[list[Candidate]], layout: Layout
) -> list[Phrase]:
    """Merge the candidates of all windows into phrases, best first.

    Candidates are widened to whole words; those that cross the end of the title or of a paragraph,
    which cleaning folds into a blank, are dropped. Candidates that read the same in the cleaned
    text, in which case, width, script and blanks are folded, form one phrase. Its score is the
    probability that at least one of its occurrences is a keyword, `1 - ∏(1 - p)`, with occurrences
    taken as independent.

    Args:
        document: the document, with spans.
        predictions: the candidates of each window.
        layout: the document's layout.
    """
    best: dict[tuple[int, int], float] = {}
    for (offset, _), candidates in zip(document.windows, predictions, strict=True):
        for candidate in candidates:
            span = _whole_words(document, offset + candidate.first, offset + candidate.last)
            if span is not None and not _reaches_over(span, layout.ends):
                best[span] = max(best.get(span, 0.0), min(candidate.score, 1.0))
    phrases: dict[str, Phrase] = {}
    for (start, end), score in best.items():
        text = document.clean.text[start:end]
        known = phrases.get(text)
        phrases[text] = (
            Phrase(text, score, score, 1, start, end)
            if known is None
            else known._replace(
                score=1.0 - (1.0 - known.score) * (1.0 - score),
                best=max(known.best, score),
                proposed=known.proposed + 1,
            )
        )
    return sorted(phrases.values(), key=lambda phrase: (-phrase.score, phrase.text))


def layout_of(document: TokenizedDocument, original: str) -> Layout:
    """How a document was laid out before cleaning folded its line ends into blanks."""
    if "\n" not in original:
        return Layout(original)
    ends = [match.start() for match in _PARAGRAPH.finditer(original)]
    title, *others = _in_cleaned_text(document, [_title_end(original), *ends])
    return Layout(original, title, sorted({title, *others} - {0}))


def occurrences_of(text: str, phrase: str, ends: Sequence[int] = ()) -> Iterator[tuple[int, int]]:
    """Where a phrase occurs in the cleaned text, except as a part of a longer Latin word.

    Args:
        text: the cleaned text.
        phrase: as it reads there.
        ends: positions that it must not cross, ascending.
    """
    at = text.find(phrase)
    while at >= 0:
        end = at + len(phrase)
        joined = _joined(text[at - 1 : at], phrase[0]) or _joined(phrase[-1], text[end : end + 1])
        if joined or _reaches_over((at, end), ends):
            at = text.find(phrase, at + 1)
        else:
            yield at, end
            at = text.find(phrase, end)


def _title_end(original: str) -> int:
    """Where the title, the first of several lines, ends in the original text; 0 if there is none.

    A text has no title if it is one line, or is wrapped by hand: then its second line begins in
    lower case although the first has capitals.
    """
    line, several, rest = original.strip().partition("\n")
    wrapped = rest.lstrip(" \t")[:1].islower() and line != line.lower()
    return original.index(line) + len(line.rstrip()) if several and not wrapped else 0


def _reaches_over(span: tuple[int, int], ends: Sequence[int]) -> bool:
    """Whether one of the ascending `ends` lies within a span."""
    start, end = span
    return bisect_right(ends, start) < bisect_right(ends, end - 1)


def _in_cleaned_text(document: TokenizedDocument, originals: list[int]) -> list[int]:
    """Where the cleaned text continues after each position in the original text."""
    starts = document.clean.starts
    if starts is None:
        return originals
    # With another type, `starts` would be copied.
    return [*map(int, np.searchsorted(starts, np.array(originals, dtype=starts.dtype)))]


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
    """Add the rest of a name that segmentation has cut, as in `covid|19`."""
    least, most = start - WIDENED, end + WIDENED
    while start > least and _joined(text[start - 1 : start], text[start]):
        start -= 1
    while end < most and _joined(text[end - 1], text[end : end + 1]):
        end += 1
    return start, end


def _joined(left: str, right: str) -> bool:
    """Whether two neighbouring characters belong to one word of letters, not of Han characters."""
    return left.isalnum() and right.isalnum() and left < "\u3040" and right < "\u3040"
