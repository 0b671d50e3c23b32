"""Sweeps: every row once, whatever happens in between."""

import json
import re
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from producer.jobs import latest
from producer.sweeps import Sweeper
from producer.sweeps.definitions import Definition, add, define, make_due, parse_duration
from producer.sweeps.source import Source, open_source
from schema.database import create_engine
from schema.documents import Task
from schema.errors import InputError, SettingsError, SourceError
from schema.settings import IntakeSettings, SweepSettings
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import RESULTS, work_off
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import PATIENCE, Start

QUERY = "select id, body as text, shop from posts where id > :watermark"
KINDS = ["smallint", "integer", "bigint", "numeric", "double precision", "text", "uuid"]
KINDS += ["date", "timestamp", "timestamptz"]
PAGE = Path(__file__).parents[2] / "docs/sweeps.md"
NIGHTS = """
update textmill.sweep set watermark = '58204', next_run_at = '2026-03-06 18:00Z';
insert into textmill.sweep_run (sweep_id, state, scheduled_for, started_at, finished_at,
    from_watermark, to_watermark, job_id, swept, flagged, labels, usual_rate, alert, error)
select sweep_id, state, day, day, day + interval '9 minutes', "from", "to",
    case when swept > 0 then textmill.new_job_id() end, swept, flagged, labels::jsonb, usual, alert,
    error
from textmill.sweep, (values
    (1, 'finished', '2026-03-01 18:00Z'::timestamptz, '0', '41877', 41877, 711,
        '{"abuse": 122, "spam": 589}', null::float, null, null),
    (2, 'finished', '2026-03-02 18:00Z', '41877', '46020', 4143, 78,
        '{"abuse": 17, "spam": 61}', null, null, null),
    (3, 'failed', '2026-03-03 18:00Z', '46020', null, null, null, null, null,
        'the run failed: the source ''shop'' says: connection refused',
        'the source ''shop'' says: connection refused'),
    (4, 'finished', '2026-03-04 18:00Z', '46020', '54190', 8170, 140,
        '{"abuse": 28, "spam": 112}', null, null, null),
    (5, 'finished', '2026-03-05 18:00Z', '54190', '58204', 4014, 181,
        '{"abuse": 14, "spam": 167}', 0.01714,
        'flagged 4.5 %, usually 1.7 %; spam 4.2 %, usually 1.4 %', null)
) as runs (n, state, day, "from", "to", swept, flagged, labels, usual, alert, error)
order by n
"""
Row = sa.Row[tuple[object, ...]]


@pytest.fixture
def shop_url(database: DatabaseUrls) -> Iterator[str]:
    """Another database, with a table of posts."""
    name = f"shop_{uuid4().hex}"
    admin = create_engine(database.owner, application="tests")
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"create database {name}")
        url = sa.make_url(database.owner).set(database=name).render_as_string(hide_password=False)
        yield url
        connection.exec_driver_sql(f"drop database {name} with (force)")
    admin.dispose()


@pytest.fixture
def shop(shop_url: str) -> Iterator[sa.Engine]:
    engine = create_engine(shop_url, application="tests")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "create table posts (id bigint primary key, body text, shop text default 'north');"
            "create sequence numbers"
        )
    yield engine
    engine.dispose()


@pytest.fixture
def settings(shop_url: str) -> SweepSettings:
    return SweepSettings(sources=json.dumps({"shop": shop_url}))


@pytest.fixture
def source(shop: sa.Engine, settings: SweepSettings) -> Iterator[Source]:
    assert shop is not None  # its table is there
    opened = open_source("shop", "", settings)
    yield opened
    opened.close()


@pytest.fixture
def sweeper(producer_engine: sa.Engine, settings: SweepSettings) -> Sweeper:
    return Sweeper(producer_engine, settings, IntakeSettings())


