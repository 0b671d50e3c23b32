"""Texts of every kind that documents may hold, clean and broken."""

from hypothesis import strategies as st

_ENGLISH = ("The tea", "don't", "Wi-Fi", "COVID19", "a < b", "<3", "C++", "naïve", "x_1", "3.14")
_CHINESE = (
    "今天天气很好",
    "这个产品不错",
    "機器學習",
    "服務態度",
    "繁體字",
    "，",
    "。",
    "“好”",
    "…",
)
_OTHER = ("Привет", "한국어", "こんにちは", "नमस्ते", "ﷺ")
_EMOJI = ("😀", "👍🏽", "❤️", "👨‍👩‍👧", "🇩🇪", ":-)")
_WIDE = ("ＡＢＣ", "１２３", "！", "ﬁne", "㌔", "½", "e\u0301", "\u3000")
_HTML = ("<br>", "<b>", "</b>", '<a href="x">', "&amp;", "&lt;p&gt;", "&#20320;", "&nope;", "&#0;")
_DAMAGED = ("ä½\xa0å¥½", "donâ€™t", "cafÃ©", "ðŸ˜€", "â€œ", "Ã", "\x92")
_UNSEEN = ("\u200b", "\ufeff", "\u202e", "\xad", "\x07", "\x1f", "\ud800", "\udfff", "\ufe0f")
_BLANKS = (" ", "  ", "\n", "\t", "\r\n", "\xa0", "\u2009")

_DISGUISED = (
    "f u c k",
    " s*h*i*t ",
    "傻 逼",
    "弓虽",
    "讠正",
    "sh1t",
    "a$$hole",
    "b@d",
    "fυсk",
    "ѕhіt",
    "cooool",
    "aaaa",
    "Ｉ Ｄ Ｉ Ｏ Ｔ",
)


def _joined(*families: tuple[str, ...]) -> st.SearchStrategy[str]:
    pieces = st.sampled_from([piece for family in families for piece in family])
    return st.lists(pieces, min_size=1, max_size=12).map("".join)


ordinary_texts = _joined(_ENGLISH, _CHINESE, (" ",)).map(lambda text: f"文字 {text}")
"""Chinese and English with nothing to repair and at least one word."""

broken_texts = _joined(_ENGLISH, _CHINESE, _OTHER, _EMOJI, _WIDE, _HTML, _DAMAGED, _UNSEEN, _BLANKS)
"""Everything that preprocessing knows how to repair, in any mixture."""

disguised_texts = _joined(_DISGUISED, _ENGLISH, _CHINESE, _OTHER, _UNSEEN, _BLANKS)
"""Words disguised to get past moderation, mixed with ordinary text."""

any_texts = st.one_of(
    ordinary_texts,
    broken_texts,
    disguised_texts,
    st.text(st.characters(), max_size=60),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Mn", "Zs", "Lo"]), max_size=60),
)
"""Any sequence of code points, lone surrogates included."""
