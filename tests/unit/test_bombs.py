"""Small files crafted to expand into large ones are refused in bounded memory."""

import gzip
import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from producer.readers import read_documents
from producer.readers.source import FREE_EXPANSION, opened
from schema.documents import Rejected
from schema.errors import InputError
from schema.outcomes import ErrorCode
from schema.settings import IntakeSettings

LIMITS = IntakeSettings(max_document_bytes=1000)
MEBIBYTE = 1024 * 1024


def blown_up(block: bytes, times: int, *, level: int = 9) -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=level) as file:
        for _ in range(times):
            file.write(block)
    return out.getvalue()


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.txt.gz", "a.parquet.gz"])
def test_gzip_that_expands_without_end_is_refused(name: str, tmp_path: Path) -> None:
    """Without it, a file of a few kilobytes fills the disk, or keeps intake busy for hours."""
    path = tmp_path / name
    path.write_bytes(blown_up(b'"' + b"0" * (MEBIBYTE - 1), 160))

    with pytest.raises(InputError, match=r"decompresses to more than 500 times its size"):
        list(read_documents(str(path), limits=LIMITS))


def test_gzip_of_ordinary_text_is_read_whatever_its_size(tmp_path: Path) -> None:
    """Without it, an honest file that compresses well is refused as a bomb."""
    path = tmp_path / "a.txt.gz"
    lines = b"".join(
        b"parcel %d arrived, %d days late\n" % (n, n * 7919 % 31) for n in range(40000)
    )
    path.write_bytes(blown_up(lines, 60, level=1))

    with opened(str(path)) as stream:
        read = sum(len(block) for block in iter(lambda: stream.read(MEBIBYTE), b""))

    assert read == 60 * len(lines) > FREE_EXPANSION


def test_parquet_that_expands_without_end_is_refused(tmp_path: Path) -> None:
    """Without it, one page of a file takes all memory."""
    path = tmp_path / "a.parquet"
    table = pa.table({"text": pa.array(["0" * 100 * MEBIBYTE])})
    pq.write_table(table, path, compression="zstd")

    with pytest.raises(InputError, match=r"more than 500 times its size \(column text\)"):
        list(read_documents(str(path), limits=LIMITS))


def test_parquet_list_of_a_million_nulls_is_refused(tmp_path: Path) -> None:
    """Without it, one row of a small file takes all memory."""
    path = tmp_path / "a.parquet"
    nulls = pa.nulls(10 * MEBIBYTE, pa.int64())
    rows = pa.ListArray.from_arrays(pa.array([0, len(nulls)], pa.int32()), nulls)
    pq.write_table(pa.table({"text": ["a"], "more": rows}), path, compression="zstd")

    with pytest.raises(InputError, match=r"more than 500 times its size"):
        list(read_documents(str(path), limits=LIMITS))


@pytest.mark.parametrize("nested", [False, True])
def test_parquet_string_that_is_named_many_times_is_held_once(
    tmp_path: Path, *, nested: bool
) -> None:
    """Without it, a file of less than a megabyte asks for more than a gigabyte."""
    path = tmp_path / "a.parquet"
    large = pa.array(["0" * 10 * MEBIBYTE])
    named = pa.DictionaryArray.from_arrays(pa.array([0] * 120, pa.int32()), large)
    if nested:
        named = pa.ListArray.from_arrays(pa.array([0, 120], pa.int32()), named)
    columns = {"text": ["a"], "more": named} if nested else {"text": named}
    pq.write_table(pa.table(columns), path, compression="zstd", store_schema=False)
    program = (
        "import resource, sys; from producer.readers import read_documents;"
        "from schema.settings import IntakeSettings;"
        # More than the reader needs, and less than all copies of the string take.
        "resource.setrlimit(resource.RLIMIT_DATA, (2 ** 30, 2 ** 30));"
        "codes = {record.code for record in read_documents(sys.argv[1], limits=IntakeSettings())};"
        "print(*codes)"
    )

    read = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, check=True, text=True
    )

    assert path.stat().st_size < MEBIBYTE
    assert read.stdout.strip() == ErrorCode.TEXT_TOO_LARGE


def test_json_nested_without_end_is_a_refusal(tmp_path: Path) -> None:
    """Without it, a line of brackets ends a submission with a traceback."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a", "m": ' + "[" * 100_000 + "]" * 100_000 + "}\n")

    (record,) = read_documents(str(path), limits=IntakeSettings())

    assert isinstance(record, Rejected)
