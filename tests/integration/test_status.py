"""`textmill status`: what it lists, and how it watches."""

import json
import sys
from collections.abc import Callable
from functools import partial
from uuid import UUID

import pytest
import sqlalchemy as sa

from producer import Textmill, control
from producer.cli.show import tell_if_nothing_runs
from schema.documents import JobId
from schema.outcomes import Failure, Result
from tests.fixtures.chunks import add_job
from tests.fixtures.commands import GOOD, invoke
from tests.fixtures.outcomes import FAILURE, POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls

Meanwhile = Callable[[Callable[[], object]], None]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Has something done while `--watch` waits for the first time."""

    def do(something: Callable[[], object]) -> None:
        left = [something]

        def wait(_: float) -> None:
            if left:
                left.pop()()

        monkeypatch.setattr("producer.cli.jobs.time.sleep", wait)

    return do


def test_status_lists_only_what_is_asked_for(database: DatabaseUrls) -> None:
    """Without it, an operator needs SQL to see which jobs still run."""
    first, second, third = (
        invoke(database, "submit", task, "-", stdin=GOOD).stdout.strip()
        for task in ("sentiment", "keywords", "sentiment")
    )
    invoke(database, "pause", third)

    def listed(*options: object) -> list[str]:
        ended = invoke(database, "status", "--json", *options)
        return [json.loads(line)["job_id"] for line in ended.stdout.splitlines()]

    assert listed("--task", "sentiment") == [third, first]
    assert listed("--state", "pending") == [second, first]
    assert listed("--task", "sentiment", "--state", "pending") == [first]
    assert listed("--limit", 2) == [third, second]
    invoke(database, "submit", "sentiment", "-", "--name", "night", stdin=GOOD)
    assert len(listed("--name", "night")) == 1
    for option in (("--state", "running"), ("--limit", 1)):
        refused = invoke(database, "status", first, *option)
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "leave --task, --state, --name and --limit out" in refused.stderr


def test_status_says_where_a_job_waits_and_no_worker_lives(
    database: DatabaseUrls, request: pytest.FixtureRequest
) -> None:
    """Without it, a job whose workers have stopped stays `running`, and nobody knows why."""
    invoke(database, "submit", "sentiment", "-", stdin=GOOD)

    alone = invoke(database, "status", TEXTMILL_DATABASE_URL=database.reader)
    as_json = invoke(database, "status", "--json")
    request.getfixturevalue("live_worker")
    served = invoke(database, "status", TEXTMILL_DATABASE_URL=database.reader)

    told = "no worker process is alive; start some with: textmill-worker run\n"
    assert alone.stderr == told
    assert (as_json.stderr, served.stderr) == ("", "")


def test_note_about_workers_names_a_command_that_can_start_them(
    database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it, a stack without workers advises a command that looks for no stack."""
    with Textmill(database.producer) as textmill:
        seen = textmill.status(textmill.submit("sentiment", [{"text": "good"}]).job_id)

        tell_if_nothing_runs(textmill, [seen])
        monkeypatch.setenv("TEXTMILL_DATABASE_URL", database.producer)
        tell_if_nothing_runs(textmill, [seen])

    embedded, own = capsys.readouterr().err.splitlines()
    assert embedded == "no worker process is alive; start some with: textmill up"
    assert own == "no worker process is alive; start some with: textmill-worker run"


def test_watching_a_job_tells_how_it_ended(
    database: DatabaseUrls,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    meanwhile: Meanwhile,
) -> None:
    """Without it, a script that waits for a job takes every end for a success."""

    def end(job_id: JobId, outcome: Result | Failure | None) -> None:
        if outcome is None:
            control.cancel(producer_engine, job_id)
        else:
            work_off(producer_engine, worker_engine, job_id, outcome)

    codes = []
    for outcome in (POSITIVE, FAILURE, None):
        job_id = add_job(producer_engine, 1)
        meanwhile(partial(end, job_id, outcome))

        ended = invoke(database, "status", job_id, "--watch")

        codes.append(ended.exit_code)
        assert str(job_id) in ended.stdout
        assert ended.stdout.endswith("\n")

    assert codes == [0, 1, 1]


def test_watch_follows_the_jobs_that_it_began_with(
    database: DatabaseUrls, producer_engine: sa.Engine, meanwhile: Meanwhile
) -> None:
    """Without it, jobs are lost from sight as soon as they leave the state that was asked for."""
    paused = add_job(producer_engine, 1)
    control.pause(producer_engine, paused)
    meanwhile(lambda: control.cancel(producer_engine, paused))

    ended = invoke(database, "status", "--state", "paused", "--watch", "--json")

    first, *_, last = map(json.loads, ended.stdout.splitlines())
    assert (first["state"], last["state"]) == ("paused", "cancelled")
    assert {first["job_id"], last["job_id"]} == {str(paused)}


def test_watch_tells_a_log_what_is_done(
    database: DatabaseUrls,
    producer_engine: sa.Engine,
    meanwhile: Meanwhile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it, a nightly script that waits for hours looks as if it hangs."""
    job_id = add_job(producer_engine, 1)
    meanwhile(lambda: control.cancel(producer_engine, job_id))
    monkeypatch.setattr(sys.modules["producer.cli.jobs"], "TELL_EVERY", 0)

    ended = invoke(database, "status", job_id, "--watch")

    assert f"{job_id} pending, 0 of 1 documents done, 0 a second" in ended.stderr


def test_status_shows_what_a_job_was_submitted_with(database: DatabaseUrls) -> None:
    """Without it, nobody can tell why one job is served before another, or what its key was."""
    options = ("--weight", 7, "--idempotency-key", "night-1", "--explain")
    job_id = invoke(database, "submit", "sentiment", "-", *options, stdin=GOOD).stdout.strip()

    shown = invoke(database, "status", job_id)
    answer = json.loads(invoke(database, "status", job_id, "--json").stdout)

    lines = dict(line.split(":", 1) for line in shown.stdout.splitlines())
    assert (lines["weight"].strip(), lines["idempotency_key"].strip()) == ("7", "night-1")
    assert (answer["weight"], answer["idempotency_key"]) == (7, "night-1")
    assert (answer["explain"], answer["generate"], answer["model_version"]) == (True, False, None)
    assert JobId(UUID(answer["job_id"])) == JobId(UUID(job_id))
