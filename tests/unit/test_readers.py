"""Readers: every format gives the same documents, from a file or a pipe."""

import gzip
import io
import json
import os
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest

from producer.readers import LINE_MARGIN, Format, read_documents
from schema.documents import Document, Rejected
from schema.errors import InputError
from schema.outcomes import ErrorCode
from tests.fixtures.files import LIMITS, Write, codes, read

JSONL = (
    '{"id": "a", "text": "好用 and sturdy", "shop": "n1"}\n{"id": 2, "text": "x", "shop": null}\n'
)
CSV = 'id,text,shop\na,好用 and sturdy,n1\n2,"x, ""y""\nz",\n'
TSV = "id\ttext\tshop\r\na\t好用 and sturdy\tn1\r\n2\tx\tn2\r\n"
TXT = "好用 and sturdy\nx"


def pipe_in(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("suffix", "data", "expected"),
    [
        ("jsonl", JSONL, [("a", "好用 and sturdy", 1), ("2", "x", 2)]),
        ("ndjson", JSONL, [("a", "好用 and sturdy", 1), ("2", "x", 2)]),
        ("csv", CSV, [("a", "好用 and sturdy", 2), ("2", 'x, "y"\nz', 3)]),
        ("tsv", TSV, [("a", "好用 and sturdy", 2), ("2", "x", 3)]),
        ("txt", TXT, [(None, "好用 and sturdy", 1), (None, "x", 2)]),
    ],
)
def test_every_text_format_is_read_from_file_and_from_stdin(
    suffix: str,
    data: str,
    expected: list[tuple[str | None, str, int]],
    *,
    packed: bool,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A producer may use any format; gzip is detected by content, byte order marks are ignored."""
    content = b"\xef\xbb\xbf" + data.encode()
    content = gzip.compress(content) if packed else content
    path = write(f"Docs.{suffix.upper()}{'.gz' if packed else ''}", content)
    pipe_in(content, monkeypatch)
    known = None if suffix == "ndjson" else Format(suffix)

    for records in (read(path), read("-", known)):
        assert [(r.external_id, getattr(r, "text", r), r.line) for r in records] == expected


def test_other_fields_are_kept_as_metadata(write: Write) -> None:
    """They are returned with the outcome, so a consumer needs no join."""
    from_json = read(write("a.jsonl", JSONL.encode()))
    from_csv = read(write("a.csv", CSV.encode()))

    assert [getattr(r, "metadata", r) for r in from_json] == [{"shop": "n1"}, {"shop": None}]
    assert [getattr(r, "metadata", r) for r in from_csv] == [{"shop": "n1"}, {"shop": ""}]


def test_fields_of_other_names_are_read_where_they_are_named(write: Write) -> None:
    """Nobody should have to rename columns of a database export."""
    path = write("a.csv", b"key,body,text\nk1,hello,kept\n")

    assert read(path, text_field="body", id_field="key") == [
        Document(external_id="k1", text="hello", metadata={"text": "kept"}, line=2)
    ]


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.csv", b"id,text\n,a\n", None),
        ("a.tsv", b"id\ttext\n\ta\n", None),
        ("a.csv", b"id,text\n ,a\n", ErrorCode.INVALID_ID),
        ("a.jsonl", b'{"id": null, "text": "a"}', None),
        ("a.jsonl", b'{"id": "", "text": "a"}', ErrorCode.INVALID_ID),
    ],
)
def test_an_empty_cell_is_no_id(
    name: str, content: bytes, code: ErrorCode | None, write: Write
) -> None:
    """A table has no other way to say that a row has no id; its document is good."""
    (record,) = read(write(name, content))

    assert (record.external_id, getattr(record, "code", None)) == (None, code)
    assert getattr(record, "metadata", {}) == {}


@pytest.mark.parametrize(
    ("name", "content", "options", "remedy"),
    [
        ("a.jsonl", JSONL.encode(), {"text_field": "txt"}, "'id', 'text', 'shop'"),
        ("a.jsonl", JSONL.encode(), {"id_field": "key"}, "--id-field"),
        ("a.csv", CSV.encode(), {"text_field": "txt"}, "'id', 'text', 'shop'"),
        ("a.csv", CSV.encode(), {"id_field": "key"}, "--id-field"),
        ("a.txt", b"a\n", {"id_field": "key"}, "--id-field"),
        ("a.csv", b"\xef\xbb\xbf\n", {}, "header"),
        ("a.tsv", b"\n", {}, "header"),
        ("a.csv", b"\nid,text\n", {}, "header"),
        ("a.csv", b"id,te\xffxt\n1,a\n", {}, "UTF-8"),
        ("a.csv", "编号,正文\n".encode("gbk"), {}, "may be GB18030 .*: iconv -f GB18030 -t UTF-8"),
        ("a.tsv", "编号\t正文\n".encode("gbk"), {}, "may be GB18030 .*: iconv -f GB18030 -t UTF-8"),
        ("a.csv", b"id;text\n1;a,b\n", {}, "separated by semicolons; separate it by commas, .* -c"),
        ("a.csv", b'"id";"text"\n"1";"a"\n', {}, "separated by semicolons"),
        ("a.csv", b'id,"text\n1,a\n', {}, "header"),
        ("a.csv", b"text,text\na,b\n", {}, "more than one column 'text'"),
        ("a.xyz", b"", {}, "--format"),
        ("a", b"", {}, "--format"),
        ("a.json", b'[\n  {"text": "a"}\n]\n', {}, "jq"),
        ("a.json", b'[{"text": "a"},\n{"text": "b"}]\n', {}, "jq"),
        ("a.jsonl", JSONL.encode("utf-16"), {}, "convert it to UTF-8"),
        ("a.csv", CSV.encode("utf-32"), {}, "convert it to UTF-8"),
        ("a.csv", CSV.encode("utf-16-le"), {}, "UTF-16 .* without a byte order mark; convert it"),
        ("a.tsv", TSV.encode("utf-16-be"), {}, "UTF-16 .* without a byte order mark; convert it"),
        ("a.jsonl", JSONL.encode("utf-32-le"), {}, "UTF-32 text without a byte order mark"),
        (
            "a.jsonl",
            b'{"text": "a"}\r{"text": "b"}\r',
            {},
            "end in a carriage return alone; convert",
        ),
        ("a.jsonl", b'{"te\r{"text": "b"} \r\r{"text": "c"}', {}, "end in a carriage return alone"),
        ("a.csv", b"id,text\r1,a\r2,b\r", {}, "end in a carriage return alone; convert .* tr "),
        ("a.tsv", b"id\ttext\r1\ta\r", {}, "end in a carriage return alone; convert .* tr "),
        ("a.txt", b"PK\x03\x04rest", {}, "unpack"),
        ("a.csv", b"PAR1rest", {}, "--format parquet"),
        ("a.jsonl.gz", b"\x1f\x8b\x08cut", {}, "cannot be read"),
        ("a.parquet", JSONL.encode(), {}, "not a Parquet file"),
        ("a.parquet", b"", {}, "not a Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_as_asked_is_refused_at_the_call(
    name: str, content: bytes, options: dict[str, str], remedy: str, write: Write
) -> None:
    """Submit must know before it writes anything, and the message says what to do."""
    path = write(name, content)

    with pytest.raises(InputError, match=remedy):
        read_documents(path, limits=LIMITS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.txt"])
@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf"], ids=["empty", "byte order mark"])
def test_an_empty_file_holds_no_document(name: str, content: bytes, write: Write) -> None:
    """Otherwise one empty part of a nightly export stops the load of all others."""
    assert read(write(name, content)) == []
    assert read(write(f"{name}.gz", gzip.compress(content))) == []


def test_a_path_without_a_readable_file_is_refused_at_the_call(tmp_path: Path) -> None:
    """A typing error must not become a job without documents."""
    for path in (tmp_path / "missing.jsonl", tmp_path, "nul\x00.jsonl"):
        with pytest.raises(InputError):
            read_documents(str(path), file_format=Format.JSONL, limits=LIMITS)


def test_files_are_not_held_open_before_they_are_read(write: Write) -> None:
    """Otherwise thousands of part files would exhaust the file descriptors."""
    paths = [write(f"{number}.jsonl", JSONL.encode()) for number in range(5)]
    before = len(list(Path("/dev/fd").iterdir()))

    sources = [read_documents(path, limits=LIMITS) for path in paths]

    assert len(list(Path("/dev/fd").iterdir())) == before
    assert [len(list(source)) for source in sources] == [2] * 5


def test_a_pipe_that_trickles_is_read_whole(tmp_path: Path) -> None:
    """`<(zcat …)` gives few bytes at a time; bytes read to check its head must not be lost."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def feed() -> None:
        with path.open("wb", buffering=0) as pipe:
            for byte in gzip.compress(JSONL.encode()):
                pipe.write(bytes([byte]))

    feeder = threading.Thread(target=feed)
    feeder.start()
    records = read(str(path), Format.JSONL)
    feeder.join()

    assert [record.external_id for record in records] == ["a", "2"]


def test_a_blank_line_is_a_document_where_a_line_is_a_value(write: Write) -> None:
    """Nothing is dropped silently: an empty value is an empty text, with its line."""
    expected = [(1, None), (2, ErrorCode.EMPTY_TEXT), (3, None)]

    assert codes(read(write("a.txt", b"a\n\nb\n"))) == expected
    assert codes(read(write("a.csv", b"text\na\n\nb\n"))) == [
        (line + 1, code) for line, code in expected if line
    ]


def test_open_quotes_in_every_line_are_read_in_linear_time(write: Write) -> None:
    """Each line opens a quote that never closes; rereading the rest each time would not end."""
    count = 20_000
    path = write("a.csv", b"text,n\n" + b'x","\n' * count)

    assert codes(read(path)) == [(line, ErrorCode.INVALID_RECORD) for line in range(2, count + 2)]


def test_a_line_without_end_is_skipped_without_being_held(write: Write) -> None:
    """A small gzip file may hold a line larger than memory."""
    lines = (b'{"text": "a"}', b"x" * 80_000_000, b'{"text": "b"}')
    path = write("a.jsonl.gz", gzip.compress(b"\n".join(lines)))

    tracemalloc.start()
    records = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert codes(records) == [(1, None), (2, ErrorCode.TEXT_TOO_LARGE), (3, None)]
    assert peak < 3 * LINE_MARGIN


def test_large_records_without_the_field_are_not_held_until_it_counts_as_unknown(
    write: Write,
) -> None:
    """Without it, a misnamed field costs two gigabytes of memory before it is reported."""
    path = write("a.jsonl.gz", gzip.compress(b'{"body": "%s"}\n' % (b"x" * 5_000_000) * 20))

    tracemalloc.start()
    with pytest.raises(InputError, match="has no field 'text'"):
        read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 3 * LINE_MARGIN


def test_one_large_record_without_the_field_is_refused_alone(write: Write) -> None:
    """Without it, a single broken record makes a whole file be refused."""
    path = write("a.jsonl", b'{"body": "%s"}\n{"text": "a"}\n' % (b"x" * (LINE_MARGIN + 1)))

    assert codes(read(path)) == [(1, ErrorCode.MISSING_TEXT), (2, None)]


def test_memory_does_not_grow_with_the_file(write: Write) -> None:
    """A nightly export has millions of rows."""
    peaks = []
    for count in (2_000, 20_000):
        path = write("a.jsonl", b'{"text": "%s"}\n' % (b"x" * 500) * count)
        tracemalloc.start()
        assert sum(1 for _ in read_documents(path, limits=LIMITS)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize("kept", [-4, -8, 0.5])
def test_a_damaged_gzip_file_keeps_what_came_before_and_says_so(kept: float, write: Write) -> None:
    """A truncated upload must not look like a complete one."""
    count = 2000
    lines = b"".join(
        json.dumps({"text": os.urandom(20).hex()}).encode() + b"\n" for _ in range(count)
    )
    packed = gzip.compress(lines)
    path = write("a.jsonl.gz", packed[: int(kept if kept < 0 else kept * len(packed))])

    *before, last = read(path)

    assert all(isinstance(record, Document) for record in before)
    assert len(before) == count if kept < 0 else 500 < len(before) < count
    assert isinstance(last, Rejected)
    assert last.code == ErrorCode.DAMAGED_FILE
    assert last.line == len(before) + 1
    assert f"damaged from line {last.line} on" in last.message
