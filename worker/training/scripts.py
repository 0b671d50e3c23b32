"""A text in another script that says the same: traditional characters, full width."""

import re
from functools import cache
from typing import Final

import opencc

_HAN_RUN: Final = re.compile("[\u4e00-\u9fff]+")


def traditional(text: str) -> str:
    """With traditional characters for simplified ones."""
    return _HAN_RUN.sub(lambda found: _converter().convert(found[0]), text)


@cache
def _converter() -> opencc.OpenCC:
    return opencc.OpenCC("s2t")


def full_width(text: str) -> str:
    """With full-width signs for those of ASCII."""
    return text.translate(_full_widths())


@cache
def _full_widths() -> dict[int, str]:
    return {code: chr(code + 0xFEE0) for code in range(0x21, 0x7F)} | {0x20: "\u3000"}
