"""Messages: whatever arrives is a valid pointer to a chunk, or is refused."""

import json
import re
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schema.documents import Task
from schema.messages import PENDING_CHANNEL, ChunkMessage

MESSAGE = ChunkMessage(job_id=UUID(int=7), chunk_no=3, task=Task.SENTIMENT)

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["v", "job_id", "chunk_no", "task", "sentiment", str(UUID(int=7))]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


@given(payload=st.binary(max_size=300) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_no_bytes_raise_anything_but_a_refusal(payload: bytes) -> None:
    """Without it, a broken message ends the thread that reads it."""
    with pytest.raises(ValidationError):
        ChunkMessage.model_validate_json(payload)


@given(field=st.sampled_from(["v", "job_id", "chunk_no", "task", "more"]), value=ANYTHING)
def test_a_field_is_right_or_refused(field: str, value: object) -> None:
    """Without it, a message of a later version is taken for one of this version."""
    fields = json.loads(MESSAGE.model_dump_json()) | {field: value}

    try:
        message = ChunkMessage.model_validate(fields)
    except ValidationError:
        return

    assert field != "more"
    assert message.v == 1
    assert message.chunk_no >= 0
    assert set(message.model_dump()) == {"v", "job_id", "chunk_no", "task"}


def test_a_message_survives_the_wire() -> None:
    """Without it a worker would claim another chunk than was dispatched."""
    assert ChunkMessage.model_validate_json(MESSAGE.model_dump_json()) == MESSAGE


def test_a_message_holds_nothing_but_a_pointer() -> None:
    """Without it, document text stays in Redis, in its backups and in its monitors."""
    assert set(ChunkMessage.model_fields) == {"v", "job_id", "chunk_no", "task"}


def test_sql_rings_the_bell_that_dispatch_hears() -> None:
    """Without it, chunks that SQL submits, resumes or gives back wait for the next poll."""
    files = (Path(__file__).parents[2] / "migrations").rglob("*.sql")
    rung = [
        channel
        for file in files
        for channel in re.findall(r"notify\W+(\w+)", file.read_text(encoding="utf-8"))
    ]

    assert rung.count(PENDING_CHANNEL) > 1
    assert set(rung) == {PENDING_CHANNEL, "textmill_job_ended"}
