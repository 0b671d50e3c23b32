"""Submitting the rows of a query, with SQL alone."""

from decimal import Decimal
from math import inf, nan

import pytest
import sqlalchemy as sa

from producer import jobs
from producer.intake import from_mapping
from schema.documents import JobOptions, Rejected, Task
from schema.settings import IntakeSettings
from tests.fixtures.invariants import broken, outcomes
from tests.fixtures.outcomes import TEA, work_off
from tests.fixtures.sql_submits import rows, submit_query
from worker.registry import Registry


def test_columns_may_have_any_name(producer_engine: sa.Engine) -> None:
    """Without it, a column named like an internal alias replaces the metadata."""
    names = ["q", "given", "r", "seq", "metadata", "head", "query", "rows", "task"]
    columns = ", ".join(f"'{name} of it' as {name}" for name in names)

    job_id = submit_query(producer_engine, f"select 1 as id, 'lovely' as text, {columns}")

    (document,) = rows(producer_engine, "document", job_id)
    assert document.metadata == {name: f"{name} of it" for name in names}


def test_rows_of_a_query_become_documents(engine: sa.Engine, producer_engine: sa.Engine) -> None:
    """Without it, texts that are already in Postgres have to be exported and sent back."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "create table public.post (id bigint, body text, shop text);"
            "insert into public.post values (1, 'lovely', 'north'), (2, ' ', 'south'),"
            " (1, 'twice', 'west'), (3, null, 'east'), (null, 'nameless', null);"
            "grant select on public.post to textmill_producer"
        )

    job_id = submit_query(producer_engine, "select id, body as text, shop from post;\n")

    documents = rows(producer_engine, "document", job_id)
    failures = rows(producer_engine, "failure", job_id)
    assert [(row.external_id, row.text) for row in documents] == [
        ("1", "lovely"),
        ("2", None),
        ("1", None),
        ("3", None),
        ("5", "nameless"),
    ]
    assert documents[0].metadata == {"shop": "north"}
    assert [(row.seq, row.code) for row in failures] == [
        (2, "empty_text"),
        (3, "duplicate_id"),
        (4, "missing_text"),
    ]


def test_order_of_rows_is_no_other_content(producer_engine: sa.Engine) -> None:
    """Without it, a repeat is refused if Postgres reads a table in another order than before."""
    query = "select id, 'text ' || id as text from (values {}) as post (id)"
    key: dict[str, object] = {"idempotency_key": "night"}

    first = submit_query(producer_engine, query.format("(1), (2), (3)"), key)
    again = submit_query(producer_engine, query.format("(1), (3), (2)"), key)

    assert again == first
    with pytest.raises(sa.exc.IntegrityError, match="used before"):
        submit_query(producer_engine, query.format("(1), (3), (3)"), key)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("3::bigint", 3),
        ("3.0::float8", 3.0),
        ("7.5::float8", 7.5),
        ("2::float8 ^ 53", 2.0**53),
        ("2::float8 ^ 53 + 2", 2.0**53 + 2),
        ("'nan'::float8", nan),
        ("'-inf'::float4", -inf),
        ("4.0::numeric", Decimal("4.0")),
        ("7.5::numeric", Decimal("7.5")),
        ("12345678901234567890::numeric", Decimal(12345678901234567890)),
        ("9007199254740993.0::numeric", Decimal("9007199254740993.0")),
        ("'nan'::numeric", Decimal("nan")),
        ("'inf'::numeric", Decimal("inf")),
        ("true", True),
        ("'NaN'", "NaN"),
        ("'3.0'", "3.0"),
        ("array['a']", ["a"]),
        ("row(1)", {"f1": 1}),
        ("null::float8", None),
        ("'\"a\"'::jsonb", "a"),
    ],
)
def test_ids_of_columns_are_those_that_python_makes_of_them(
    producer_engine: sa.Engine, column: str, value: object
) -> None:
    """Without it, a row gets one id from SQL and another one from Python."""
    expected = from_mapping({"id": value, "text": "x"}, limits=IntakeSettings())

    job_id = submit_query(producer_engine, f"select {column} as id, 'x' as text")

    (document,) = rows(producer_engine, "document", job_id)
    failures = [row.code for row in rows(producer_engine, "failure", job_id)]
    assert failures == ([expected.code] if isinstance(expected, Rejected) else [])
    position = None if failures else "1"
    assert document.external_id == (expected.external_id or position)


def test_query_reads_no_more_than_the_caller_may(
    engine: sa.Engine, producer_engine: sa.Engine, reader_engine: sa.Engine
) -> None:
    """Without it, a producer can read through Textmill what it was not granted."""
    with engine.begin() as connection:
        connection.exec_driver_sql("create table public.salary as select 1 as id, 'x' as text")

    with pytest.raises(sa.exc.ProgrammingError, match="permission denied for table salary"):
        submit_query(producer_engine, "select * from salary")
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied for function"):
        submit_query(reader_engine, "select 1 as id, 'x' as text")


def test_options_are_those_of_a_producer(engine: sa.Engine, producer_engine: sa.Engine) -> None:
    """Without it, an option of `JobOptions` is unknown to SQL, or without effect there."""
    given: dict[str, object] = {
        "name": "reviews",
        "lane": "interactive",
        "idempotency_key": "k",
        "weight": 3,
        "deadline_at": "2099-01-01T00:00:00+00:00",
        "explain": False,
        "generate": True,
        "model_version": "0123456789abcdef",
    }
    Registry(engine).add(Task.KEYWORDS, "0123456789abcdef")
    assert given.keys() == JobOptions.model_fields.keys()

    job_id = submit_query(producer_engine, "select 'lovely tea' as text, 1 as id", given)

    job = rows(producer_engine, "job", job_id, "1")[0]._asdict()
    del given["explain"]  # only for other tasks
    kept = {option: given.pop(option) for option in ("generate", "model_version")}
    assert job.pop("options") == kept
    assert job.pop("deadline_at").isoformat()[:10] == str(given.pop("deadline_at"))[:10]
    assert {option: job[option] for option in given} == given


def test_chunk_of_few_texts_among_many_rows_does_not_reach_over_them_all(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, every attempt at a chunk reads past a job's millions of rows without a text."""
    with_text = [12_000, 12_001, 21_999, 22_000, 35_000]
    job_id = submit_query(
        producer_engine,
        "select n as id, case when n = any (array[12000, 12001, 21999, 22000, 35000])"
        " then 'tea' end as text from generate_series(1, 50000) as n",
    )

    chunks = rows(engine, "chunk", job_id, "chunk_no")
    work_off(producer_engine, worker_engine, job_id, TEA)

    assert [(chunk.first_seq, chunk.last_seq) for chunk in chunks] == [
        (12_000, 21_999),
        (22_000, 31_999),
        (35_000, 44_999),
    ]
    became = outcomes(engine, job_id)
    assert [seq for seq, outcome in became.items() if outcome == "succeeded"] == with_text
    assert jobs.status(engine, job_id).state == "completed"
    assert broken(engine) == {}
