"""Textmill behind a transaction pooler, where no session keeps state between transactions."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
import sqlalchemy as sa

from migrations import upgrade
from producer.jobs import status
from producer.submit import submit
from schema.database import check_version, create_engine
from schema.documents import Document, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.mill import Mill
from tests.fixtures.postgres import DatabaseUrls

DOCUMENTS = 300


@pytest.fixture
def engine_through_pooler(pooled: DatabaseUrls) -> Iterator[sa.Engine]:
    made = create_engine(pooled.producer, application="tests")
    yield made
    made.dispose()


def test_jobs_run_to_their_end(
    mill: Mill, pooled: DatabaseUrls, engine_through_pooler: sa.Engine
) -> None:
    """Without it, a setting or a lock of a session reaches another client's transaction."""
    mill.database = pooled
    mill.dispatch()
    mill.workers(2)

    jobs = [
        submit(
            engine_through_pooler,
            Task.SENTIMENT,
            [Document(text=f"tea number {number} was fine") for number in range(DOCUMENTS)],
            JobOptions(),
            submitter="tester",
            # In several transactions, and cut into many chunks.
            limits=IntakeSettings(chunk_documents=8, load_batch=100),
        )
        for _ in range(2)
    ]

    for job in jobs:
        assert mill.finished(job.job_id).succeeded == DOCUMENTS
        assert status(engine_through_pooler, job.job_id).succeeded == DOCUMENTS
    assert "ERROR" not in mill.log()


def test_a_database_is_migrated(database: DatabaseUrls, pooled: DatabaseUrls) -> None:
    """Without it, `textmill db upgrade` needs a URL that bypasses the pooler."""
    name = f"empty_{uuid4().hex}"
    server = create_engine(database.owner, application="tests")
    with server.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"create database {name}")
        url = sa.make_url(pooled.owner).set(database=name)
        empty = create_engine(url.render_as_string(hide_password=False), application="tests")
        try:
            assert upgrade(empty) is None

            with empty.connect() as migrated:
                check_version(migrated)
        finally:
            empty.dispose()
            connection.exec_driver_sql(f"drop database {name} with (force)")
    server.dispose()
