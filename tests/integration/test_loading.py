"""Loading a job's documents: all of the job, or nothing of it."""

from collections.abc import Iterator, Sequence

import pytest
import sqlalchemy as sa

from producer import loading
from producer.batches import batches
from producer.loading import Load, purge_part
from schema.database import create_engine
from schema.documents import JobOptions, Record, Task
from schema.errors import ServiceUnavailableError
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.submits import LIMITS, REJECTED, documents, hand_over, jobs


def left(engine: sa.Engine) -> int:
    """The number of rows of jobs, chunks, documents and failures."""
    with engine.connect() as connection:
        found: int = connection.execute(
            sa.text(
                "select (select count(*) from textmill.job)"
                " + (select count(*) from textmill.chunk)"
                " + (select count(*) from textmill.document)"
                " + (select count(*) from textmill.failure)"
            )
        ).scalar_one()
    return found


def test_load_of_which_a_batch_is_lost_is_given_up(producer_engine: sa.Engine) -> None:
    """Without it, a crash of the server behind a pooler leaves a job that never ends."""

    def while_postgres_crashes() -> Iterator[Record]:
        yield from documents(15)
        with producer_engine.begin() as connection:
            connection.execute(sa.text("update textmill.job set accepted = 0, rejected = 0"))
        yield from documents(40)[15:]

    with pytest.raises(ServiceUnavailableError, match="lost part of it"):
        hand_over(producer_engine, while_postgres_crashes())

    assert jobs(producer_engine) == []


@pytest.mark.parametrize("count", [0, 9, 10, 35])
def test_reading_ahead_loads_every_record_once_and_in_order(
    producer_engine: sa.Engine, count: int
) -> None:
    """Without it, a batch is lost or stored twice between the two threads."""
    records = [*documents(count), REJECTED]

    first = hand_over(producer_engine, records, idempotency_key="night-1")
    second = hand_over(
        producer_engine, records, idempotency_key="night-1", name="again", reads_ahead=True
    )
    third = hand_over(producer_engine, records, reads_ahead=True)

    assert (second.job_id, second.repeated) == (first.job_id, True)
    assert (third.accepted, third.rejected) == (first.accepted, first.rejected) == (count + 1, 1)
    with producer_engine.connect() as connection:
        stored = connection.scalars(
            sa.text(
                "select external_id from textmill.document"
                " where job_id = :job_id and text is not null order by seq"
            ),
            {"job_id": third.job_id},
        ).all()
    assert stored == [f"d{n}" for n in range(count)]


def test_job_is_invisible_until_it_is_whole(producer_engine: sa.Engine) -> None:
    """Without it, workers run half a file, and people see counts that grow."""
    seen = []

    def watched() -> Iterator[Record]:
        for record in documents(25):
            with producer_engine.connect() as connection:
                seen.append(connection.scalar(sa.text("select count(*) from textmill.job_status")))
            yield record

    hand_over(producer_engine, watched())

    assert set(seen) == {0}
    assert len(jobs(producer_engine)) == 1


@pytest.mark.parametrize("reads_ahead", [False, True])
def test_load_that_fails_leaves_nothing(producer_engine: sa.Engine, *, reads_ahead: bool) -> None:
    """Without it, half a job takes up space until it is purged."""

    def broken() -> Iterator[Record]:
        yield from documents(25)
        message = "the source went away"
        raise ConnectionError(message)

    with pytest.raises(ConnectionError):
        hand_over(producer_engine, broken(), reads_ahead=reads_ahead)

    assert left(producer_engine) == 0


def test_load_that_was_purged_meanwhile_says_so(producer_engine: sa.Engine) -> None:
    """Without it, a slow pipe ends with a traceback about foreign keys."""

    def slow() -> Iterator[Record]:
        for number, record in enumerate(documents(25)):
            if number == 15:
                with producer_engine.begin() as other:
                    loading = other.scalar(sa.text("select job_id from textmill.job"))
                    purge_part(other, loading)
            yield record

    with pytest.raises(ServiceUnavailableError, match="purged while it loaded"):
        hand_over(producer_engine, slow())

    assert left(producer_engine) == 0


def test_part_of_a_purge_reads_its_own_documents_alone(
    producer_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, each part of a purge reads the whole load, and a large purge takes hours."""
    monkeypatch.setattr(loading, "PURGED_AT_ONCE", 10)
    entries_read = sa.text(
        "select sum(pg_stat_get_xact_tuples_returned(i.indexrelid)) from pg_index i"
        " join pg_class c on c.oid = i.indrelid and c.relispartition"
        " where c.relnamespace = 'textmill'::regnamespace"
    )
    read = []

    with producer_engine.connect() as connection:
        load = Load(connection, Task.SENTIMENT, JobOptions(), submitter="tester", limits=LIMITS)
        for batch in batches([*documents(85), *[REJECTED] * 10], LIMITS):
            load.add(batch)
        connection.execute(sa.text("select pg_stat_force_next_flush()"))
        connection.commit()
        done = False
        while not done:
            done = purge_part(connection, load.job_id)
            read.append(connection.scalar(entries_read))
            # Make the counts start again with the next transaction, not only after a second.
            connection.execute(sa.text("select pg_stat_force_next_flush()"))
            connection.commit()

    assert len(read) == 10
    assert max(read) <= 2 * 10
    assert left(producer_engine) == 0


@pytest.mark.parametrize("batch", [1, 2])
def test_load_that_is_broken_off_in_the_middle_of_a_statement_leaves_nothing(
    producer_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Without it, Ctrl-C leaves half a job behind, and blames Postgres."""
    copies = iter(range(1, 100))
    whole = Load._copy_documents  # noqa: SLF001

    def interrupted(load: Load, rows: Sequence[bytes]) -> None:
        if next(copies) < batch:
            whole(load, rows)
            return
        load._driver.pgconn.exec_(b"copy textmill.document from stdin")  # noqa: SLF001
        raise KeyboardInterrupt

    monkeypatch.setattr(Load, "_copy_documents", interrupted)

    with pytest.raises(KeyboardInterrupt):
        hand_over(producer_engine, documents(25))

    assert left(producer_engine) == 0


def test_database_that_takes_no_writes_says_so(database: DatabaseUrls) -> None:
    """Without it, a failover stops dispatch, and a submit ends with a traceback."""
    url = sa.make_url(database.producer).update_query_dict(
        {"options": "-c default_transaction_read_only=on"}
    )
    engine = create_engine(url.render_as_string(hide_password=False), application="tests")

    with pytest.raises(ServiceUnavailableError, match="takes no writes"):
        hand_over(engine, documents(1))

    engine.dispose()
