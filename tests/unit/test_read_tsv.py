"""TSV: unquoted dumps and files from spreadsheets are both read as intended."""

import csv
import io
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.readers import LINE_MARGIN
from schema.documents import Document, Record
from schema.outcomes import ErrorCode
from tests.fixtures.files import Write, codes, read

PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

NO_BREAK = st.text(st.sampled_from('""a 好\r'), max_size=6).filter(lambda text: text[-1:] != "\r")
BREAKS = st.text(st.sampled_from('""a \n\r'), min_size=1, max_size=8)


def texts(records: list[Record]) -> list[str]:
    return [getattr(record, "text", "refused") for record in records]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            '1\tfine\n2\t"Awful\n3\tThe best day\n4\tI hate it"\n5\tok\n',
            ["fine", '"Awful', "The best day", 'I hate it"', "ok"],
        ),
        ('2\t"quoted" start\n', ['"quoted" start']),
        ('2\tthe "end"\n3\t"a" and "b"\n', ['the "end"', '"a" and "b"']),
        ('2\t"open\n', ['"open']),
        ('2\t"open\n"\tsecond\n', ['"open', "second"]),
        ('2\t"open\r\nbelow\r\nit"\r\n3\tok\r\n', ["open\r\nbelow\r\nit", "ok"]),
        ('2\t"open\n\nbelow ""it"""\n3\tok', ['open\n\nbelow "it"', "ok"]),
        ('"2"\t"say ""hi"""\n', ['say "hi"']),
        ('"a\nb"\t"c\nd"\n', ["c\nd"]),
        ("2\ta\rb\n\n3\tc\n", ["a\rb", "c"]),
        ('2\t"a\tb"\n3\tc\n', ["refused", "c"]),
    ],
)
def test_quotes_are_quoting_only_where_no_row_is_swallowed(
    rows: str, expected: list[str], write: Write
) -> None:
    """Without it, one stray quote silently makes the rows below it part of a document."""
    path = write("a.tsv", b"note\ttext\n" + rows.encode())

    assert texts(read(path)) == expected


def test_in_a_single_column_every_line_is_a_record(write: Write) -> None:
    """In one column, a row looks like a line break in a value; without it, rows would vanish."""
    path = write("a.tsv", b'text\n"Awful\n\nThe ""best""\nI hate it"\n"say ""hi"""\n')

    assert texts(read(path)) == ['"Awful', "refused", 'The ""best""', 'I hate it"', 'say "hi"']


@PROPERTY
@given(rows=st.lists(st.lists(NO_BREAK, min_size=3, max_size=3), max_size=6))
def test_no_row_of_a_dump_is_lost(rows: list[list[str]], write: Write) -> None:
    """Without it, quotes that people wrote decide how many documents a table has."""
    dump = "".join("\t".join(("t", *row)) + "\n" for row in rows)
    path = write("a.tsv", b"text\tb\tc\td\n" + dump.encode())

    records = read(path)

    assert [record.line for record in records] == [*range(2, len(rows) + 2)]
    for record, row in zip(records, rows, strict=True):
        assert isinstance(record, Document)
        for found, written in zip(record.metadata.values(), row, strict=True):
            assert found in (written, written[1:-1].replace('""', '"'))


@PROPERTY
@given(rows=st.lists(st.tuples(BREAKS, BREAKS), max_size=6))
def test_what_the_csv_module_writes_is_read_back(rows: list[tuple[str, str]], write: Write) -> None:
    """Without it, a table that pandas or Excel wrote is read with other texts and more rows."""
    text = io.StringIO(newline="")
    csv.writer(text, "excel-tab").writerows([("text", "other"), *(("t", b) for _, b in rows)])
    csv.writer(text, "excel-tab").writerows((f"t{a}", b) for a, b in rows)
    path = write("a.tsv", text.getvalue().encode())

    found = [(getattr(r, "text", r), getattr(r, "metadata", r)) for r in read(path)]

    assert found == [
        *(("t", {"other": b}) for _, b in rows),
        *((f"t{a}", {"other": b}) for a, b in rows),
    ]


@pytest.mark.parametrize("line", [b'x\t"\n', b'"\n', b'x\t"y\n', b'""y\n', b"y\n"])
def test_open_quotes_are_looked_for_in_linear_time(line: bytes, write: Write) -> None:
    """Each line may open a quote that never closes; rereading the rest each time would not end."""
    count = 20_000
    path = write("a.tsv", b'text\tn\nx\t"open\n' + line * count)

    assert 0 < len(read(path)) <= count + 1


def test_an_open_quote_does_not_hold_the_file(write: Write) -> None:
    """Without it, an open quote above many lines without a tab holds all of them in memory."""
    path = write("a.tsv", b'id\ttext\n1\t"open\n' + b"\n" * 350_000 + b"2\tok\n")

    tracemalloc.start()
    records = read(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert texts(records) == ['"open', "ok"]
    assert peak < 2 * LINE_MARGIN


def test_lines_that_cannot_be_read_cost_their_record(write: Write) -> None:
    """Without it, half of a text is taken for the whole."""
    path = write("a.tsv", b'id\ttext\n1\t"bad \xff\nin two"\n2\t"in\ntwo \xff"\n3\tok\n')

    assert codes(read(path)) == [
        (2, ErrorCode.INVALID_ENCODING),
        (4, ErrorCode.INVALID_ENCODING),
        (6, None),
    ]
