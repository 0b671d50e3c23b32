"""Readers: whatever bytes a file holds, it is read or refused."""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.readers import Format
from schema.documents import Document, Rejected
from schema.errors import InputError
from tests.fixtures.files import Write, read

FUZZING = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=75, deadline=None
)


@FUZZING
@given(junk=st.binary(max_size=200))
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "txt"])
def test_whatever_stands_between_two_records_both_are_read(
    suffix: str, junk: bytes, write: Write
) -> None:
    """Sooner or later, files hold bytes that nobody expected."""
    head, first, last = {
        "jsonl": (b"", b'{"id": "f", "text": "first"}\n', b'{"id": "l", "text": "last"}\n'),
        "csv": (b"id,text\n", b"f,first\n", b"l,last\n"),
        "tsv": (b"id\ttext\n", b"f\tfirst\n", b"l\tlast\n"),
        "txt": (b"", b"first\n", b"last\n"),
    }[suffix]
    path = write(f"a.{suffix}", head + first + junk + b"\n" + last)

    records = read(path)

    lines = [record.line or 0 for record in records]
    assert [getattr(records[at], "text", None) for at in (0, -1)] == ["first", "last"]
    assert lines == sorted(set(lines))
    if suffix == "txt":
        assert len(records) == 3 + junk.count(b"\n")


@FUZZING
@given(data=st.binary(max_size=300), packed=st.booleans())
@pytest.mark.parametrize("known", Format)
def test_no_content_raises_anything_but_a_refusal(
    known: Format, data: bytes, write: Write, *, packed: bool
) -> None:
    """Otherwise an unexpected exception ends a submission of millions with a traceback."""
    path = write("fuzz", b"\x1f\x8b\x08\x00" + data if packed else data)

    try:
        records = read(path, known)
    except InputError:
        return

    assert all(isinstance(record, Document | Rejected) for record in records)


@FUZZING
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1),
            st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
        ).filter(lambda row: not row[0].isspace()),
        max_size=5,
    )
)
def test_what_the_csv_module_writes_is_read_back(rows: list[tuple[str, str]], write: Write) -> None:
    """Line breaks, quotes and delimiters inside values belong to the text."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([("text", "other"), *rows])
    path = write("a.csv", text.getvalue().encode())

    assert [
        (getattr(record, "text", record), getattr(record, "metadata", record))
        for record in read(path)
    ] == [(row[0], {"other": row[1]}) for row in rows]
