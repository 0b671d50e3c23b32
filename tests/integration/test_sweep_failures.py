"""Sweeps that cannot run: what is reported, and where."""

import json
import threading

import pytest
import sqlalchemy as sa

from producer.cli.durations import parse_duration
from producer.sweeps import Sweeper
from producer.sweeps.definitions import add, make_due
from producer.sweeps.source import OWN_DATABASE, Source, open_source
from schema.database import create_engine
from schema.errors import SourceError
from schema.settings import SweepSettings
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.shop import QUERY, change, definition, one, swept, write

NO_RIGHT = "revoke update on textmill.sweep_run from textmill_producer"
QUOTING = """
create function refuse() returns trigger language plpgsql as
$$ begin raise check_violation using message = 'post 1 is odd'; end $$;
create trigger refuse before update on textmill.sweep_run for each row execute function refuse()
"""
MEANINGLESS = {
    "timezone = 'Mars/Olympus'": "there is no time zone 'Mars/Olympus'",
    "cron = '0 2 * *'": "the cron expression '0 2 * *' has 4 fields",
}
"""Changes of a schedule, each with what is wrong after it."""


def test_source_that_fails_is_tried_again_and_then_reported(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, a night's sweep is lost unnoticed."""
    add(engine, definition(), shop_settings, None)
    write(shop, 1)
    change(shop, "alter table posts rename to other")
    make_due(engine, "posts")
    sweeper.step()
    first = one(engine, "sweep_history")
    for _ in range(5):
        change(engine, "update textmill.sweep_run set ready_at = now()")
        sweeper.step()
    last = one(engine, "sweep_history")
    change(shop, "alter table other rename to posts")
    make_due(engine, "posts")
    sweeper.step()

    assert first.state == "settling"
    assert 'relation "posts" does not exist' in str(first.error)
    assert (last.state, str(last.alert).partition(":")[0]) == ("failed", "the run failed")
    assert swept(engine) == [["1"]]


def test_run_whose_job_is_deleted_has_failed_and_the_next_one_begins(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, whoever deletes a job ends its sweep for good, and no alert says so."""
    add(engine, definition(), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()
    for table in ("document", "chunk", "job"):
        change(engine, f"delete from textmill.{table}")

    sweeper.step()
    failed = one(engine, "sweep_history")
    write(shop, 2)
    make_due(engine, "posts")
    sweeper.step()

    assert failed.state == "failed"
    why = "the run failed: its job was deleted; its rows, up to 1, are not swept again"
    assert failed.alert == why
    assert swept(engine) == [["2"]]


@pytest.mark.parametrize("statement", MEANINGLESS)
def test_sweep_whose_schedule_means_nothing_says_so(
    engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
    caplog: pytest.LogCaptureFixture,
    statement: str,
) -> None:
    """Without it, a typing error ends a sweep for good, and only a log says so."""
    due = add(engine, definition(), shop_settings, None)
    write(shop, 1)
    as_operator = "set local role textmill_operator; update textmill.sweep set "

    change(engine, as_operator + statement)
    for _ in range(3):
        sweeper.step()
    wrong = one(engine, "sweep_status")
    change(engine, f"{as_operator} cron = '0 2 * * *', timezone = 'Asia/Shanghai'")
    sweeper.step()
    mended = one(engine, "sweep_status")
    make_due(engine, "posts")
    sweeper.step()

    assert str(wrong.error).startswith(MEANINGLESS[statement])
    assert wrong.alert == f"the sweep is not run: {wrong.error}"
    assert wrong.last_state is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert (mended.error, mended.alert, mended.next_run_at) == (None, None, due)
    assert swept(engine) == [["1"]]


def test_neither_stops_nor_failures_before_a_success_use_up_the_tries(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, five deployments and one error of the source make a night's run fail."""
    add(engine, definition(settle=parse_duration("5m")), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")

    def step(times: int) -> sa.Row[tuple[object, ...]]:
        for _ in range(times):
            change(engine, "update textmill.sweep_run set ready_at = now()")
            sweeper.step()
        return one(engine, "sweep_history")

    change(shop, "alter table posts rename to other")
    step(5)
    change(shop, "alter table other rename to posts")
    probed = step(1)
    change(engine, "update textmill.sweep_run set attempt = attempt + 5")  # claimed, then stopped
    change(shop, "alter table posts rename to other")
    failed = step(5)

    assert (probed.state, probed.to_watermark) == ("settling", "1")
    assert failed.state == "settling"
    assert step(1).state == "failed"


@pytest.mark.parametrize(("type_", "swept_then"), [("text", [["9"]]), ("numeric", [["9"], ["10"]])])
def test_watermark_of_another_kind_fails_the_run(
    engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
    type_: str,
    swept_then: list[list[str]],
) -> None:
    """Without it, a sweep leaves rows out for ever: as texts, 10 is not above 9."""
    add(engine, definition(), shop_settings, None)
    write(shop, 9)
    make_due(engine, "posts")
    sweeper.step()
    change(engine, "update textmill.sweep_run set state = 'finished', finished_at = now()")
    write(shop, 10)
    change(shop, f"alter table posts alter column id type {type_}")

    make_due(engine, "posts")
    sweeper.step()

    assert swept(engine) == swept_then
    error = one(engine, "sweep_history").error
    assert ("was a number and is a text; remove the sweep" in str(error)) == (type_ == "text")


@pytest.mark.parametrize(
    ("fault", "said"), [(NO_RIGHT, "permission denied"), (QUOTING, "23514 check_violation")]
)
def test_step_that_postgres_refuses_is_a_warning(
    engine: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
    caplog: pytest.LogCaptureFixture,
    fault: str,
    said: str,
) -> None:
    """Without it, a right that dispatch lacks fills the log, or the log holds a text."""
    add(engine, definition(), shop_settings, None)
    make_due(engine, "posts")
    change(engine, fault)

    sweeper.run(Once())

    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert said in record.message
    assert "post 1" not in record.message


def test_rows_that_textmill_cannot_keep_fail_the_run(
    engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without it, a run is tried for ever, nobody is told, and a log fills with texts."""
    add(engine, definition(), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")
    change(engine, "alter table textmill.document add constraint odd check (text <> 'post 1')")

    for _ in range(6):
        sweeper.run(Once())
        change(engine, "update textmill.sweep_run set ready_at = now(), lease_expires_at = null")

    run = one(engine, "sweep_history")
    assert run.state == "failed"
    assert "Textmill's database says: 23514 check_violation" in str(run.alert)
    assert "post 1" not in f"{run.alert} {caplog.text}"


class Once(threading.Event):
    """An event that is set after one step."""

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        """Set the event in the pause between two steps."""
        self.set()
        return True


def test_one_odd_row_stops_no_sweep(
    engine: sa.Engine, shop: sa.Engine, shop_settings: SweepSettings, sweeper: Sweeper
) -> None:
    """Without it, one odd value ends the nightly moderation of a table."""
    change(shop, "alter table posts add extra jsonb, add size float8, add raw bytea")
    query = "select id, body as text, extra, size, raw from posts where id > :watermark"
    add(engine, definition(query=query), shop_settings, None)
    write(shop, 1, 2, 3, 4)
    nested, digits = "[" * 3000 + "]" * 3000, "1" * 5000
    change(shop, f"update posts set extra = '{nested}' where id = 2")
    change(shop, f"update posts set extra = '{digits}' where id = 3")
    change(
        shop,
        r"""update posts set extra = '{"a": [1]}', size = 'infinity', raw = '\xff' where id = 4""",
    )

    make_due(engine, "posts")
    sweeper.step()

    assert swept(engine) == [["1", "2", "3", "4"]]
    with engine.connect() as connection:
        kept = connection.scalars(
            sa.text("select metadata from textmill.document order by seq")
        ).all()
    assert [kept[1]["extra"], kept[2]["extra"]] == [nested, digits]
    assert kept[3] == {"extra": {"a": [1]}, "size": "Infinity", "raw": r"\xff"}


def test_what_nobody_foresaw_fails_the_run_and_no_other(
    engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    sweeper: Sweeper,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without it, a run is tried for ever, reports nothing, and holds up runs that are done."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    add(engine, definition(), shop_settings, None)
    write(shop, 1)
    make_due(engine, "posts")
    monkeypatch.setattr(Source, "highest", broken)
    for _ in range(6):
        sweeper.step()
        change(engine, "update textmill.sweep_run set ready_at = now()")

    run = one(engine, "sweep_history")

    assert run.state == "failed"
    assert run.alert == "the run failed: ZeroDivisionError, see dispatch's log"
    assert "Traceback" in caplog.text


def test_a_source_without_an_encoding_is_read(engine: sa.Engine, database: DatabaseUrls) -> None:
    """Without it, adding a sweep of an old database ends in a traceback."""
    admin = create_engine(database.owner, application="tests")
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("drop database if exists bytes")
        connection.exec_driver_sql(
            "create database bytes encoding 'SQL_ASCII' locale 'C' template template0"
        )
    url = sa.make_url(database.owner).set(database="bytes").render_as_string(hide_password=False)
    own = create_engine(url, application="tests")
    change(own, "create table posts (id bigint, body text, shop text)")
    change(own, "insert into posts values (1, '很好', 'north')")
    settings = SweepSettings(sources=json.dumps({"bytes": url}))

    add(engine, definition(source="bytes"), settings, None)

    with open_source(engine, settings, "bytes", QUERY, "id") as source:
        assert list(source.rows("0", "1")) == [{"id": 1, "text": "很好", "shop": "north"}]
    own.dispose()
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("drop database bytes with (force)")
    admin.dispose()


def test_table_that_dispatch_may_not_read_names_the_login_to_grant_it_to(
    engine: sa.Engine, producer_engine: sa.Engine
) -> None:
    """Without it, whoever added the sweep as the owner cannot tell why dispatch fails to run it."""
    with engine.begin() as connection:
        connection.exec_driver_sql("create table public.notes (id bigint, body text)")
    query = "select id, body as text from public.notes where id > :watermark"

    with (
        open_source(producer_engine, SweepSettings(), OWN_DATABASE, query, "id") as source,
        pytest.raises(SourceError, match="permission denied for table notes; grant producer_login"),
    ):
        source.count("0")
