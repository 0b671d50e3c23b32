"""Sweeps that an operator changes with SQL, also while a run is under way."""

import threading

import pytest
import sqlalchemy as sa

from producer.cli.durations import parse_duration
from producer.sweeps import Sweeper
from producer.sweeps.definitions import add, make_due
from schema.settings import SweepSettings
from tests.fixtures.shop import QUERY, change, definition, one, swept, wait_for, write

AS_OPERATOR = "set local role textmill_operator;"
READY = "update textmill.sweep_run set ready_at = now()"
BY_RANK = (
    "update textmill.sweep set watermark_column = 'rank', watermark = '-9223372036854775808',"
    " query = 'select id, body as text, rank from posts where rank > :watermark'"
)
CHANGES = [
    ("update textmill.sweep set watermark = '0'", [["1", "2", "3", "4"]]),
    ("update textmill.sweep set watermark = '3'", [["4"]]),
    (BY_RANK, [["1", "2", "3", "4"]]),
]
"""Statements of an operator, each with the ids that are swept after it."""


@pytest.fixture
def settling(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> sa.Engine:
    """A shop of four posts, ranked in reverse, and a settling run that is to take those above 2."""
    query = f"{QUERY} and pg_advisory_xact_lock_shared(42) is not null"
    add(engine, definition(query=query, settle=parse_duration("5m")), shop_settings, "2")
    write(shop, 1, 2, 3, 4)
    change(shop, "alter table posts add rank bigint; update posts set rank = 10 - id")
    make_due(engine, "posts")
    sweeper.step()
    return shop


@pytest.mark.parametrize(("statement", "wanted"), CHANGES)
@pytest.mark.usefixtures("settling")
def test_change_while_a_run_settles_counts(
    engine: sa.Engine, sweeper: Sweeper, statement: str, wanted: list[list[str]]
) -> None:
    """Without it, the run overwrites the operator's watermark and skips rows to be swept."""
    change(engine, AS_OPERATOR + statement)
    change(engine, READY)
    sweeper.step()

    _assert_failed_and_swept_next(engine, sweeper, wanted)


@pytest.mark.parametrize(("statement", "wanted"), CHANGES)
def test_change_while_rows_are_handed_over_counts(
    engine: sa.Engine,
    settling: sa.Engine,
    sweeper: Sweeper,
    statement: str,
    wanted: list[list[str]],
) -> None:
    """Without it, the same happens to a change that is made a moment later."""
    change(engine, READY)
    with settling.connect() as holder:
        holder.exec_driver_sql("select pg_advisory_lock(42)")
        reading = threading.Thread(target=sweeper.step)
        reading.start()
        wait_for(settling, "select 1 from pg_locks where locktype = 'advisory' and not granted")

        change(engine, AS_OPERATOR + statement)
        holder.exec_driver_sql("select pg_advisory_unlock(42)")
        reading.join()

    _assert_failed_and_swept_next(engine, sweeper, wanted)


def test_change_mends_a_run_that_has_not_looked_yet(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, anyone who corrects a query has to wait for the next night."""
    add(engine, definition(), shop_settings, None)
    write(shop, 1, 2)
    change(shop, "alter table posts rename to entries")
    make_due(engine, "posts")
    sweeper.step()
    broken = one(engine, "sweep_history")

    query = QUERY.replace("posts", "entries")
    change(engine, f"{AS_OPERATOR} update textmill.sweep set query = '{query}', watermark = '1'")
    change(engine, READY)
    sweeper.step()

    run = one(engine, "sweep_history")
    assert (broken.state, run.run_id, run.state) == ("settling", broken.run_id, "running")
    assert (run.from_watermark, run.to_watermark) == ("1", "2")
    assert swept(engine) == [["2"]]


def _assert_failed_and_swept_next(
    engine: sa.Engine, sweeper: Sweeper, wanted: list[list[str]]
) -> None:
    run = one(engine, "sweep_history")
    assert (run.state, run.job_id, swept(engine)) == ("failed", None, [])
    assert "was changed meanwhile; the next run begins with" in str(run.alert)

    make_due(engine, "posts")
    sweeper.step()
    change(engine, "update textmill.sweep_run set ready_at = now() where state = 'settling'")
    sweeper.step()

    assert [sorted(ids) for ids in swept(engine)] == wanted
