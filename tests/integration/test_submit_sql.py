"""Submitting with SQL alone: the rules of intake, the chunks of loading."""

import json
import threading

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.batches import batches
from producer.intake import from_mapping
from producer.outcomes import outcomes
from schema.documents import Document, JobId, Rejected
from schema.settings import IntakeSettings
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.sql_submits import rows, submit_query

LIMITS = IntakeSettings()
RECORDS: list[object] = [
    {"id": "a", "text": "lovely tea", "shop": "north", "stars": [1, 2]},
    {"id": 7, "text": "味道很好"},
    {"text": "an id of its own it has not"},
    "no object",
    {"id": True, "text": "x"},
    {"id": 1.5, "text": "x"},
    {"id": 33.0, "text": "x"},
    {"id": -0.0, "text": "x"},
    {"id": -(2.0**53), "text": "x"},
    {"id": 2.0**53 + 2, "text": "x"},
    {"id": 10**30, "text": "x"},
    {"id": 10**501, "text": "x"},
    {"id": {"a": 1}, "text": "x"},
    {"id": " \u3000", "text": "x"},
    {"id": " ", "text": 5},
    {"id": "x" * 501, "text": "x"},
    {"id": "x\ny", "text": "x"},
    {"id": "x\x01", "text": "x"},
    {"id": "\x1fx", "text": "x"},
    {"id": " x\u2028\xa0 ", "text": "x"},
    {"id": "x\x7f", "text": "x"},
    {"id": "x\x80", "text": "x"},
    {"id": "\x9f31mx", "text": "x"},
    {"id": "b"},
    {"id": "c", "text": None},
    {"id": "d", "text": 5},
    {"id": "e", "text": ["x"]},
    {"id": "f", "text": ""},
    {"id": "g", "text": " \n\u3000\u200a"},
    {"id": "h", "text": "x" * (1024 * 1024 + 1)},
    {"id": "i", "text": "x", "notes": "y" * (16 * 1024)},
    {"id": "j", "text": "x", "deep": json.loads("[" * 70 + "]" * 70)},
    {"id": "k", "text": "x", "wide": [[]] * 70},
    {"id": "l", "text": "x", "number": 10**400},
    {"id": "m", "text": "x", "digits": "9" * 6000},
    {"id": "z", "text": "the last one"},
]


def submit(engine: sa.Engine, documents: object, options: dict[str, object] | None = None) -> JobId:
    with engine.begin() as connection:
        job_id: JobId = connection.execute(
            sa.text(
                "select textmill.submit('sentiment', cast(:documents as jsonb),"
                " cast(:options as jsonb))"
            ),
            {"documents": json.dumps(documents), "options": json.dumps(options or {})},
        ).scalar_one()
        return job_id


def test_bad_documents_are_rejected_as_intake_rejects_them(producer_engine: sa.Engine) -> None:
    """Without it, the same record succeeds from SQL and fails from Python, or the other way."""
    expected = {
        seq: from_mapping(record, limits=LIMITS) if isinstance(record, dict) else None
        for seq, record in enumerate(RECORDS, 1)
    }

    job_id = submit(producer_engine, RECORDS)

    documents = {row.seq: row for row in rows(producer_engine, "document", job_id)}
    failures = {row.seq: row for row in rows(producer_engine, "failure", job_id)}
    assert documents.keys() == expected.keys()
    for seq, record in expected.items():
        match record:
            case Document():
                assert seq not in failures
                assert documents[seq].text == record.text
                assert documents[seq].external_id == (record.external_id or str(seq))
                assert (documents[seq].metadata or {}) == record.metadata
            case Rejected():
                assert (failures[seq].code, failures[seq].stage) == (record.code, "intake")
                assert documents[seq].external_id == record.external_id
                assert documents[seq].text is documents[seq].metadata is None
            case None:
                assert failures[seq].code == "invalid_record"
    job = rows(producer_engine, "job", job_id, "1")[0]
    assert (job.accepted, job.rejected, job.failed) == (len(RECORDS), len(failures), len(failures))
    assert (job.state, job.submitted_by) == ("pending", "producer_login")


def test_metadata_has_the_same_limit_by_both_doors(producer_engine: sa.Engine) -> None:
    """Without it, metadata just below the limit is accepted from Python and rejected from SQL."""
    plain: dict[str, object] = {"text": "x", "tags": [1, "茶", {"a": None, "b": 1.5}]}
    size = len(json.dumps(plain["tags"], ensure_ascii=False).encode()) + len('{"tags": , "n": ""}')
    room = LIMITS.max_metadata_bytes - size
    fits, exceeds = ({**plain, "n": "y" * length} for length in (room, room + 1))

    job_id = submit(producer_engine, [fits, exceeds])

    (rejected,) = rows(producer_engine, "failure", job_id)
    assert (rejected.seq, rejected.code) == (2, "metadata_too_large")
    assert isinstance(from_mapping(fits, limits=LIMITS), Document)
    by_python = from_mapping(exceeds, limits=LIMITS)
    assert isinstance(by_python, Rejected)
    assert by_python.code == rejected.code
    assert by_python.message.partition(",")[0] == rejected.message.partition(",")[0]