def definition(**changes: object) -> Definition:
    fields = {
        "name": "posts",
        "cron": "0 2 * * *",
        "timezone": "Asia/Shanghai",
        "source": "shop",
        "query": QUERY,
        "watermark_column": "id",
        "settle": parse_duration("0s"),
        "deadline": None,
    }
    return define(**fields | changes)


def write(shop: sa.Engine, *ids: int) -> None:
    with shop.begin() as connection:
        for number in ids:
            connection.execute(
                sa.text("insert into posts values (:id, 'post ' || :id)"), {"id": number}
            )


def one(engine: sa.Engine, view: str) -> Row:
    """The latest row of a sweep's view."""
    with engine.connect() as connection:
        return connection.execute(
            sa.text(f"select * from textmill.{view} order by 2 desc limit 1")
        ).one()


def swept(engine: sa.Engine) -> list[list[str]]:
    """The ids of the documents of each job, oldest job first."""
    with engine.connect() as connection:
        jobs = connection.execute(
            sa.text(
                "select array_agg(external_id order by seq) from textmill.document"
                " group by job_id order by job_id"
            )
        )
        return [row[0] for row in jobs]


def change(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execution_options(no_parameters=True).exec_driver_sql(statement)


def test_every_row_is_swept_once(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    source: Source,
    sweeper: Sweeper,
) -> None:
    """Without it, nights moderate the same posts again, or none."""
    add(engine, definition(), source, None)
    write(shop, -3, 7, 12)
    sweeper.step()
    assert swept(engine) == []

    make_due(engine, "posts")
    sweeper.step()
    job = latest(producer_engine, 1)[0]
    work_off(producer_engine, worker_engine, job.job_id, RESULTS[Task.MODERATION])
    sweeper.step()
    first = one(engine, "sweep_history")
    write(shop, 13)
    make_due(engine, "posts")
    sweeper.step()

    assert swept(engine) == [["-3", "7", "12"], ["13"]]
    assert (job.name, job.submitted_by, job.task) == ("sweep posts", "sweep posts", "moderation")
    assert (first.state, first.swept, first.flagged, first.labels) == (
        "finished",
        3,
        3,
        {"spam": 3},
    )
    assert (first.flag_rate, first.to_watermark, first.job_id) == (1, "12", job.job_id)
    assert one(engine, "sweep_status").watermark == "13"


def test_watermarks_that_share_a_long_beginning_are_told_apart(
    engine: sa.Engine, shop: sa.Engine, source: Source, sweeper: Sweeper
) -> None:
    """Without it, the second night is refused as the first one again, or taken for it."""
    path = "repeat('a long path/', 40) || id"
    query = f"select id, body as text, {path} as path from posts where {path} > :watermark"
    add(engine, definition(query=query, watermark_column="path"), source, None)

    for number in (1, 2, 3):
        write(shop, number)
        make_due(engine, "posts")
        sweeper.step()
        change(engine, "update textmill.sweep_run set state = 'finished', finished_at = now()")

    assert swept(engine) == [["1"], ["2"], ["3"]]


def test_row_committed_late_with_a_lower_id_is_swept(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    source: Source,
    sweeper: Sweeper,
) -> None:
    """Without it, a post whose transaction took a minute is never moderated."""
    add(engine, definition(settle=parse_duration("5m")), source, None)
    make_due(engine, "posts")
    with shop.connect() as late:
        late.exec_driver_sql("insert into posts values (1, 'late')")
        write(shop, 2)
        sweeper.step()
        settling = one(engine, "sweep_history")
        late.commit()
    write(shop, 3)
    sweeper.step()
    assert swept(engine) == []

    change(engine, "update textmill.sweep_run set ready_at = now()")
    sweeper.step()
    work_off(
        producer_engine,
        worker_engine,
        latest(producer_engine, 1)[0].job_id,
        RESULTS[Task.MODERATION],
    )
    sweeper.step()
    make_due(engine, "posts")
    sweeper.step()
    change(engine, "update textmill.sweep_run set ready_at = now()")
    sweeper.step()

    assert (settling.state, settling.to_watermark) == ("settling", "2")
    assert [sorted(ids) for ids in swept(engine)] == [["1", "2"], ["3"]]


def test_watermark_moves_with_its_job_or_not_at_all(
    engine: sa.Engine, shop: sa.Engine, source: Source, sweeper: Sweeper
) -> None:
    """Without it, a crash at the wrong moment skips a night or doubles it."""
    add(engine, definition(), source, None)
    write(shop, 1, 2)
    make_due(engine, "posts")
    change(
        engine,
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'not today'; end $$;"
        "create trigger refuse before update of watermark on textmill.sweep"
        " for each row execute function refuse()",
    )

    with pytest.raises(sa.exc.DBAPIError, match="not today"):
        sweeper.step()
    assert swept(engine) == []
    change(
        engine,
        "drop trigger refuse on textmill.sweep;"
        "update textmill.sweep_run set lease_expires_at = now()",
    )
    sweeper.step()

    assert swept(engine) == [["1", "2"]]
    assert one(engine, "sweep_status").watermark == "2"


def test_step_whose_lease_was_lost_writes_nothing(
    engine: sa.Engine, shop: sa.Engine, source: Source, sweeper: Sweeper
) -> None:
    """Without it, a dispatcher that was frozen hands over what another did meanwhile."""
    query = f"{QUERY} and pg_advisory_xact_lock_shared(42) is not null"
    add(engine, definition(query=query, settle=parse_duration("5m")), source, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()
    change(engine, "update textmill.sweep_run set ready_at = now()")
    with shop.connect() as holder:
        holder.exec_driver_sql("select pg_advisory_lock(42)")
        frozen = threading.Thread(target=sweeper.step)
        frozen.start()
        wait_for(shop, "select 1 from pg_locks where locktype = 'advisory' and not granted")

        change(engine, "update textmill.sweep_run set attempt = attempt + 1")
        holder.exec_driver_sql("select pg_advisory_unlock(42)")
        frozen.join()

    assert swept(engine) == []
    assert one(engine, "sweep_status").last_state == "settling"


def wait_for(engine: sa.Engine, query: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with engine.connect() as connection:
            if connection.exec_driver_sql(query).first() is not None:
                return
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_sweep_never_overlaps_itself_and_catches_up_once(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    shop: sa.Engine,
    source: Source,
    sweeper: Sweeper,
) -> None:
    """Without it, a slow night or a week of downtime ends in a heap of runs."""
    due = "update textmill.sweep set next_run_at = now() - interval '3 days'"
    add(engine, definition(), source, None)
    write(shop, 1)
    change(engine, due)
    sweeper.step()
    following = one(engine, "sweep_status").next_run_at
    write(shop, 2)
    change(engine, due)
    sweeper.step()
    assert swept(engine) == [["1"]]

    work_off(
        producer_engine,
        worker_engine,
        latest(producer_engine, 1)[0].job_id,
        RESULTS[Task.MODERATION],
    )
    sweeper.step()
    sweeper.step()

    assert swept(engine) == [["1"], ["2"]]
    with engine.connect() as connection:
        assert following > connection.execute(sa.text("select now()")).scalar_one()


def test_run_without_rows_is_finished(engine: sa.Engine, source: Source, sweeper: Sweeper) -> None:
    """Without it, a quiet night makes an empty job."""
    add(engine, definition(), source, "17")
    make_due(engine, "posts")

    sweeper.step()

    run = one(engine, "sweep_history")
    assert (run.state, run.swept, run.job_id, run.alert) == ("finished", 0, None, None)
    assert one(engine, "sweep_status").watermark == "17"


def test_source_that_fails_is_tried_again_and_then_reported(
    engine: sa.Engine, shop: sa.Engine, source: Source, sweeper: Sweeper
) -> None:
    """Without it, a night is lost unseen."""
    add(engine, definition(), source, None)
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


def test_run_that_is_late_fails(
    engine: sa.Engine, shop: sa.Engine, source: Source, sweeper: Sweeper
) -> None:
    """Without it, last night's sweep still runs at noon."""
    add(engine, definition(deadline=parse_duration("4h")), source, None)
    write(shop, 1)
    make_due(engine, "posts")
    sweeper.step()
    job = one(engine, "job_status")
    change(
        engine,
        "update textmill.sweep_run set state = 'settling',"
        " started_at = started_at - interval '5 hours'",
    )
    sweeper.step()

    run = one(engine, "sweep_history")
    assert job.deadline_at is not None
    assert (run.state, "deadline" in str(run.alert)) == ("failed", True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"query": "select id, body as text from posts"}, "must hold the parameter :watermark"),
        ({"query": f"{QUERY} and shop = :shop"}, "and no other; it holds :shop, :watermark"),
        ({"query": QUERY.replace(" as text", "")}, "has no column 'text'"),
        ({"query": QUERY.replace("select", "select 1 as a, 2 as a,", 1)}, "several columns"),
        ({"watermark_column": "created_at"}, "has no column 'created_at'"),
        ({"query": QUERY.replace("shop", "'{}'::jsonb as s"), "watermark_column": "s"}, "must be"),
        ({"query": QUERY.replace("posts", "nothing")}, 'relation "nothing" does not exist'),
        ({"query": QUERY.replace("shop", "nextval('numbers')")}, "in a read-only transaction"),
        ({"cron": "0 2 * *"}, "has 4 fields"),
        ({"timezone": "Mars"}, "no time zone"),
    ],
)
def test_sweep_that_could_not_run_is_refused(
    engine: sa.Engine, shop: sa.Engine, source: Source, changes: dict[str, object], reason: str
) -> None:
    """Without it, a typing error is found at two in the morning, or the query writes."""
    write(shop, 1)

    with pytest.raises((InputError, SourceError), match=reason):
        add(engine, definition(**changes), source, None)


