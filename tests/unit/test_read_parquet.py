"""Parquet: columns of every kind become fields, and a broken row costs only itself."""

import gzip
import io
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from producer.readers import Format, read_documents
from producer.readers.parquet import read_parquet, repeating_chunks
from producer.readers.rows import Expected, Row
from schema.documents import Document, Record, Rejected
from schema.errors import InputError
from schema.outcomes import ErrorCode
from schema.settings import IntakeSettings

LIMITS = IntakeSettings()


def packed(columns: dict[str, pa.Array], **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


def read(data: bytes, folder: Path) -> list[Record]:
    path = folder / "a.parquet"
    path.write_bytes(data)
    return list(read_documents(str(path), limits=LIMITS))


def metadata(records: list[Record], name: str) -> list[object]:
    return [
        record.metadata[name] if isinstance(record, Document) else record.code for record in records
    ]


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
def test_rows_are_read_from_file_and_from_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, compressed: bool
) -> None:
    """Parquet needs random access, which neither gzip nor a pipe offers."""
    rows = 1000
    data = packed({"id": pa.array(range(rows)), "text": pa.array(["好用"] * rows)})
    data = gzip.compress(data) if compressed else data
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    from_file = read(data, tmp_path)
    from_stdin = list(read_documents("-", file_format=Format.PARQUET, limits=LIMITS))

    assert from_file == from_stdin
    assert from_file == [
        Document(external_id=str(row), text="好用", line=row + 1) for row in range(rows)
    ]


def test_a_gap_in_the_ids_costs_no_document(tmp_path: Path) -> None:
    """In pandas, one missing id turns all ids into floats, and itself into null or NaN."""
    text = pa.array(["a", "b", "c"])

    for gap in (None, float("nan")):
        records = read(packed({"id": pa.array([1.0, gap, 3.0]), "text": text}), tmp_path)
        assert [record.external_id for record in records] == ["1", None, "3"]
        assert all(isinstance(record, Document) for record in records)


def test_a_wrong_column_is_refused_at_the_call(tmp_path: Path) -> None:
    """Submit must know before it writes anything, and people see the names to choose from."""
    path = tmp_path / "a.parquet"
    path.write_bytes(packed({"id": pa.array([1]), "body": pa.array(["a"])}))

    with pytest.raises(InputError, match="'id', 'body'"):
        read_documents(str(path), limits=LIMITS)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([date(2024, 2, 29)]), "2024-02-29"),
        (pa.array([datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)]), "2024-02-29T01:02:03+00:00"),
        (
            pa.array([datetime(2024, 2, 29, 1, tzinfo=timezone(timedelta(hours=8)))]),
            "2024-02-28T17:00:00+00:00",
        ),
        (pa.array([1_000_000_123], pa.timestamp("ns")), "1970-01-01T00:00:01"),
        (pa.array([Decimal("1.50")]), "1.50"),
        (pa.array([timedelta(seconds=90)]), "0:01:30"),
        (pa.array([b"old writer"]), "old writer"),
        (pa.array([[{"a": date(2024, 1, 1)}]]), [{"a": "2024-01-01"}]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), {"k": 1}),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([None], pa.float64()), None),
        (pa.array([float("nan")]), None),
        (pa.array([float("inf")]), ErrorCode.INVALID_METADATA),
        (pa.array([b"\xff"]), ErrorCode.INVALID_ENCODING),
        (pa.array([2**62], pa.timestamp("ms")), ErrorCode.INVALID_METADATA),
    ],
)
def test_values_that_json_lacks_are_written_out_or_refused(
    column: pa.Array, expected: object, tmp_path: Path
) -> None:
    """Exports of data warehouses hold dates and decimals; none of them may stop a job."""
    records = read(packed({"text": pa.array(["a"]), "value": column}), tmp_path)

    assert metadata(records, "value") == [expected]


def test_a_text_that_is_not_utf8_costs_only_its_row(tmp_path: Path) -> None:
    """Parquet does not check its strings, so exports hold bytes of any kind."""
    text = pa.array([b"first", b"\xff\xfe", b"last"]).view(pa.string())

    records = read(packed({"text": text}), tmp_path)

    assert [getattr(record, "code", None) for record in records] == [
        None,
        ErrorCode.INVALID_ENCODING,
        None,
    ]


