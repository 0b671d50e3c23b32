"""Words, subwords and windows."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema.errors import ArtifactError, DocumentError
from schema.outcomes import ErrorCode, Stage
from tests.strategies import any_texts
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import PAD, CleanText, TokenizedDocument
from worker.pipeline.tokenize import LONGEST_WORD, Tokenizer, parts_of, windows, words

LESSONS = ["The tea was lovely", "lovely weather today", "今天天气很好", "机器学习很有意思"]


def trained() -> Tokenizer:
    """A small vocabulary."""
    return Tokenizer.train([preprocess(text) for text in LESSONS], size=320)


TOKENIZER = trained()


def tokenized(text: str, window: int = 256, overlap: int = 32) -> TokenizedDocument:
    """`text` with spans, taken as clean."""
    return TOKENIZER.tokenize(CleanText(text, "en"), spans=True, window=window, overlap=overlap)


@settings(deadline=None)
@given(any_texts)
def test_words_and_blanks_are_the_whole_text(text: str) -> None:
    """Without it some characters would never reach the model."""
    assert "".join(parts_of(text)) == text


@settings(deadline=None)
@given(any_texts)
def test_words_are_the_parts_that_are_not_blank(text: str) -> None:
    """Without it a document would have other tokens with spans than without."""
    assert words(text) == [part for part in parts_of(text) if not part.isspace()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't stop, it's fine", ["don't", "stop", ",", "it's", "fine"]),
        ("今天天气很好", ["今天天气", "很", "好"]),
        ("我用python写代码", ["我", "用", "python", "写", "代码"]),
        ("covid19 x_1", ["covid", "19", "x", "_", "1"]),
        ("ok!! 😀", ["ok", "!", "!", "😀"]),
    ],
)
def test_text_is_cut_where_a_reader_would(text: str, expected: list[str]) -> None:
    """Without it keywords would begin and end inside words."""
    assert words(text) == expected


def test_a_run_without_borders_is_cut() -> None:
    """Without it an encoded file would become one word of a megabyte."""
    assert max(map(len, words("a" * 2**20))) == LONGEST_WORD


@settings(deadline=None)
@given(any_texts)
def test_tokens_cover_everything_but_blanks(text: str) -> None:
    """Without it part of a text could be invisible to the model."""
    try:
        clean = preprocess(text)
    except DocumentError:
        return
    document = TOKENIZER.tokenize(clean, spans=True, window=256, overlap=32)

    covered = {
        at
        for start, end in zip(document.starts, document.ends, strict=True)
        for at in range(start, end)
    }

    assert covered == {at for at, character in enumerate(clean.text) if character != " "}
    assert PAD not in document.ids


@settings(deadline=None)
@given(any_texts)
def test_spans_do_not_change_the_tokens(text: str) -> None:
    """Without it a task's vocabulary would depend on whether it wants spans."""
    try:
        clean = preprocess(text)
    except DocumentError:
        return

    with_spans, without = (
        TOKENIZER.tokenize(clean, spans=spans, window=256, overlap=32) for spans in (True, False)
    )

    assert with_spans.ids.tolist() == without.ids.tolist()
    assert (
        len(with_spans.starts) == len(with_spans.ends) == len(with_spans.words) == len(without.ids)
    )


def test_tokens_know_their_place_and_their_word() -> None:
    """Without it a keyword could not be widened to whole words."""
    document = tokenized("lovely tea, 天气")

    of_word: dict[int, str] = {}
    for start, end, word in zip(document.starts, document.ends, document.words, strict=True):
        of_word[int(word)] = of_word.get(int(word), "") + document.clean.text[start:end]

    assert of_word == {0: "lovely", 1: "tea", 2: ",", 3: "天气"}


@settings(deadline=None)
@given(st.integers(1, 2000), st.integers(2, 300), st.data())
def test_windows_cover_all_tokens_and_share_the_overlap(
    length: int, window: int, data: st.DataObject
) -> None:
    """Without it part of a long document would be lost, or cut without context."""
    overlap = data.draw(st.integers(0, window - 1))

    ranges = windows(length, window, overlap)

    assert ranges[0][0] == 0
    assert ranges[-1][1] == length
    assert all(0 < last - first <= window for first, last in ranges)
    for (_, last), (first, _) in pairwise(ranges):
        assert last - first == overlap


def test_windows_merged_are_the_whole_document() -> None:
    """Without it a long document would be scored on a part of itself."""
    document = tokenized("lovely tea " * 100, window=50, overlap=10)

    merged = document.window_ids()[0].tolist()
    for ids in document.window_ids()[1:]:
        merged += ids.tolist()[10:]

    assert merged == document.ids.tolist()


def test_a_text_of_blanks_is_refused() -> None:
    """Without it a window without tokens would reach the network."""
    with pytest.raises(DocumentError) as refusal:
        tokenized(" ")

    assert (refusal.value.code, refusal.value.stage) == (ErrorCode.NO_CONTENT, Stage.TOKENIZE)


def test_the_same_texts_give_the_same_vocabulary(tmp_path: Path) -> None:
    """Without it a training could not be repeated."""
    for name in ("one", "two"):
        trained().save(tmp_path / name)

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_saved_tokenizer_gives_the_same_tokens(tmp_path: Path) -> None:
    """Without it an artifact would tokenize texts differently than in its training."""
    TOKENIZER.save(tmp_path / "tokenizer.json")
    clean = preprocess("Lovely unseen wörds 和 生词")

    loaded = Tokenizer.load(tmp_path / "tokenizer.json")

    assert loaded.size == TOKENIZER.size
    before, after = (
        tokenizer.tokenize(clean, spans=True, window=256, overlap=32)
        for tokenizer in (TOKENIZER, loaded)
    )
    for part in ("ids", "starts", "ends"):
        assert getattr(before, part).tolist() == getattr(after, part).tolist()


def test_what_is_remembered_does_not_change_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a document's tokens would depend on the documents before it."""
    texts = ["lovely tea", "今天 tea", "lovely weather", "the 天气"]
    expected = [tokenized(text).ids.tolist() for text in texts]
    monkeypatch.setattr("worker.pipeline.tokenize.REMEMBERED_WORDS", 2)

    forgetful = trained()
    found = [
        forgetful.tokenize(CleanText(text, "en"), spans=False, window=256, overlap=32).ids.tolist()
        for text in texts
    ]

    assert found == expected


def test_a_file_at_which_the_library_panics_is_refused(tmp_path: Path) -> None:
    """Without it a worker dies of it again and again, instead of saying what to install."""
    path = tmp_path / "tokenizer.json"
    TOKENIZER.save(path)
    content = json.loads(path.read_text())
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    path.write_text(json.dumps(content))

    with pytest.raises(ArtifactError, match="install the artifact again"):
        Tokenizer.load(path)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    """Without it a broken installation would end in a traceback that helps nobody."""
    (tmp_path / "tokenizer.json").write_text("{}")

    with pytest.raises(ArtifactError, match="install the artifact again"):
        Tokenizer.load(tmp_path / "tokenizer.json")
