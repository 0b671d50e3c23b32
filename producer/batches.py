"""Records cut into batches and chunks, as the rows that COPY takes."""

import json
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from schema.documents import Document, JobId, Record
from schema.outcomes import Stage
from schema.settings import IntakeSettings

BATCH_CHARACTERS = 32_000_000
"""Characters of text after which a batch ends, so that memory is bounded for long documents."""

BYTES_PER_TOKEN = 4
"""Of UTF-8: an English word piece has about four letters, a Chinese word of 1.5 characters 4.5."""

_NULL = r"\N"


class Batch(NamedTuple):
    """What one transaction loads.

    Attributes:
        documents: rows of `document` in the text format of COPY: job_id, seq, external_id, text,
            metadata, line.
        failures: rows of `failure`: job_id, seq, code, stage, message, attempt.
        chunks: rows of `chunk`: job_id, chunk_no, first_seq, last_seq, tokens.
        accepted: records of it.
        is_last: whether none follows.
    """

    documents: bytes
    failures: list[tuple[object, ...]]
    chunks: list[tuple[object, ...]]
    accepted: int
    is_last: bool


def batches(job_id: JobId, records: Iterable[Record], limits: IntakeSettings) -> Iterator[Batch]:
    """Batches bounded by records and by characters; at least one, an empty job exists too.

    Chunks are bounded by documents and by estimated tokens, and end with their batch. Refused
    records take no part in these bounds; a run of nothing else is no chunk.
    """
    draft = _Draft(job_id, limits)
    for record in records:
        if draft.is_full:
            yield draft.finish(is_last=False)
        draft.add(record)
    yield draft.finish(is_last=True)


class _Draft:
    """A batch in the making. No record is held, only its rows: they take less, and no collector."""

    def __init__(self, job_id: JobId, limits: IntakeSettings) -> None:
        self._job_id = job_id
        self._key = str(job_id)  # written out once, not for every row
        self._limits = limits
        self._seq = 0
        self._next_chunk = 0
        self._first = 1  # seq of the chunk that is open
        self._empty()

    def _empty(self) -> None:
        self._rows: list[str] = []
        self._failures: list[tuple[object, ...]] = []
        self._chunks: list[tuple[object, ...]] = []
        self._characters = self._documents = self._tokens = 0

    @property
    def is_full(self) -> bool:
        return len(self._rows) == self._limits.load_batch or self._characters > BATCH_CHARACTERS

    def add(self, record: Record) -> None:
        self._seq += 1
        if isinstance(record, Document):
            self._count(record.text)
            fields = _fields(record, self._seq)
        else:
            self._failures.append(
                (self._job_id, self._seq, record.code, Stage.INTAKE, record.message, 0)
            )
            fields = f"{_escaped(record.external_id)}\t{_NULL}\t{_NULL}"
        line = _NULL if record.line is None else record.line
        self._rows.append(f"{self._key}\t{self._seq}\t{fields}\t{line}\n")

    def finish(self, *, is_last: bool) -> Batch:
        """The batch, after which the draft is that of the next one."""
        if self._documents:
            self._close_chunk(self._seq)
        self._first = self._seq + 1
        batch = Batch(
            "".join(self._rows).encode(), self._failures, self._chunks, len(self._rows), is_last
        )
        self._empty()
        return batch

    def _count(self, text: str) -> None:
        limits, cost = self._limits, len(text.encode()) // BYTES_PER_TOKEN + 1
        full = (
            self._documents == limits.chunk_documents or self._tokens + cost > limits.chunk_tokens
        )
        if self._documents and full:
            self._close_chunk(self._seq - 1)
        self._characters += len(text)
        self._documents += 1
        self._tokens += cost

    def _close_chunk(self, last: int) -> None:
        self._chunks.append((self._job_id, self._next_chunk, self._first, last, self._tokens))
        self._next_chunk += 1
        self._first = last + 1
        self._documents = self._tokens = 0


def _fields(document: Document, seq: int) -> str:
    """External id, text and metadata."""
    external_id = str(seq) if document.external_id is None else document.external_id
    metadata = json.dumps(document.metadata, ensure_ascii=False) if document.metadata else None
    return f"{_escaped(external_id)}\t{_escaped(document.text)}\t{_escaped(metadata)}"


def _escaped(value: str | None) -> str:
    """A value in the text format of COPY."""
    if value is None:
        return _NULL
    return (
        value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    )