def test_a_file_that_breaks_off_keeps_the_rows_before_and_says_so(tmp_path: Path) -> None:
    """A broken page in the middle must not look like the end."""
    rows = 4000
    text = pa.array([f"{row:05} text" for row in range(rows)])
    data = bytearray(packed({"text": text}, row_group_size=1000, use_dictionary=False))
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xff" * 3000

    *before, last = read(bytes(data), tmp_path)

    assert 0 < len(before) < rows
    assert all(isinstance(record, Document) for record in before)
    assert isinstance(last, Rejected)
    assert (last.code, last.line) == (ErrorCode.DAMAGED_FILE, len(before) + 1)


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_strings_in_delta_encodings_are_read(encoding: str, tmp_path: Path) -> None:
    """The newer writer of Java and Spark makes such files; Arrow makes no dictionary of them."""
    rows = 1000
    columns = {
        "text": pa.array([f"text {row}" for row in range(rows)]),
        "shop": pa.array([f"shop {row}" for row in range(rows)]),
        "tags": pa.array([["a", str(row)] for row in range(rows)]),
    }

    for encoded in (["text"], ["shop", "tags.list.element"], ["text", "shop"]):
        plain = [name for name in ("text", "shop", "tags.list.element") if name not in encoded]
        delta = dict.fromkeys(encoded, encoding)
        records = read(packed(columns, use_dictionary=plain, column_encoding=delta), tmp_path)

        assert records == [
            Document(
                text=f"text {row}",
                metadata={"shop": f"shop {row}", "tags": ["a", str(row)]},
                line=row + 1,
            )
            for row in range(rows)
        ]


def test_a_column_that_goes_on_in_a_delta_encoding_is_found() -> None:
    """Writers give up a dictionary that grows too large, even in the middle of a file."""
    columns = {"text": pa.array(["some text"])}
    delta = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
    described = pq.read_metadata(io.BytesIO(packed(columns)))
    described.append_row_groups(pq.read_metadata(io.BytesIO(packed(columns, **delta))))

    assert repeating_chunks(described).keys() == {"text"}


DELTA = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}


@pytest.mark.parametrize(("kind", "options"), [(pa.string(), DELTA), (pa.json_(), {})], ids=str)
def test_a_value_that_shares_its_place_in_the_file_costs_its_row_if_it_is_too_large(
    kind: pa.DataType, options: dict[str, object]
) -> None:
    """Without it, a small file that repeats one long value takes all memory."""
    text = pa.array(["x" * 2000] * 2 + ["short"])
    column = text if kind == pa.string() else pa.ExtensionArray.from_storage(kind, text)
    file = io.BytesIO(packed({"text": column}, **options))

    rows = list(read_parquet(file, Expected("a.parquet", ["text"]), limit=1000))

    assert repeating_chunks(pq.read_metadata(file)).keys() == {"text"}
    assert [getattr(row, "code", None) for row in rows] == [ErrorCode.TEXT_TOO_LARGE] * 2 + [None]


def test_what_arrow_does_not_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, all documents of a good file are lost, and the job continues without them."""
    text = pa.array(["some text"])
    data = packed({"text": text}, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY")
    monkeypatch.setattr("producer.readers.parquet._DELTA", set())

    with pytest.raises(InputError, match=r"holds what Arrow does not read .*; write it anew"):
        read(data, tmp_path)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None
)
@given(at=st.integers(0, 600), junk=st.binary(min_size=1, max_size=8))
@example(at=207, junk=b"\x00")  # an index beyond its dictionary
@example(at=517, junk=b")\xd1\x8c9")  # a column that crashes any process that reads it
def test_no_damage_raises_anything_but_a_refusal(at: int, junk: bytes, tmp_path: Path) -> None:
    """Otherwise an unexpected exception ends a submission with a traceback."""
    data = bytearray(packed({"id": pa.array(range(20)), "text": pa.array(["some text"] * 20)}))
    data[at : at + len(junk)] = junk

    try:
        records = read(bytes(data), tmp_path)
    except InputError:
        return

    assert all(isinstance(record, Document | Rejected) for record in records)


LEAVES = st.none() | st.text(st.characters(codec="utf-8"), max_size=5)
NESTED = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1),
            "words": st.none() | st.lists(LEAVES, max_size=3),
            "pairs": st.none() | st.dictionaries(st.sampled_from("abc"), LEAVES),
            "shop": st.none() | st.fixed_dictionaries({"name": LEAVES, "tags": st.lists(LEAVES)}),
        }
    ),
    min_size=1,
    max_size=5,
)
NESTED_SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "words": pa.list_(pa.string()),
        "pairs": pa.map_(pa.string(), pa.string()),
        "shop": pa.struct({"name": pa.string(), "tags": pa.list_(pa.string())}),
    }
)


@settings(deadline=None)
@given(rows=NESTED, page=st.integers(50, 500), limit=st.sampled_from([1, 20, 1000]))
def test_nested_values_are_read_as_they_were_written(
    rows: list[dict[str, object]], page: int, limit: int
) -> None:
    """Without it, metadata is returned changed."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, NESTED_SCHEMA), out, data_page_size=page)
    file = io.BytesIO(out.getvalue())

    found = list(read_parquet(file, Expected("a.parquet", ["text"]), limit=limit))

    assert [row.line for row in found] == [*range(1, len(rows) + 1)]
    for row, written in zip(found, rows, strict=True):
        if isinstance(row, Row):
            assert row.fields == written
        else:
            assert row.code is ErrorCode.TEXT_TOO_LARGE
            assert len(str(written)) > limit
    assert limit < 1000 or all(isinstance(row, Row) for row in found)
