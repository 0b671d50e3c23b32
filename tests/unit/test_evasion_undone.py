"""Cleaning undoes disguises of words and leaves ordinary text alone."""

import re

import pytest
from hypothesis import given, settings

from tests.strategies import any_texts, disguised_texts
from worker.pipeline.alignment import AlignedText
from worker.pipeline.evasion import undo_evasion
from worker.pipeline.preprocess import preprocess

DISGUISES = [
    ("f u c k you", "fuck you"),
    ("an f.u.c.k.i.n.g idiot", "an fucking idiot"),
    ("s*h*i*t", "shit"),
    ("Ｉ Ｄ Ｉ Ｏ Ｔ", "idiot"),
    ("i\u200bd\u200bi\u200bo\u200bt", "idiot"),
    ("你 真 傻", "你真傻"),
    ("傻*瓜", "傻瓜"),
    ("弓虽女干", "强女干"),
    ("亻也讠兑马扁子", "他说骗子"),
    ("sh1t", "shit"),
    ("St00pid b!tch", "stoopid bitch"),
    ("b@stard", "bastard"),
    ("pu55y", "pussy"),
    ("іdіοt", "idiot"),
    ("stuuupid", "stupid"),
    ("asssshole", "asshole"),
    ("關閉", "关闭"),
]

ORDINARY = [
    "u s a and u.s.a.",
    "192.168.1.1 runs v3.5.2, 3.5 or 10:30",
    "let x = a*b*c*d and a b c d, then i.e. w.r.t. e.g.",
    "log4j, neo4j, mp3player, md5sum, iphone5s, h1n1, covid19, i18n, a11y, k8s, d3js, x86",
    "ch3oh and c6h12o6, rs485, gtx1070ti, 3d, structured3d",
    "joe@home.org wow!great hi!there $path a@b",
    "www.example.org, world war iii, xviii, mmm, 0xfffa, ieee",
    "def f(x): return x**2 + 1 if a_b else c.d.e.f",
    "привет как дела, москва, мама",
    "καλημέρα κόσμε, ο νους",
    "tnfα, nf-κb, μm, δx, ρν",
    "女干部和马拉松, 一句多余的话, 100米分组",
    "哈哈哈哈, 今天天气很好。约翰·克利斯朵夫",
    "膜.用x射线, 5倍.在ph",
    "1 2 3 4 5 6",
    "a-b-a-b",
]


@pytest.mark.parametrize(("disguised", "meant"), DISGUISES)
def test_a_disguise_is_undone(disguised: str, meant: str) -> None:
    """Without it a symbol inside a word would be enough to get past moderation."""
    assert preprocess(disguised).text == meant


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_left_alone(text: str) -> None:
    """Without it addresses, versions, formulas, code or other languages would be misread."""
    assert preprocess(text).text == text


def test_spans_point_at_the_disguised_word() -> None:
    """Without it a moderator would be shown another part of the text."""
    text = "such a f*u*c*k*i*n*g mess"
    clean = preprocess(text)
    start = clean.text.index("fucking")

    first, last = clean.original_span(start, start + len("fucking"))

    assert text[first:last] == "f*u*c*k*i*n*g"


@settings(deadline=None)
@given(disguised_texts)
def test_every_character_maps_to_its_source(text: str) -> None:
    """Without it spans of results would point to the wrong text."""
    aligned = AlignedText(text)

    undo_evasion(aligned)

    if aligned.starts is None or aligned.ends is None:
        assert aligned.text == text
        return
    assert len(aligned.text) == len(aligned.starts) == len(aligned.ends)
    assert (aligned.starts < aligned.ends).all()
    assert (aligned.starts[1:] >= aligned.ends[:-1]).all()
    for seen, start, end in zip(aligned.text, aligned.starts, aligned.ends, strict=True):
        assert text[start:end] == seen or seen.isalpha()


@settings(deadline=None)
@given(any_texts)
def test_nothing_but_letters_and_what_hides_them_changes(text: str) -> None:
    """Without it undoing disguises would damage text without disguises."""
    aligned = AlignedText(text)

    undo_evasion(aligned)

    others = re.compile(r"[\w\s.*_|~·@!$-]")
    assert others.sub("", aligned.text) == others.sub("", text)


@pytest.mark.parametrize(
    "piece", ["a ", "a.b.", "a1", "1a", "aaa", "oо", "傻 ", "弓", "讠正", "a@", "ab" * 20 + "1"]
)
def test_undoing_takes_linear_time(piece: str) -> None:
    """Without it a crafted text could block a worker; the test fails by its timeout."""
    undo_evasion(AlignedText(piece * (1_000_000 // len(piece))))