@pytest.mark.parametrize("number", ["9" * 6000, "-" + "9" * 4301, "1e9000", "9" * 400 + ".5"])
def test_number_that_no_reader_could_read_is_rejected(
    producer_engine: sa.Engine, number: str
) -> None:
    """Without it, one document makes the results of its whole job unreadable."""
    documents = f'[{{"text": "x", "deep": [{{"n": {number}}}]}}, {{"text": "its neighbour"}}]'
    with producer_engine.begin() as connection:
        job_id: JobId = connection.execute(
            sa.text("select textmill.submit('sentiment', cast(:documents as jsonb))"),
            {"documents": documents},
        ).scalar_one()

    rejected, neighbour = outcomes(producer_engine, job_id)

    assert rejected["error"] is not None
    assert rejected["error"]["code"] == "invalid_metadata"
    assert "too many digits" in rejected["error"]["message"]
    assert neighbour["status"] == "pending"


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lengths=st.lists(st.integers(0, 400), min_size=1, max_size=40),
    most=st.integers(1, 7),
    tokens=st.integers(1, 120),
)
def test_chunks_are_cut_as_a_producer_cuts_them(
    producer_engine: sa.Engine, lengths: list[int], most: int, tokens: int
) -> None:
    """Without it, a chunk takes minutes if submitted one way, and seconds the other way."""
    limits = IntakeSettings(chunk_documents=most, chunk_tokens=tokens)
    records = [from_mapping({"text": "好" * length}, limits=limits) for length in lengths]
    (batch,) = batches(records, limits)

    with producer_engine.begin() as connection:
        connection.exec_driver_sql(f"set local textmill.chunk_documents = {most}")
        connection.exec_driver_sql(f"set local textmill.chunk_tokens = {tokens}")
        job_id = connection.execute(
            sa.text("select textmill.submit('sentiment', cast(:documents as jsonb))"),
            {"documents": json.dumps([{"text": "好" * length} for length in lengths])},
        ).scalar_one()

    chunks = rows(producer_engine, "chunk", job_id, "chunk_no")
    assert [(c.chunk_no, c.first_seq, c.last_seq, c.tokens) for c in chunks] == batch.chunks


def test_limits_are_those_of_a_producer(producer_engine: sa.Engine) -> None:
    """Without it, SQL and Python drift apart with the next change of a default."""
    names = [
        "max_document_bytes",
        "max_metadata_bytes",
        "max_id_characters",
        "chunk_documents",
        "chunk_tokens",
        "max_job_documents",
        "max_pending",
        "max_pending_per_submitter",
    ]
    with producer_engine.connect() as connection:
        limits = {
            name: connection.scalar(sa.text("select textmill.limit_of(:name)"), {"name": name})
            for name in names
        }
        blanks = connection.scalar(sa.text("select textmill.blanks()"))

    assert limits == {name: getattr(LIMITS, name) for name in names}
    assert sorted(blanks or "") == [chr(n) for n in range(0x110000) if chr(n).isspace()]


def test_job_belongs_to_the_callers_transaction(
    producer_engine: sa.Engine, reader_engine: sa.Engine
) -> None:
    """Without it, a job exists for an order that was rolled back."""
    look = sa.text("select count(*) from textmill.job_status")
    with producer_engine.connect() as connection, reader_engine.connect() as other:
        connection.exec_driver_sql("select textmill.submit('sentiment', '[{\"text\": \"x\"}]')")
        assert other.scalar(look) == 0
        other.rollback()
        connection.rollback()
        assert other.scalar(look) == 0
        other.rollback()
        connection.exec_driver_sql("select textmill.submit('sentiment', '[{\"text\": \"x\"}]')")
        connection.commit()
        assert other.scalar(look) == 1


def test_submit_rings_the_bell(database: DatabaseUrls, producer_engine: sa.Engine) -> None:
    """Without it, every job of an SQL client waits for the next poll."""
    with psycopg.connect(database.producer, autocommit=True) as listener:
        listener.execute("listen textmill_pending")
        submit(producer_engine, [{"text": "x"}])

        assert [note.channel for note in listener.notifies(timeout=60, stop_after=1)] == [
            "textmill_pending"
        ]


