"""The rules of intake: what is refused, with which code, and what passes unchanged."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.intake import examine, from_mapping
from producer.values import MAX_METADATA_DEPTH
from schema.documents import Document, Rejected
from schema.outcomes import ErrorCode
from schema.settings import IntakeSettings

LIMITS = IntakeSettings(max_document_bytes=100, max_metadata_bytes=600, max_id_characters=10)

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.text(st.sampled_from("a\x00\ud800\udfff中")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class NAType:
    """Stands for the class of `pandas.NA`."""


def nested(depth: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def refusal(**parts: object) -> Rejected:
    fields: dict[str, object] = {"text": "fine"} | parts
    record = from_mapping(fields, limits=LIMITS, line=7)
    assert isinstance(record, Rejected)
    return record


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, ErrorCode.MISSING_TEXT),
        (float("nan"), ErrorCode.MISSING_TEXT),
        (np.float32("nan"), ErrorCode.MISSING_TEXT),
        (np.datetime64("NaT"), ErrorCode.MISSING_TEXT),
        (NAType(), ErrorCode.MISSING_TEXT),
        (5, ErrorCode.INVALID_RECORD),
        (["fine"], ErrorCode.INVALID_RECORD),
        (True, ErrorCode.INVALID_RECORD),
        (date(2024, 2, 29), ErrorCode.INVALID_RECORD),
        (b"\xff", ErrorCode.INVALID_ENCODING),
        ("", ErrorCode.EMPTY_TEXT),
        (" \t\u3000\n", ErrorCode.EMPTY_TEXT),
        ("a\x00b", ErrorCode.INVALID_CHARACTER),
        ("a\ud800b", ErrorCode.INVALID_CHARACTER),
        ("中" * 34, ErrorCode.TEXT_TOO_LARGE),
    ],
)
def test_a_text_that_cannot_be_analysed_is_refused(text: object, code: ErrorCode) -> None:
    """Otherwise Postgres would refuse some in the middle of a COPY, with all their neighbours."""
    assert refusal(text=text).code == code


@pytest.mark.parametrize(
    ("external_id", "code"),
    [
        ("", ErrorCode.INVALID_ID),
        ("  ", ErrorCode.INVALID_ID),
        ("x\ny", ErrorCode.INVALID_ID),
        ("\x01\x02", ErrorCode.INVALID_ID),
        ("a\x7f", ErrorCode.INVALID_ID),
        ("a\x9b31m", ErrorCode.INVALID_ID),
        ("12345678901", ErrorCode.INVALID_ID),
        (True, ErrorCode.INVALID_ID),
        (1.5, ErrorCode.INVALID_ID),
        (2.0**53 + 2, ErrorCode.INVALID_ID),
        (float("inf"), ErrorCode.INVALID_ID),
        (Decimal("7.5"), ErrorCode.INVALID_ID),
        (Decimal("1E+999999999"), ErrorCode.INVALID_ID),
        ({"a": 1}, ErrorCode.INVALID_ID),
        ("a\x00", ErrorCode.INVALID_CHARACTER),
        ("a\udfff", ErrorCode.INVALID_CHARACTER),
    ],
)
def test_an_id_that_cannot_name_a_document_is_refused(external_id: object, code: ErrorCode) -> None:
    """An id that is altered on the way cannot be joined to the producer's rows."""
    rejected = refusal(id=external_id)

    assert rejected.code == code
    assert rejected.external_id is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (float("-inf"), ErrorCode.INVALID_METADATA),
        ({"deep": [float("inf")]}, ErrorCode.INVALID_METADATA),
        (Decimal("-Infinity"), ErrorCode.INVALID_METADATA),
        (b"\xff", ErrorCode.INVALID_ENCODING),
        ({1, 2}, ErrorCode.INVALID_METADATA),
        (np.float32("inf"), ErrorCode.INVALID_METADATA),
        (np.longdouble("inf"), ErrorCode.INVALID_METADATA),
        (np.array([1]), ErrorCode.INVALID_METADATA),
        (nested(MAX_METADATA_DEPTH), ErrorCode.INVALID_METADATA),
        (nested(100_000), ErrorCode.INVALID_METADATA),
        ("x" * 600, ErrorCode.METADATA_TOO_LARGE),
        ([{"a": "\x00"}], ErrorCode.INVALID_CHARACTER),
        ({"\x00": 1}, ErrorCode.INVALID_CHARACTER),
        ({"\udc00": 1}, ErrorCode.INVALID_CHARACTER),
    ],
)
def test_metadata_that_jsonb_cannot_hold_is_refused(value: object, code: ErrorCode) -> None:
    """One such value would break the COPY of its whole batch."""
    assert refusal(extra=value).code == code


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC), "2024-02-29T01:02:03+00:00"),
        (date(2024, 2, 29), "2024-02-29"),
        (time(1, 2), "01:02:00"),
        (timedelta(seconds=90), "0:01:30"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"bytes", "bytes"),
        ((1, (2, None)), [1, [2, None]]),
        ({1: {date(2024, 1, 1): True}}, {"1": {"2024-01-01": True}}),
        (MappingProxyType({"a": [Decimal(1)]}), {"a": ["1"]}),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.bool_(True), True),  # noqa: FBT003
        (float("nan"), None),
        ({"deep": [1.5, float("nan")]}, {"deep": [1.5, None]}),
        (np.float32("nan"), None),
        (Decimal("nan"), None),
        ({"deep": [Decimal("-sNaN123")]}, {"deep": [None]}),
        (np.datetime64("NaT"), None),
        (NAType(), None),
        ({"deep": [NAType()]}, {"deep": [None]}),
        (np.ma.masked, None),
        (np.datetime64("2024-02-29T01:02:03.5", "ns"), "2024-02-29T01:02:03.500000000"),
    ],
)
def test_what_programs_hold_and_json_lacks_is_written_out(value: object, expected: object) -> None:
    """Without it, every row of a cursor over a table with a timestamp is refused."""
    record = from_mapping({"text": "a", "value": value, "other": "b"}, limits=LIMITS)

    assert isinstance(record, Document)
    assert record.metadata == {"value": expected, "other": "b"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (UUID(int=1), str(UUID(int=1))),
        (np.int64(7), "7"),
        (b"a", "a"),
        (3.0, "3"),
        (np.float64(-(2**53)), "-9007199254740992"),
        (float("nan"), None),
        (NAType(), None),
        (Decimal("4.0"), "4"),
        (Decimal("-0.00"), "0"),
        (Decimal(2**64), str(2**64)),
    ],
)
def test_ids_of_programs_are_written_out(value: object, expected: str) -> None:
    """Without it, a table whose key is a UUID must be rewritten before it is submitted."""
    limits = IntakeSettings()

    assert from_mapping({"id": value, "text": b"a"}, limits=limits).external_id == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            [float("inf")],
            "the metadata field 'price' holds an infinity, which JSON cannot represent",
        ),
        (object(), "the metadata field 'price' holds a value of type object, which JSON cannot"),
        ([10**5000], "the metadata field 'price' holds an integer of too many digits; write it as"),
        (
            b"\xff",
            "the metadata field 'price' is not UTF-8; convert it, or write it in hexadecimal",
        ),
    ],
)
def test_a_refusal_of_metadata_names_the_field_and_the_remedy(value: object, message: str) -> None:
    """Without it, a user with fifty columns has to guess which of them holds the infinity."""
    assert refusal(shop="tea", price=value).message.startswith(message)