def test_only_an_operator_adds_sweeps(
    engine: sa.Engine, producer_engine: sa.Engine, source: Source
) -> None:
    """Without it, whoever submits documents has dispatch run queries elsewhere."""
    with pytest.raises(SettingsError, match="permission denied"):
        add(producer_engine, definition(), source, None)

    with engine.connect() as connection:
        connection.exec_driver_sql("set role textmill_operator")
        connection.exec_driver_sql(
            "insert into textmill.sweep (name, cron, timezone, source, query, watermark_column,"
            " watermark, next_run_at) values ('s', '0 2 * * *', 'UTC', 'shop', '', 'id', '', now())"
        )
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.exec_driver_sql("select text from textmill.document")


def test_source_url_stays_out_of_the_database(
    engine: sa.Engine, source: Source, shop_url: str
) -> None:
    """Without it, whoever sees sweeps sees the password of the shop."""
    add(engine, definition(), source, None)

    password = sa.make_url(shop_url).password
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("select * from textmill.sweep").all()
    assert password
    assert password not in str(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_lies_above_where_a_sweep_begins(
    shop: sa.Engine, source: Source, kind: str
) -> None:
    """Without it, the first run of a sweep leaves rows out."""
    value = {"text": "'a'", "uuid": "gen_random_uuid()"}.get(
        kind, "now()" if kind in ("date", "timestamp", "timestamptz") else "-5"
    )
    change(shop, f"create table things as select 1 as id, 'x' as text, {value}::{kind} as mark")
    query = "select * from things where mark > :watermark"

    lowest = source.lowest(query, "mark")
    highest = source.highest(query, "mark", lowest)

    assert highest is not None
    assert len(list(source.rows(query, "mark", lowest, highest))) == 1
    assert source.highest(query, "mark", highest) is None


def test_sweeps_on_the_command_line(
    database: DatabaseUrls, shop: sa.Engine, shop_url: str, sweeper: Sweeper
) -> None:
    """Without it, an operator needs to know our tables."""
    write(shop, 1, 2)
    owner = {
        "TEXTMILL_DATABASE_URL": database.owner,
        "TEXTMILL_SOURCES": json.dumps({"shop": shop_url}),
    }

    def sweep(*arguments: str) -> tuple[int, str]:
        done = invoke(database, "sweep", *arguments, **owner)
        return done.exit_code, done.output

    options = ["--cron", "0 2 * * *", "--timezone", "Asia/Shanghai", "--watermark", "id"]
    options += ["--source", "shop", "--query", QUERY, "--settle", "0s", "--deadline", "4h"]
    added = sweep("add", "posts", *options)
    again = sweep("add", "posts", *options)
    preview = sweep("run", "posts")
    due = sweep("run", "posts", "--now")
    sweeper.step()
    busy = sweep("run", "posts", "--now")
    listed = json.loads(sweep("list", "--json")[1])
    runs = sweep("history", "posts")
    paused = sweep("pause", "posts")
    resting = sweep("run", "posts", "--now")
    resumed = sweep("resume", "posts")
    removed = sweep("remove", "posts")
    unknown = sweep("history", "posts")

    assert (added[0], "02:00 CST" in added[1]) == (0, True)
    assert (again[0], "there is a sweep 'posts'" in again[1]) == (2, True)
    assert preview == (0, "2 rows, up to id 2\n")
    assert due[0] == 0
    assert (busy[0], "under way since" in busy[1]) == (2, True)
    assert (listed["last_state"], listed["watermark"]) == ("running", "2")
    assert (runs[0], "running" in runs[1]) == (0, True)
    assert (paused[0], resumed[0], removed[0]) == (0, 0, 0)
    assert (resting[0], "textmill sweep resume posts" in resting[1]) == (2, True)
    assert (unknown[0], "there is no sweep 'posts'; there are: none" in unknown[1]) == (2, True)


def test_page_shows_what_the_commands_print(
    database: DatabaseUrls,
    engine: sa.Engine,
    source: Source,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, the page shows columns that no command has.

    `pytest --rewrite-docs` writes the outputs anew.
    """
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    add(engine, definition(settle=parse_duration("5m"), deadline=parse_duration("4h")), source, "0")
    change(engine, NIGHTS)

    def printed(command: re.Match[str]) -> str:
        done = invoke(
            database, *shlex.split(command[1]), TEXTMILL_DATABASE_URL=database.owner, COLUMNS="160"
        )
        lines = [line.rstrip() for line in done.output.splitlines()]
        return "\n".join([f"```console\n$ textmill {command[1]}", *lines, "```"])

    page = PAGE.read_text(encoding="utf-8")
    shown = re.sub(r"```console\n\$ textmill (.+)\n(?:.|\n)*?```", printed, page)

    if pytestconfig.getoption("--rewrite-docs"):
        PAGE.write_text(shown, encoding="utf-8")
    assert shown == PAGE.read_text(encoding="utf-8")
    assert "spam 4.2 %, usually 1.4 %" in shown


def test_dispatch_runs_what_is_due(
    engine: sa.Engine, shop: sa.Engine, source: Source, shop_url: str, start: Start
) -> None:
    """Without it, all of this happens in tests alone."""
    add(engine, definition(), source, None)
    write(shop, 1, 2)
    make_due(engine, "posts")

    process = start("producer.cli", "dispatch", TEXTMILL_SOURCES=json.dumps({"shop": shop_url}))
    wait_for(engine, "select 1 from textmill.sweep_status where last_state = 'running'")
    process.terminate()

    assert process.wait(PATIENCE) == 0
    assert swept(engine) == [["1", "2"]]
