"""Documents on their way into a job."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producer.submit import submit
from schema.database import create_engine
from schema.documents import Document, JobOptions, Task
from schema.errors import IdempotencyConflictError, InputError
from schema.settings import IntakeSettings
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.submits import REJECTED, documents, hand_over, jobs


@pytest.mark.parametrize("count", [1, 10, 11, 35])
def test_every_document_is_in_exactly_one_chunk(producer_engine: sa.Engine, count: int) -> None:
    """Without it, a document is lost or processed twice."""
    job_id = hand_over(producer_engine, documents(count)).job_id

    with producer_engine.connect() as connection:
        chunks_of_each = connection.scalars(
            sa.text(
                "select count(c.chunk_no) from textmill.document d left join textmill.chunk c"
                " on c.job_id = d.job_id and d.seq between c.first_seq and c.last_seq"
                " where d.job_id = :job_id group by d.seq"
            ),
            {"job_id": job_id},
        ).all()
    assert chunks_of_each == [1] * count


def test_rejected_records_count_as_failures_and_neighbours_run(producer_engine: sa.Engine) -> None:
    """Without it, a broken line vanishes or makes the whole file fail."""
    submission = hand_over(producer_engine, [*documents(2), REJECTED])

    (job,) = jobs(producer_engine)
    assert (submission.accepted, submission.rejected) == (3, 1)
    assert (job.state, job.accepted, job.failed, job.rejected) == ("pending", 3, 1, 1)


def test_job_without_runnable_documents_completes_at_once(producer_engine: sa.Engine) -> None:
    """Without it, the job of an empty file never ends."""
    hand_over(producer_engine, [])
    hand_over(producer_engine, [REJECTED, REJECTED])

    assert [(job.state, job.accepted, job.failed) for job in jobs(producer_engine)] == [
        ("completed", 0, 0),
        ("completed", 2, 2),
    ]


def test_second_document_of_an_id_is_rejected_across_batches(producer_engine: sa.Engine) -> None:
    """Without it, the outcomes of two documents with one id cannot be told apart."""
    twins = [*documents(25), Document(external_id="d0", text="again", line=26)]

    submission = hand_over(producer_engine, twins)

    with producer_engine.connect() as connection:
        failure = connection.execute(
            sa.text("select * from textmill.document_status where status = 'failed'")
        ).one()
    assert submission.rejected == 1
    assert (failure.seq, failure.code, failure.line) == (26, "duplicate_id", 26)


def test_document_without_id_gets_its_position(producer_engine: sa.Engine) -> None:
    """Without it, the outcomes of a plain text file have no ids."""
    hand_over(producer_engine, [Document(text="one"), Document(text="two")])

    with producer_engine.connect() as connection:
        ids = connection.scalars(sa.text("select external_id from textmill.document order by seq"))
        assert ids.all() == ["1", "2"]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(
        st.text(
            st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.just("\\"),
            min_size=1,
        )
        | st.sampled_from(
            ["\\N", "\\.", "\\", "a\tb", "one\ntwo", "\r", "\\\t", '"', "\x85", "\u2028"]
        ),
        min_size=1,
        max_size=12,
        unique=True,
    )
)
def test_every_character_is_stored_as_it_was(producer_engine: sa.Engine, values: list[str]) -> None:
    """Without it, a tab or a backslash in a text moves the rest of it into another column."""
    handed = [
        Document(external_id=value, text=value[::-1], metadata={"value": value}, line=number)
        for number, value in enumerate(values, 7)
    ]

    job_id = hand_over(producer_engine, handed).job_id

    with producer_engine.connect() as connection:
        stored = connection.execute(
            sa.text(
                "select external_id, text, metadata, line from textmill.document"
                " where job_id = :job_id order by seq"
            ),
            {"job_id": job_id},
        )
        assert [Document.model_validate(row._asdict()) for row in stored] == handed


def test_text_is_stored_as_it_was_whatever_the_session_encodes(
    database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, the environment of a program garbles every text beyond ASCII."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    engine = create_engine(database.producer, application="tests")

    hand_over(engine, [Document(external_id="café", text="Café 味道 — ok", metadata={"ö": "ß"})])

    monkeypatch.delenv("PGCLIENTENCODING")
    engine.dispose()
    with engine.connect() as connection:
        row = connection.execute(sa.text("select * from textmill.document")).one()
    engine.dispose()
    assert (row.external_id, row.text) == ("café", "Café 味道 — ok")
    assert row.metadata == {"ö": "ß"}


def test_same_key_and_content_is_one_job(producer_engine: sa.Engine) -> None:
    """Without it, a retried ETL run doubles its rows."""
    first = hand_over(producer_engine, documents(25), idempotency_key="night-1")

    second = hand_over(producer_engine, documents(25), idempotency_key="night-1")

    assert second.job_id == first.job_id
    assert (first.repeated, second.repeated) == (False, True)
    assert len(jobs(producer_engine)) == 1


def test_same_key_for_other_content_is_refused(producer_engine: sa.Engine) -> None:
    """Without it, the second night's submit silently returns the first night's job."""
    hand_over(producer_engine, documents(2), idempotency_key="night-1")

    with pytest.raises(IdempotencyConflictError, match="another task or other documents"):
        hand_over(producer_engine, documents(3), idempotency_key="night-1")
    with pytest.raises(IdempotencyConflictError, match="another task or other documents"):
        submit(
            producer_engine,
            Task.KEYWORDS,
            documents(2),
            JobOptions(idempotency_key="night-1"),
            submitter="tester",
            limits=IntakeSettings(),
        )

    assert len(jobs(producer_engine)) == 1


def test_repeat_with_other_options_is_the_first_job_and_says_so(
    producer_engine: sa.Engine,
) -> None:
    """Without it, a retry that was given another deadline or name doubles its rows."""
    first = hand_over(producer_engine, documents(2), idempotency_key="night-1")

    second = hand_over(producer_engine, documents(2), idempotency_key="night-1", explain=True)

    assert (second.job_id, second.repeated) == (first.job_id, True)
    assert [job.options for job in jobs(producer_engine)] == [{}]


def test_racing_submits_of_one_key_make_one_job(producer_engine: sa.Engine) -> None:
    """Without it, two schedulers that fire together double the rows."""
    with ThreadPoolExecutor(2) as pool:
        submissions = list(
            pool.map(
                lambda _: hand_over(producer_engine, documents(25), idempotency_key="night-1"),
                range(2),
            )
        )

    assert submissions[0].job_id == submissions[1].job_id
    assert len(jobs(producer_engine)) == 1


def test_chunks_are_bounded_by_tokens(producer_engine: sa.Engine) -> None:
    """Without it, a chunk of long documents is minutes of work."""
    long = [Document(text="word " * 40_000) for _ in range(3)]

    hand_over(producer_engine, long)

    with producer_engine.connect() as connection:
        assert connection.scalar(sa.text("select count(*) from textmill.chunk")) == len(long)


@pytest.mark.parametrize("count", [6, 40])
def test_job_of_too_many_documents_is_refused_whole(producer_engine: sa.Engine, count: int) -> None:
    """Without it, an endless file fills the database."""
    limits = IntakeSettings(load_batch=10, max_job_documents=count - 1)

    with pytest.raises(InputError, match="TEXTMILL_MAX_JOB_DOCUMENTS"):
        submit(
            producer_engine,
            Task.SENTIMENT,
            documents(count),
            JobOptions(),
            submitter="tester",
            limits=limits,
        )

    with producer_engine.connect() as connection:
        left = connection.scalar(sa.text("select count(*) from textmill.document"))
    assert (jobs(producer_engine), left) == ([], 0)


@pytest.mark.parametrize("task", [Task.SENTIMENT, Task.MODERATION])
def test_only_keywords_are_generated(producer_engine: sa.Engine, task: Task) -> None:
    """Without it, a job is accepted although its results cannot hold what it asks for."""
    with pytest.raises(InputError, match="leave `generate` out"):
        submit(
            producer_engine,
            task,
            [Document(text="tea")],
            JobOptions(generate=True),
            submitter="tester",
            limits=IntakeSettings(),
        )

    assert jobs(producer_engine) == []


def test_keywords_are_not_explained(producer_engine: sa.Engine) -> None:
    """Without it, a job is accepted although its results cannot hold what it asks for."""
    with pytest.raises(InputError, match="leave `explain` out"):
        submit(
            producer_engine,
            Task.KEYWORDS,
            [Document(text="tea")],
            JobOptions(explain=True),
            submitter="tester",
            limits=IntakeSettings(),
        )
