"""Cut records into batches and chunks, as rows for COPY."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schema.documents import Document, Record
from schema.outcomes import Stage
from schema.settings import IntakeSettings

BATCH_BYTES = 64_000_000
"""Bytes of rows after which a batch ends, so that memory is bounded for long documents."""

BYTES_PER_TOKEN = 4
"""Bytes of UTF-8: an English word piece has about 4, a Chinese word of 1.5 characters has 4.5."""

# Columns of the rows for COPY, without the job's id: there is no job until its first batch is read.
DOCUMENT_COLUMNS = "seq, external_id, text, metadata, line"
FAILURE_COLUMNS = "seq, code, stage, message, attempt"
CHUNK_COLUMNS = "chunk_no, first_seq, last_seq, tokens"

_NULL = r"\N"


class Batch(NamedTuple):
    """What one transaction loads.

    Attributes:
        documents: one row per record, in the text format of COPY, as UTF-8 without the line feed.
        failures: one row per rejected record.
        chunks: one row per chunk.
        is_last: whether no batch follows.
    """

    documents: list[bytes]
    failures: list[tuple[object, ...]]
    chunks: list[tuple[object, ...]]
    is_last: bool


def batches(records: Iterable[Record], limits: IntakeSettings) -> Iterator[Batch]:
    """Batches bounded by records and by bytes; at least one, even for a job without documents.

    Chunks are bounded by documents and by estimated tokens, and end with their batch. Rejected
    records do not count for a chunk; a run of rejected records alone makes no chunk.
    """
    draft = _Draft(limits)
    for record in records:
        if draft.is_full:
            yield draft.finish(is_last=False)
        draft.add(record)
    yield draft.finish(is_last=True)


class _Draft:
    """A batch under construction.

    It holds rows instead of records: they take less memory, and the garbage collector does not
    traverse them.
    """

    def __init__(self, limits: IntakeSettings) -> None:
        self._limits = limits
        self._seq = 0
        self._chunk_no = 0
        self._chunk_first = 1
        self._empty()

    def _empty(self) -> None:
        self._rows: list[bytes] = []
        self._failures: list[tuple[object, ...]] = []
        self._chunks: list[tuple[object, ...]] = []
        self._bytes = self._chunk_documents = self._chunk_tokens = 0

    @property
    def is_full(self) -> bool:
        return len(self._rows) == self._limits.load_batch or self._bytes > BATCH_BYTES

    def add(self, record: Record) -> None:
        self._seq += 1
        if isinstance(record, Document):
            self._put_in_chunk(len(record.text.encode()) // BYTES_PER_TOKEN + 1)
            fields = _fields(record, self._seq)
        else:
            self._failures.append((self._seq, record.code, Stage.INTAKE, record.message, 0))
            fields = f"{_escaped(record.external_id)}\t{_NULL}\t{_NULL}"
        line = _NULL if record.line is None else record.line
        row = f"{self._seq}\t{fields}\t{line}".encode()
        self._rows.append(row)
        self._bytes += len(row)

    def finish(self, *, is_last: bool) -> Batch:
        """Return the batch, and turn the draft into that of the next one."""
        if self._chunk_documents:
            self._close_chunk(self._seq)
        self._chunk_first = self._seq + 1
        batch = Batch(self._rows, self._failures, self._chunks, is_last)
        self._empty()
        return batch

    def _put_in_chunk(self, tokens: int) -> None:
        full = (
            self._chunk_documents == self._limits.chunk_documents
            or self._chunk_tokens + tokens > self._limits.chunk_tokens
        )
        if self._chunk_documents and full:
            self._close_chunk(self._seq - 1)
        self._chunk_documents += 1
        self._chunk_tokens += tokens

    def _close_chunk(self, last: int) -> None:
        self._chunks.append((self._chunk_no, self._chunk_first, last, self._chunk_tokens))
        self._chunk_no += 1
        self._chunk_first = last + 1
        self._chunk_documents = self._chunk_tokens = 0


def _fields(document: Document, seq: int) -> str:
    """External id, text and metadata."""
    external_id = str(seq) if document.external_id is None else document.external_id
    metadata = json.dumps(document.metadata, ensure_ascii=False) if document.metadata else None
    return f"{_escaped(external_id)}\t{_escaped(document.text)}\t{_escaped(metadata)}"


def _escaped(value: str | None) -> str:
    """A value in the text format of COPY. Calling the driver for each row takes twice as long."""
    if value is None:
        return _NULL
    return (
        value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    )
