"""What a reader's forgotten transaction costs while a job runs."""

import sqlalchemy as sa

from producer.submit import submit
from schema.documents import Document, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.outcomes import POSITIVE, work_off

CHUNKS = 400

BYTES_PER_CHUNK = 1024
"""As stated in docs/operations.md."""

HOT = ["job", "chunk", "worker"]
"""Tables whose rows are updated while jobs run; documents and outcomes are only added."""


def size(engine: sa.Engine) -> int:
    """Bytes of the hot tables with their indexes, after a vacuum."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in HOT:
            connection.exec_driver_sql(f"vacuum textmill.{table}")
        return int(
            connection.execute(
                sa.text(
                    "select sum(pg_total_relation_size('textmill.' || t))"
                    " from unnest(cast(:hot as text[])) as t"
                ),
                {"hot": HOT},
            ).scalar_one()
        )


def test_open_transaction_of_a_reader_costs_a_bounded_number_of_bytes_a_chunk(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    reader_engine: sa.Engine,
) -> None:
    """Without it, an analyst who went for lunch fills the disk and slows the night's job."""
    job_id = submit(
        producer_engine,
        Task.SENTIMENT,
        [Document(text=f"text {n}") for n in range(2 * CHUNKS)],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(chunk_documents=2),
    ).job_id
    look = sa.text("select succeeded from textmill.job_status")
    before = size(engine)
    with reader_engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        # Lift the limit of the reader role, which would end this transaction; see test_roles.
        reader.exec_driver_sql("set idle_in_transaction_session_timeout = 0")
        assert reader.scalar(look) == 0

        work_off(producer_engine, worker_engine, job_id, POSITIVE)

        grown = size(engine) - before
        assert reader.scalar(look) == 0
    with engine.connect() as connection:
        assert connection.scalar(look) == 2 * CHUNKS
    assert 0 < grown / CHUNKS < BYTES_PER_CHUNK
