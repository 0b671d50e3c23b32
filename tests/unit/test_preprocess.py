"""Cleaning a document, and mapping it back to its original."""

import pytest
from hypothesis import given, settings

from schema.errors import DocumentError
from schema.outcomes import ErrorCode, Language, Stage
from tests.strategies import any_texts, broken_texts, ordinary_texts
from worker.pipeline.preprocess import language_of, preprocess
from worker.pipeline.records import CleanText


def cleaned(text: str) -> CleanText | None:
    """What preprocessing makes of `text`, or None if it finds nothing to analyse."""
    try:
        return preprocess(text)
    except DocumentError:
        return None


@settings(deadline=None)
@given(any_texts)
def test_every_character_stands_for_a_non_empty_part_of_the_original(text: str) -> None:
    """Without it a keyword's span could be empty or lie outside of the document."""
    clean = cleaned(text)

    for at in range(len(clean.text) if clean else 0):
        assert clean is not None
        start, end = clean.original_span(at, at + 1)
        assert 0 <= start < end <= len(text)


@settings(deadline=None)
@given(any_texts)
def test_characters_keep_the_order_of_their_sources(text: str) -> None:
    """Without it a span of several characters could end before it begins."""
    clean = cleaned(text)

    if clean is not None and clean.starts is not None and clean.ends is not None:
        assert len(clean.starts) == len(clean.ends) == len(clean.text)
        assert (clean.starts[1:] >= clean.starts[:-1]).all()
        assert (clean.ends[1:] >= clean.ends[:-1]).all()


@settings(deadline=None)
@given(ordinary_texts)
def test_a_text_without_damage_maps_to_itself(text: str) -> None:
    """Without it ordinary documents would pay for an offset map that they do not need."""
    text = " ".join(text.split())

    clean = preprocess(text)

    assert len(clean.text) == len(text)
    assert clean.original_span(1, 3) == (1, 3)


@settings(deadline=None)
@given(broken_texts)
def test_cleaned_text_has_only_single_inner_blanks(text: str) -> None:
    """Without it the same phrase could have several spellings."""
    clean = cleaned(text)

    assert clean is None or clean.text.split(" ") == clean.text.split()


@settings(deadline=None)
@given(ordinary_texts)
def test_the_original_of_a_cleaned_word_cleans_to_that_word(text: str) -> None:
    """Without it a keyword's text would not be the phrase that the model saw."""
    clean = preprocess(f"<b>{text}</b>")

    at = 0
    for word in clean.text.split(" "):
        source = slice(*clean.original_span(at, at + len(word)))
        assert preprocess(f"<b>{text}</b>"[source]).text == word
        at += len(word) + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I donâ€™t know", "i don’t know"),
        ("ä½\xa0å¥½", "你好"),
        ("cafÃ©", "café"),
        ("naïve café", "naïve café"),
        ("fish &amp; chips", "fish & chips"),
        ("one<br/>two", "one two"),
        ('<a href="http://x.org?a=1&b=2">link</a>', "link"),
        ("&lt;br&gt;done", "done"),
        ("if a < b and c > d", "if a < b and c > d"),
        ("I <3 you", "i <3 you"),
        ("ＡＢＣ１２３！", "abc123!"),
        ("ﬁne ㌔", "fine キロ"),
        ("e\u0301te\u0301", "été"),
        ("ｶﾞｽ", "ガス"),
        ("pass\u200bword \u202eevil", "password evil"),
        ("❤\ufe0f", "❤"),
        ("a\tb\r\n\n  c\u3000d", "a b c d"),
        ("這個產品", "这个产品"),
        ("好…", "好…"),
    ],
)
def test_damage_is_repaired_and_meaning_kept(text: str, expected: str) -> None:
    """Without it the model would see text of a kind that it was never trained on."""
    assert preprocess(text).text == expected


def test_a_repaired_character_stands_for_its_own_source() -> None:
    """Without it a keyword in a damaged text would include all of its neighbours."""
    text = "<b>機器</b> donâ€™t ä½\xa0å¥½"

    clean = preprocess(text)

    assert clean.text == "机器 don’t 你好"
    sources = [text[slice(*clean.original_span(at, at + 1))] for at in range(len(clean.text))]
    assert sources == ["機", "器", "</b> ", "d", "o", "n", "â€™", "t", " ", "ä½\xa0", "å¥½"]


@pytest.mark.parametrize("text", ["", " \n", "\u200b\ufeff", "<br><p></p>", "\ud800", "&nbsp;"])
def test_a_text_of_nothing_is_refused(text: str) -> None:
    """Without it the model would score an empty document."""
    with pytest.raises(DocumentError) as refusal:
        preprocess(text)

    assert (refusal.value.code, refusal.value.stage) == (ErrorCode.NO_CONTENT, Stage.PREPROCESS)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("今天天气很好", "zh"),
        ("今天天气很好, ok", "zh"),
        ("the weather is fine today", "en"),
        ("naïve café", "en"),
        ("我觉得这个 function 写得 very elegant", "mixed"),
        ("Привет, как дела", "other"),
        ("한국어 문장입니다", "other"),
        ("12345 !!! 😀", "other"),
    ],
)
def test_language_follows_the_share_of_chinese_words(text: str, language: Language) -> None:
    """Without it reports by language would mix documents."""
    assert language_of(text) == language


@pytest.mark.parametrize(
    "piece",
    ["<", "<a ", "<a x=1 ", '<a href="', "&", "&#", "x  ", "a\u0301", "<b>", "â€", "\u200b", "ﬁ"],
)
def test_a_long_run_of_any_one_thing_is_cleaned(piece: str) -> None:
    """Without it one hostile document could block a worker; the test fails by its timeout."""
    text = piece * (2**18 // len(piece.encode())) + "end"

    clean = preprocess(text)

    assert clean.text.endswith("end")
