"""`textmill sweep`, and the page that shows it."""

import json
import re
import shlex
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from producer.cli.durations import parse_duration
from producer.sweeps import Sweeper
from producer.sweeps.definitions import add
from schema.settings import SweepSettings
from tests.fixtures.commands import invoke
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import environment
from tests.fixtures.shop import QUERY, change, definition, write
from tests.fixtures.terminal import on_terminal

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
    never_run = sweep("list")
    never = json.loads(sweep("list", "--json")[1])
    preview = sweep("run", "posts")
    due = sweep("run", "posts", "--now")
    sweeper.step()
    busy = sweep("run", "posts", "--now")
    listed = json.loads(sweep("list", "--json")[1])
    runs = sweep("history", "posts")
    first = json.loads(sweep("history", "posts", "--json")[1])
    paused = sweep("pause", "posts")
    resting = sweep("run", "posts", "--now")
    resumed = sweep("resume", "posts")
    removed = sweep("remove", "posts")
    unknown = sweep("history", "posts")

    assert (added[0], "02:00 CST" in added[1]) == (0, True)
    assert (again[0], "there is a sweep 'posts'" in again[1]) == (2, True)
    assert (never_run[0], "posts" in never_run[1], "-9223" in never_run[1]) == (0, True, False)
    assert preview == (0, "2 rows, up to id 2\n")
    assert due[0] == 0
    assert (busy[0], "under way since" in busy[1]) == (2, True)
    assert (listed["last_state"], listed["watermark"]) == ("running", "2")
    assert (runs[0], "running" in runs[1]) == (0, True)
    assert (never["watermark"], first["from_watermark"], first["to_watermark"]) == (None, None, "2")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT18:00:00Z", never["next_run_at"])
    assert (paused[0], resumed[0], removed[0]) == (0, 0, 0)
    assert "textmill sweep add … --from 2" in removed[1]
    assert (resting[0], "textmill sweep resume posts" in resting[1]) == (2, True)
    assert (unknown[0], "there is no sweep 'posts'; there are: none" in unknown[1]) == (2, True)


def test_sweep_that_is_not_paused_keeps_its_next_time_when_it_is_resumed(
    database: DatabaseUrls, engine: sa.Engine, shop_settings: SweepSettings
) -> None:
    """Without it, `resume` of a sweep that is due puts its run off to the next night."""
    add(engine, definition(), shop_settings, None)
    change(engine, "update textmill.sweep set next_run_at = '2026-01-02 03:04:00+00'")

    resumed = invoke(database, "sweep", "resume", "posts", TEXTMILL_DATABASE_URL=database.owner)

    assert resumed.exit_code == 0
    assert "sweep posts runs next at 2026-01-02 03:04 UTC" in resumed.output


def test_sweep_whose_schedule_gives_no_time_can_be_paused(
    database: DatabaseUrls, engine: sa.Engine, shop_settings: SweepSettings
) -> None:
    """Without it, the alert about a schedule that was changed by mistake cannot be silenced."""
    add(engine, definition(), shop_settings, None)
    change(engine, "update textmill.sweep set cron = 'daily'")
    owner = {"TEXTMILL_DATABASE_URL": database.owner}

    paused = invoke(database, "sweep", "pause", "posts", **owner)
    resumed = invoke(database, "sweep", "resume", "posts", **owner)

    assert (paused.exit_code, resumed.exit_code) == (0, 2)
    assert "the cron expression 'daily' has 1 field" in resumed.stderr
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select paused from textmill.sweep_status"))


def test_reader_sees_sweeps_and_their_runs(
    database: DatabaseUrls, engine: sa.Engine, shop_settings: SweepSettings
) -> None:
    """Without it, whoever watches the sweeps needs a login that may change them."""
    add(engine, definition(), shop_settings, None)
    change(engine, NIGHTS)
    reader = {"TEXTMILL_DATABASE_URL": database.reader}

    listed = invoke(database, "sweep", "list", **reader)
    runs = invoke(database, "sweep", "history", "posts", **reader)
    unknown = invoke(database, "sweep", "history", "pots", **reader)

    assert (listed.exit_code, runs.exit_code, unknown.exit_code) == (0, 0, 2)
    assert runs.stdout.count("finished") == 4
    assert "there is no sweep 'pots'; there are: posts" in unknown.stderr


def test_page_shows_what_the_commands_print(
    database: DatabaseUrls,
    engine: sa.Engine,
    shop_settings: SweepSettings,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, the page shows columns that no command has.

    `pytest --rewrite-docs` rewrites the outputs.
    """
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    add(
        engine,
        definition(settle=parse_duration("5m"), deadline=parse_duration("4h")),
        shop_settings,
        "0",
    )
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


def test_sweeps_are_readable_on_a_narrow_terminal(
    database: DatabaseUrls, engine: sa.Engine, shop_settings: SweepSettings
) -> None:
    """Without it, names and times are cut or wrapped at the width that most terminals have."""
    add(engine, definition(), shop_settings, "0")
    change(engine, NIGHTS)
    variables = environment(database.owner, "redis://127.0.0.1:1/0", "textmill") | {"TZ": "UTC"}

    (_, listed), (_, runs) = (
        on_terminal("producer.cli", "sweep", *arguments, environment=variables, columns=80)
        for arguments in (["list"], ["history", "posts"])
    )

    assert re.search(r"^posts +2026-03-06 18:00 +finished .*flagged 4.5 %,", listed, re.MULTILINE)
    first_seen = re.findall(r"^2026-03-0\d 18:00 +(?:finished|failed)", runs, re.MULTILINE)
    assert len(first_seen) == 5
    assert "…" not in listed + runs
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", listed + runs).splitlines())) <= 80
