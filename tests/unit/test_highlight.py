"""Untrusted text, cut into pieces that a page may show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.review.highlight import Mark, of_evidence, of_keywords, pieces
from schema.outcomes import Evidence, Keyword

MARKS = st.lists(
    st.builds(
        lambda start, length, level: Mark(start, start + length, level, against=False, title=""),
        st.integers(0, 30),
        st.integers(1, 10),
        st.integers(1, 4),
    ),
    max_size=8,
)


@given(text=st.text(alphabet="ab茶🍵 \u202e\u200b\n", max_size=30), marks=MARKS)
def test_pieces_are_the_text_each_under_its_strongest_mark(text: str, marks: list[Mark]) -> None:
    """Without it, a moderator reads another text than the one that is judged."""
    position = 0
    for piece in pieces(text, marks):
        length = sum(1 if part.hidden else len(part.text) for part in piece.parts)
        for at in range(position, position + length):
            over = [mark.level for mark in marks if mark.start <= at < mark.end]
            assert (piece.mark.level if piece.mark else 0) == max(over, default=0)
        for part in piece.parts:
            if part.hidden:
                assert part.text == f"U+{ord(text[position]):04X}"
                position += 1
            else:
                assert part.text == text[position : position + len(part.text)]
                position += len(part.text)

    assert position == len(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("txt.\u202eexe", ["RIGHT-TO-LEFT OVERRIDE"]),
        ("s\u200bpam", ["ZERO WIDTH SPACE"]),
        ("s\u200dpam 加\u200d微", ["ZERO WIDTH JOINER"] * 2),
        ("a\x00b\x1b[2J", ["control character"] * 2),
        ("\ufeffspam\u00ad", ["ZERO WIDTH NO-BREAK SPACE", "SOFT HYPHEN"]),
        ("s\u3164pa\u034fm", ["HANGUL FILLER", "COMBINING GRAPHEME JOINER"]),
        ("s\u2800pam", ["BRAILLE PATTERN BLANK"]),
        ("family 👩\u200d👧, tabs\tand\nlines\u3000", []),
    ],
)
def test_hidden_characters_are_named(text: str, named: list[str]) -> None:
    """Without it, hidden characters make a text look harmless, or reverse text on the page."""
    parts = [part for piece in pieces(text, []) for part in piece.parts]

    assert [part.hidden for part in parts if part.hidden] == named
    assert not {"\u202e", "\u200b", "\x00"} & set("".join(part.text for part in parts))


def test_marks_stand_where_the_result_says() -> None:
    """Without it, the wrong words are shown as the reason."""
    text = "茶🍵 green tea"

    (word, *_) = of_keywords([Keyword(text="green tea", score=0.9, spans=[(3, 12)])])
    pro, con = of_evidence(
        [Evidence(span=(0, 1), weight=0.4), Evidence(span=(3, 8), weight=-0.1)], "spam"
    )

    assert text[word.start : word.end] == "green tea"
    assert (word.level, pro.level, con.level) == (4, 4, 1)
    assert (pro.against, con.against) == (False, True)
    assert (pro.title, con.title) == ("spam +0.40", "spam -0.10")
