"""A broken record costs only itself, and its message helps to correct it."""

import pytest

from schema.documents import Rejected
from schema.outcomes import ErrorCode
from tests.fixtures.files import Write, codes, read


def test_broken_json_lines_cost_only_themselves(write: Write) -> None:
    """One bad line must neither stop a job nor vanish from its count."""
    lines = [
        b'{"id": 1, "text": "first"}',
        b'{"id": 2, "text": "broken',
        b'["no", "object"]',
        b'{"id": 4}',
        b'{"id": 5, "text": null}',
        b'{"id": 6, "text": ["x"]}',
        b'{"id": 7, "text": " "}',
        b'{"id": 8, "text": "\xff\xfe"}',
        b'{"id": 9, "text": "a\\u0000b"}',
        b'{"id": 10, "text": "a\\ud800b"}',
        b'{"id": 11, "text": "a", "score": Infinity}',
        b'{"id": 12, "text": "' + b"x" * 1001 + b'"}',
        b'{"id": {}, "text": "a"}',
        b"[" * 100_000,
        b'{"id": 15, "text": "a", "n": ' + b"9" * 5000 + b"}",
        b"   ",
        b'{"id": 17, "text": "last"}',
    ]
    path = write("a.jsonl", b"\r\n".join(lines))

    assert codes(read(path)) == [
        (1, None),
        (2, ErrorCode.INVALID_JSON),
        (3, ErrorCode.INVALID_RECORD),
        (4, ErrorCode.MISSING_TEXT),
        (5, ErrorCode.MISSING_TEXT),
        (6, ErrorCode.INVALID_RECORD),
        (7, ErrorCode.EMPTY_TEXT),
        (8, ErrorCode.INVALID_ENCODING),
        (9, ErrorCode.INVALID_CHARACTER),
        (10, ErrorCode.INVALID_CHARACTER),
        (11, ErrorCode.INVALID_METADATA),
        (12, ErrorCode.TEXT_TOO_LARGE),
        (13, ErrorCode.INVALID_ID),
        (14, ErrorCode.INVALID_JSON),
        (15, ErrorCode.INVALID_JSON),
        (17, None),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a\tb"}', "not JSON: Invalid control character, character 12"),
        (
            "a.jsonl",
            b'{"text": "a never ends\n',
            "not JSON: it breaks off inside the string that begins here, character 10",
        ),
        ("a.jsonl", b'{"id": 10.5, "text": "a"}', "the id is a number with a fraction; it must"),
        ("a.jsonl", b'{"text": "a", "n": -Infinity}', "an infinity, which JSON cannot represent"),
        (
            "a.csv",
            b"id,text\n1",
            "values in the record: 1, columns in the header: 2; write every value",
        ),
        (
            "a.csv",
            b'id,text\n1, "good, day"',
            "3, columns in the header: 2; remove the blank before",
        ),
        ("a.csv", b"id,text\n1,a\rb", "a carriage return stands outside quotes; quote values that"),
        ("a.csv", b'id,text\n1,"a "b" c"', 'and double one within it: "say ""hi"" to her"'),
        ("a.csv", b'id,text\n1,"a \\"b\\" c"', r'write a quote in a value as "", not as \"'),
        ("a.csv", b'id,text\n1,"never closed', "close a quote that begins a value, and"),
        ("a.csv", b"id,text\n1,a,b", "3, columns in the header: 2; quote values that hold the"),
        ("a.tsv", b"id\ttext\n1\ta\tb", "3, columns in the header: 2; write blanks for tabs"),
        (
            "a.txt",
            "味道不错，送得也快".encode("gbk"),
            "byte 3 of the line is not UTF-8 but may be GB18030 (GBK); convert the file with: ico",
        ),
        # These can be read as GB18030, too, but not as Chinese that people write.
        ("a.txt", "测试测试".encode() + b"\xe4a", "is not UTF-8; convert the file to UTF-8"),
        ("a.txt", "résumés".encode("latin-1"), "is not UTF-8; convert the file to UTF-8"),
    ],
)
def test_a_refusal_is_worded_for_people(
    name: str, content: bytes, message: str, write: Write
) -> None:
    """Without it, anyone who corrects a file has to know what a parser meant."""
    (rejected,) = read(write(name, content))

    assert isinstance(rejected, Rejected)
    assert message in rejected.message


@pytest.mark.parametrize(
    ("line", "code"),
    [(b'{"text":\r"a", "n": {}\r}', None), (b'{"text": "a\rb"}', ErrorCode.INVALID_JSON)],
)
def test_a_carriage_return_within_an_object_refuses_no_file(
    line: bytes, code: ErrorCode | None, write: Write
) -> None:
    """JSON allows it between its parts; anywhere else it breaks only its own record."""
    path = write("a.jsonl", line + b'\r\n{"text": "b"}\r\n')

    assert codes(read(path)) == [(1, code), (2, None)]


def test_a_first_object_without_text_does_not_refuse_the_file(write: Write) -> None:
    """Only a field that all of the first objects lack is a wrong name."""
    path = write("a.jsonl", b'{broken\n{"id": 1}\n{"id": 2, "text": "a"}\n')

    assert codes(read(path)) == [
        (1, ErrorCode.INVALID_JSON),
        (2, ErrorCode.MISSING_TEXT),
        (3, None),
    ]


def test_broken_csv_records_cost_only_themselves(write: Write) -> None:
    """A stray quote must not swallow the records below it, up to the next quote or the end."""
    lines = [
        b"id,text",
        b"1,first",
        b"2,too,many",
        b"3",
        b'4,"never closed',
        b"5,swallowed?",
        b'6,"fine, ""quoted""',
        b'over two lines"',
        b'8,"closed" too early',
        b"9,bad \xff byte",
        b'10,"bad \xff byte',
        b'in two lines"',
        b"",
        b"13,a\rb",
        b'14,"open until the end',
        b"15,last",
    ]
    path = write("a.csv", b"\n".join(lines) + b"\n")

    assert codes(read(path)) == [
        (2, None),
        (3, ErrorCode.INVALID_RECORD),
        (4, ErrorCode.INVALID_RECORD),
        (5, ErrorCode.INVALID_RECORD),
        (6, None),
        (7, None),
        (9, ErrorCode.INVALID_RECORD),
        (10, ErrorCode.INVALID_ENCODING),
        (11, ErrorCode.INVALID_ENCODING),
        (14, ErrorCode.INVALID_RECORD),
        (15, ErrorCode.INVALID_RECORD),
        (16, None),
    ]
