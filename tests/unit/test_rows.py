"""The rows of training data, as files hold them."""

import gzip
from pathlib import Path

import pytest

from schema.errors import InputError
from worker.training.rows import RowFile, SentimentRow


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    """Without it one bad line among thousands could not be found."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine", "label": "neutral"}\n{"text": "x", "label": "great"}\n')

    with pytest.raises(InputError, match="line 2: label"):
        list(RowFile(path, SentimentRow))


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    """Without it, files as Windows programs write them are refused as broken."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine", "label": "neutral"}\n', encoding="utf-8-sig")

    assert list(RowFile(path, SentimentRow)) == [SentimentRow(text="fine", label="neutral")]


def test_a_cut_off_file_is_an_input_error(tmp_path: Path) -> None:
    """Without it half a download would be a traceback."""
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "fine", "label": "neutral"}\n' * 100)[:-12])

    with pytest.raises(InputError, match="cannot be read"):
        list(RowFile(path, SentimentRow))