def test_same_key_is_one_job_and_other_content_is_refused(producer_engine: sa.Engine) -> None:
    """Without it, an ETL program that is run twice doubles its documents."""
    documents = [{"id": "a", "text": "lovely"}, {"id": "b", "text": " "}]
    query = "select n as id, 'text ' || n as text from generate_series(1, {}) as n"
    key: dict[str, object] = {"idempotency_key": "night"}
    other: dict[str, object] = {"idempotency_key": "other night"}

    first = submit(producer_engine, documents, key)
    again = submit(producer_engine, documents, key)
    of_query = submit_query(producer_engine, query.format(3), other)
    of_query_again = submit_query(producer_engine, query.format(3), other)

    assert (again, of_query_again) == (first, of_query)
    with pytest.raises(sa.exc.IntegrityError, match=f"used before, by job {first}"):
        submit(producer_engine, documents[:1], key)
    with pytest.raises(sa.exc.IntegrityError, match="used before"):
        submit_query(producer_engine, query.format(2), other)
    with producer_engine.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from textmill.job")) == 2


def test_racing_submits_of_one_key_make_one_job(producer_engine: sa.Engine) -> None:
    """Without it, two schedulers that fire at once make two jobs."""
    made: list[JobId] = []
    key: dict[str, object] = {"idempotency_key": "race"}
    with producer_engine.connect() as connection:
        made.append(
            connection.execute(
                sa.text(
                    "select textmill.submit('sentiment', '[{\"text\": \"x\"}]',"
                    " cast(:options as jsonb))"
                ),
                {"options": json.dumps(key)},
            ).scalar_one()
        )
        other = threading.Thread(
            target=lambda: made.append(submit(producer_engine, [{"text": "x"}], key))
        )
        other.start()
        connection.commit()
    other.join()

    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("statement", "message", "hint"),
    [
        ("submit('mood', '[]')", 'there is no task "mood"', "sentiment, keywords and moderation"),
        ("submit('sentiment', '{}')", "no JSON array", "For instance"),
        ("submit('sentiment', '[]', '[]')", "no JSON object", "For instance"),
        ("submit('sentiment', '[]', '{\"lame\": 1}')", 'no option "lame"', "idempotency_key"),
        ("submit('sentiment', '[]', '{\"lane\": \"x\"}')", 'no lane "x"', "interactive and bulk"),
        ("submit('sentiment', '[]', '{\"weight\": 1.5}')", 'option "weight"', "1 to 1000"),
        ("submit('sentiment', '[]', '{\"weight\": \"1\"}')", 'option "weight"', "whole number"),
        ("submit('sentiment', '[]', '{\"explain\": 1}')", 'option "explain"', "true or false"),
        ("submit('keywords', '[]', '{\"explain\": true}')", "no score", "Leave the option"),
        ("submit('sentiment', '[]', '{\"generate\": 1}')", 'option "generate"', "true or false"),
        ("submit('sentiment', '[]', '{\"generate\": true}')", "only keywords", "Leave the option"),
        (
            "submit('sentiment', '[]', '{\"deadline_at\": \"2020-01-01\"}')",
            "deadline 2020-01-01 has passed",
            "a later one",
        ),
        *(
            (
                f"submit('sentiment', '[]', '{{\"deadline_at\": \"{time}\"}}')",
                f'option "deadline_at" is "{time}"',
                "must be a time",
            )
            for time in (
                *("tomorrowish", "", "2026-13-45", "999999-01-01", "9999-12-31"),
                *("infinity", "-infinity", "0044-03-15 BC"),
            )
        ),
        ("submit('sentiment', '[]', '{\"name\": {}}')", '"name" is of type object', "a string"),
        ("submit('sentiment', '[]', '{\"name\": \"\"}')", "has 0 characters", "1 to 200"),
        ("submit_query('sentiment', null)", "there is no query", "For instance"),
        ("submit_query('sentiment', 'select 1 as id')", "cannot be submitted", "id and text"),
        ("submit_query('sentiment', 'selct')", "cannot be submitted", "one SELECT"),
        ("submit_query('sentiment', 'select 1 as id, 2 as id')", "be submitted", "one SELECT"),
        ("submit_query('sentiment', 'select * from nothing')", "be submitted", "one SELECT"),
        ("submit_query('sentiment', 'select f() as id')", "be submitted", "one SELECT"),
        (
            "submit_query('sentiment', 'select 1 as id, ''x'' as text, 1 as a, 2 as a')",
            'several columns named "a"',
            "a name of its own",
        ),
    ],
)
def test_error_says_what_to_do(
    producer_engine: sa.Engine, statement: str, message: str, hint: str
) -> None:
    """Without it, a person at a SQL prompt has to read our code."""
    with producer_engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as raised:
        connection.exec_driver_sql(f"select textmill.{statement}")

    assert isinstance(raised.value.orig, psycopg.Error)
    assert message in str(raised.value.orig.diag.message_primary)
    assert hint in str(raised.value.orig.diag.message_hint)


def test_empty_and_wholly_rejected_jobs_are_completed(producer_engine: sa.Engine) -> None:
    """Without it, a job without anything to run never ends."""
    for documents in ([], [{"text": " "}]):
        job = rows(producer_engine, "job", submit(producer_engine, documents), "1")[0]

        assert (job.state, job.accepted, job.failed) == (
            "completed",
            len(documents),
            len(documents),
        )
