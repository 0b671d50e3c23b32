"""A month is dropped while people read."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from tests.fixtures.chunks import add_job
from tests.fixtures.waiting import until_blocked

MONTH = """
    select to_char(max(to_date(right(relname, 6), 'YYYYMM')), 'YYYYMM') from pg_class
    where relnamespace = 'textmill'::regnamespace and relname ~ '^document_[0-9]{6}$'
"""


@pytest.fixture
def month(engine: sa.Engine) -> str:
    """The last month that has partitions."""
    with engine.connect() as connection:
        return str(connection.scalar(sa.text(MONTH)))


@pytest.fixture
def reader(reader_engine: sa.Engine) -> Iterator[sa.Connection]:
    """A person whose transaction has read documents and their outcomes."""
    with reader_engine.connect() as connection:
        connection.exec_driver_sql("select count(*) from textmill.document_status")
        yield connection


@pytest.mark.usefixtures("reader")
def test_drop_that_gives_up_holds_submits_up_no_longer_than_it_waits(
    engine: sa.Engine, producer_engine: sa.Engine, month: str
) -> None:
    """Without it, dropping a month while one transaction is open stalls every submit."""

    def drop() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("set lock_timeout = '1s'")
            connection.exec_driver_sql(
                f"drop table textmill.document_{month}, textmill.result_{month},"
                f" textmill.failure_{month}"
            )

    with ThreadPoolExecutor(1) as pool:
        dropping = pool.submit(drop)
        until_blocked(engine, dropping)
        assert not dropping.done()

        add_job(producer_engine, 1)

    refused = dropping.exception()
    assert isinstance(refused, sa.exc.OperationalError)
    assert isinstance(refused.orig, psycopg.errors.LockNotAvailable)


def test_partition_that_is_detached_concurrently_holds_nobody_up(
    engine: sa.Engine, producer_engine: sa.Engine, reader: sa.Connection, month: str
) -> None:
    """Without it, the guide promises what these tables do not allow."""
    own = engine.execution_options(isolation_level="AUTOCOMMIT")

    def detach() -> None:
        with own.connect() as connection:
            connection.exec_driver_sql(
                f"alter table textmill.document detach partition textmill.document_{month}"
                " concurrently"
            )
            connection.exec_driver_sql(f"drop table textmill.document_{month}")

    with ThreadPoolExecutor(1) as pool:
        detaching = pool.submit(detach)
        until_blocked(engine, detaching)
        assert not detaching.done()

        add_job(producer_engine, 1)
        assert not detaching.done()
        reader.rollback()

    detaching.result()
