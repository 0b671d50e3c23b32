"""The same text in another script: traditional characters, full width."""

import re
from functools import cache
from typing import Final

import opencc

_HAN_RUN: Final = re.compile("[\u4e00-\u9fff]+")


def traditional(text: str) -> str:
    """Replace simplified characters with traditional ones."""
    return _HAN_RUN.sub(lambda found: _converter().convert(found[0]), text)


@cache
def _converter() -> opencc.OpenCC:
    return opencc.OpenCC("s2t")


def full_width(text: str) -> str:
    """Replace ASCII characters with full-width ones."""
    return text.translate(_full_widths())


@cache
def _full_widths() -> dict[int, str]:
    return {code: chr(code + 0xFEE0) for code in range(0x21, 0x7F)} | {0x20: "\u3000"}
