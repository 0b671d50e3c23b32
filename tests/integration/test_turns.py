"""What only one transaction at a time may do."""

import pytest
import sqlalchemy as sa

LIMIT = sa.text("show idle_in_transaction_session_timeout")
SUBMIT = """select textmill.submit('sentiment', '[{"text": "tea"}]')"""
DISPATCH = "select textmill.dispatch_turn()"
PARTITIONS = "select textmill.make_partitions(24)"
PROMOTE = "select textmill.promote_model('sentiment', null)"


@pytest.mark.parametrize(
    ("role", "statement", "limit"),
    [
        ("producer", SUBMIT, "1min"),
        ("producer", "select textmill.pending_documents('etl')", "1min"),
        ("producer", PARTITIONS, "1min"),
        ("producer", DISPATCH, "10s"),
        ("owner", PROMOTE, "1min"),
    ],
)
def test_forgotten_prompt_keeps_no_turn(
    producer_engine: sa.Engine, engine: sa.Engine, role: str, statement: str, limit: str
) -> None:
    """Without it, a prompt left open overnight stops every submit, dispatch or promotion."""
    side = engine if role == "owner" else producer_engine
    with side.connect() as connection:
        connection.exec_driver_sql("set local textmill.max_pending = 10")
        assert connection.scalar(LIMIT) == "0"

        connection.exec_driver_sql(statement)

        assert connection.scalar(LIMIT) == limit


def test_who_is_ended_sooner_anyway_stays_so(producer_engine: sa.Engine) -> None:
    """Without it, a step of dispatch that adds partitions and freezes keeps its turn for longer."""
    with producer_engine.begin() as connection:
        connection.exec_driver_sql(DISPATCH)

        connection.exec_driver_sql(PARTITIONS)

        assert connection.scalar(LIMIT) == "10s"

    with producer_engine.begin() as connection:
        connection.exec_driver_sql("set local idle_in_transaction_session_timeout = '500ms'")

        connection.exec_driver_sql(DISPATCH)

        assert connection.scalar(LIMIT) == "500ms"
