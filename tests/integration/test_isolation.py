"""Transactions that see the database as it was at their beginning."""

import psycopg
import pytest
import sqlalchemy as sa

from producer.submit import submit
from schema.database import create_engine
from schema.documents import Document, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.postgres import DatabaseUrls

LATER = [
    "select textmill.erase_document(textmill.new_job_id(), '1')",
    "select textmill.promote_model('sentiment', null, 0)",
    "select textmill.rollback_model('sentiment')",
    "select textmill.withdraw_feedback(1)",
    "set local textmill.max_pending = 9; select textmill.submit('sentiment', '[]')",
]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("statement", LATER)
def test_what_waits_and_then_reads_refuses_an_old_snapshot(
    engine: sa.Engine, statement: str, level: str
) -> None:
    """Without it, under a client's default an erased text may stay, and a limit be exceeded."""
    with (
        engine.connect().execution_options(isolation_level=level) as connection,
        pytest.raises(sa.exc.DBAPIError, match=f"isolation level {level.lower()}") as refused,
    ):
        connection.exec_driver_sql(statement)

    assert isinstance(refused.value.orig, psycopg.errors.InvalidTransactionState)
    hint = refused.value.orig.diag.message_hint
    assert hint == "Begin it with: begin isolation level read committed"


def test_programs_do_not_depend_on_the_default_of_the_database(
    engine: sa.Engine, database: DatabaseUrls
) -> None:
    """Without it, a setting of the database makes submits fail and workers retry in vain."""
    limits = IntakeSettings(max_pending=9)
    with engine.begin() as connection:
        name = connection.scalar(sa.text("select current_database()"))
        connection.exec_driver_sql(
            f"alter database {name} set default_transaction_isolation = 'repeatable read'"
        )
    later = create_engine(database.producer, application="tests")

    submitted = submit(
        *(later, Task.SENTIMENT, [Document(text="tea")], JobOptions()),
        submitter="tester",
        limits=limits,
    )

    assert submitted.accepted == 1
    with later.connect() as connection:
        assert connection.scalar(sa.text("show default_transaction_isolation")) == "repeatable read"
        assert connection.scalar(sa.text("show transaction_isolation")) == "read committed"
    later.dispose()
