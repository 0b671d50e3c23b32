"""Generated keywords, from the option of a job to its rows."""

import json
from pathlib import Path

import sqlalchemy as sa

from tests.fixtures.phrases import POSTS
from tests.fixtures.processes import Run, Start
from tests.fixtures.waiting import until


def begin(start: Start, engine: sa.Engine, artifacts: Path) -> None:
    """Start dispatch and one worker process for keywords, and wait until it is ready."""
    start("producer.cli", "dispatch")
    start(
        *("worker.cli", "run", "--devices", "cpu", "--processes", "1", "--tasks", "keywords"),
        TEXTMILL_ARTIFACTS=str(artifacts),
    )

    def is_up() -> bool:
        with engine.connect() as connection:
            return bool(connection.scalar(sa.text("select count(*) from textmill.worker")))

    until(is_up)


def submitted(textmill: Run, *options: str) -> dict[str, object]:
    lines = "".join(json.dumps({"text": text}) + "\n" for text, _ in [*POSTS, ("\u200b ", [])])
    done = textmill("submit", "keywords", "-", "--wait", "--json", *options, stdin=lines)
    assert done.returncode in {0, 1}, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_a_job_gets_generated_keywords_where_it_asks(
    start: Start, textmill: Run, producer_engine: sa.Engine, generating: Path
) -> None:
    """Without it, the option is lost somewhere between the command and the rows."""
    begin(start, producer_engine, generating)

    plain = submitted(textmill)
    asked = submitted(textmill, "--generate")

    results = textmill("results", str(asked["job_id"]))
    rows = [json.loads(line)["result"] for line in results.stdout.splitlines()]
    made = [[k for k in row["keywords"] if k.get("generated")] for row in rows if row]
    assert (asked["succeeded"], asked["failed"]) == (2, 1)
    assert [keywords[0]["text"] for keywords in made] == ["botany", "physics"]
    assert made[0][0].keys() == {"text", "score", "generated"}
    with producer_engine.connect() as connection:
        seen = connection.execute(
            sa.text("""
                select job_id::text, keyword, spans is null from textmill.keyword_result
                where generated and rank = (
                    select min(rank) from textmill.keyword_result k
                    where k.generated and k.job_id = keyword_result.job_id
                        and k.seq = keyword_result.seq)
                order by job_id, seq
            """)
        ).all()
    assert plain["job_id"] != asked["job_id"]
    assert [tuple(row) for row in seen] == [
        (asked["job_id"], "botany", True),
        (asked["job_id"], "physics", True),
    ]


def test_a_model_without_a_generator_says_so(
    start: Start, textmill: Run, producer_engine: sa.Engine, artifacts: Path
) -> None:
    """Without it, a job would look as if no keyword were worth generating."""
    begin(start, producer_engine, artifacts)

    asked = submitted(textmill, "--generate")

    results = textmill("results", str(asked["job_id"]))
    errors = [json.loads(line)["error"] for line in results.stdout.splitlines()]
    assert asked["failed"] == 3
    assert {error["code"] for error in errors} == {"no_generator"}
    assert {error["stage"] for error in errors} == {"predict"}
    assert "textmill-worker extend" in errors[0]["message"]