def test_what_only_a_program_can_hand_over_is_refused() -> None:
    """No file can hold these, but one of them would stop a program's whole submission."""
    circle: list[object] = []
    circle.append(circle)

    assert refusal(extra=circle).code == ErrorCode.INVALID_METADATA
    assert refusal(extra=10**5000).code == ErrorCode.INVALID_METADATA
    assert refusal(id=10**5000).code == ErrorCode.INVALID_ID


def test_what_is_at_the_limits_passes_unchanged() -> None:
    """Limits that are off by one refuse documents for no reason."""
    fields = {
        "id": "1234567890",
        "text": "中" * 33 + "a",
        "extra": nested(MAX_METADATA_DEPTH - 1),
        "backslash": "\\u0000 is no NUL",
    }

    record = from_mapping(fields, limits=LIMITS)

    assert isinstance(record, Document)
    assert record.text == fields["text"]
    assert record.metadata == {key: fields[key] for key in ("extra", "backslash")}


def test_an_integer_id_becomes_its_digits_and_a_missing_one_stays_open() -> None:
    """Databases give out integer ids; without an id, submit uses the document's position."""
    numbered = from_mapping({"id": 42, "text": "a"}, limits=LIMITS)
    nameless = from_mapping({"id": None, "text": "a"}, limits=LIMITS)

    assert numbered.external_id == "42"
    assert isinstance(nameless, Document)
    assert nameless.external_id is None


def test_fields_that_are_neither_text_nor_id_become_metadata_under_their_names() -> None:
    """Otherwise fields of a producer's own would not be returned with the outcome."""
    fields = {"key": "k", "body": "b", "text": "kept", "metadata": {"a": 1}, "n": None}

    record = from_mapping(fields, text_field="body", id_field="key", limits=LIMITS, line=3)

    assert record == Document(
        external_id="k",
        text="b",
        metadata={"text": "kept", "metadata": {"a": 1}, "n": None},
        line=3,
    )


def test_a_refusal_keeps_the_id_and_the_line_but_not_the_text() -> None:
    """People find the record by id and line; the text may be private and is in no message."""
    rejected = refusal(id="a1", text="secret " * 100)

    assert (rejected.external_id, rejected.line) == ("a1", 7)
    assert "secret" not in rejected.message


@settings(deadline=None)
@given(external_id=ANYTHING, text=ANYTHING, extra=ANYTHING)
def test_whatever_is_handed_over_postgres_can_store_what_passes(
    external_id: object, text: object, extra: object
) -> None:
    """Otherwise a record that intake accepts and COPY refuses fails a batch of ten thousand."""
    record = examine(external_id=external_id, text=text, metadata={"extra": extra}, limits=LIMITS)

    stored = record.model_dump_json()
    assert "\\u0000" not in stored.replace("\\\\", "")
    if isinstance(record, Document):
        assert record.text == text
        assert json.loads(stored)["metadata"] == {"extra": extra}
