"""`textmill-worker models`, and the functions of the database behind it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from schema.documents import Task
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import environment
from tests.fixtures.terminal import on_terminal
from tests.fixtures.variants import damage, shipped_version, variant
from worker.cli import main
from worker.pipeline.artifact import SHIPPED
from worker.registry import Promoted, Registry, promote_model

SENTIMENT = Task.SENTIMENT


class Command:
    """Runs `textmill-worker models …` on the test's database, as its owner, and a models folder."""

    def __init__(self, database: DatabaseUrls, models: Path) -> None:
        self._environment = {
            "TEXTMILL_DATABASE_URL": database.owner,
            "TEXTMILL_MODELS_DIR": str(models),
        }

    def __call__(self, *arguments: object) -> Result:
        """Run the command; exceptions that it does not turn into an error message are raised."""
        return CliRunner().invoke(
            main,
            ["models", *map(str, arguments)],
            env=self._environment,
            catch_exceptions=False,
        )

    def rows(self, *arguments: object) -> list[dict[str, Any]]:
        """What a command prints with `--json`."""
        printed = self(*arguments, "--json")
        assert printed.exit_code == 0, printed.output
        return [json.loads(line) for line in printed.stdout.splitlines()]


@pytest.fixture
def command(database: DatabaseUrls, tmp_path: Path) -> Command:
    return Command(database, tmp_path)


@pytest.fixture
def registry(engine: sa.Engine) -> Registry:
    return Registry(engine)


def test_artifact_becomes_a_model_is_promoted_and_taken_back(command: Command) -> None:
    """Without it, a trained artifact cannot reach the workers, or cannot be taken back."""
    (added,) = command.rows("add", SHIPPED / SENTIMENT)
    version = added["model_version"]

    (promoted,) = command.rows("promote", "sentiment", version)
    (listed,) = command.rows("list", "sentiment")
    (back,) = command.rows("rollback", "sentiment")
    (shown,) = command.rows("show", version)

    assert version == shipped_version()
    assert promoted == {"task": "sentiment", "model_version": version}
    assert (listed["model_version"], listed["promoted"], listed["workers"]) == (version, True, 0)
    assert back == {"task": "sentiment", "model_version": None}
    assert (shown["promoted"], shown["training"]) == (False, None)
    assert [row["rollback"] for row in shown["promotions"]] == [False]


def test_lists_are_readable_too(command: Command) -> None:
    """Without it, people would have to read JSON to see which model serves."""
    version = command("add", SHIPPED / SENTIMENT).stdout.strip()
    command("promote", "sentiment", version)

    table, page = command("list").stdout, command("show", version).stdout
    command("promote", "sentiment", "default")
    of_workers = command("list").stdout

    assert version in table
    assert (table.split()[11], of_workers.split()[11]) == ("yes", "default")
    assert f"model_version: {version}" in page
    assert "promotions:\n  - promotion_id: 1\n    rollback: no\n    promoted_by: " in page
    assert [line for line in page.splitlines() if line.rstrip().endswith((":", "-"))] == [
        "promotions:"
    ]
    assert command("promote", "sentiment", "default").stdout == (
        "sentiment is served by the default of each worker\n"
    )


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_list_shows_versions_whole_on_a_narrow_terminal(
    database: DatabaseUrls, registry: Registry, columns: int
) -> None:
    """Without it, no version can be copied from the list for use in another command."""
    registry.add(SENTIMENT, "0123456789abcdef")
    registry.promote(SENTIMENT, "0123456789abcdef")
    variables = environment(database.owner, "redis://127.0.0.1:1/0", "textmill")

    code, shown = on_terminal(
        "worker.cli", "models", "list", environment=variables, columns=columns
    )

    assert code == 0, shown
    header, row = shown.splitlines()
    assert all(name in header for name in ("task", "model_version", "promoted"))
    assert row.split()[:3] == ["sentiment", "0123456789abcdef", "yes"]
    assert ("parent" in header) == (columns == 160)


def test_beginning_of_a_version_names_the_one_model_that_has_it(
    command: Command, registry: Registry
) -> None:
    """Without it, all sixteen characters must be typed, or a prefix may name the wrong model."""
    version = command("add", SHIPPED / SENTIMENT).stdout.strip()
    for other in ("0123456789abcdef", "0123456780000000"):
        registry.add(SENTIMENT, other)

    (shown,) = command.rows("show", version[:8])
    (promoted,) = command.rows("promote", "sentiment", version[:8])
    refused = [command("show", beginning) for beginning in ("0123456", "01234567", "%2345678")]

    assert shown["model_version"] == promoted["model_version"] == version
    assert registry.promoted(SENTIMENT).version == version
    assert [ended.exit_code for ended in refused] == [2, 2, 2]
    assert ["several models" in ended.stderr for ended in refused] == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "sentiment", "0123456789abcdef"], "textmill-worker models list"),
        (["show", "0123456789abcdef"], "textmill-worker models list"),
        (["rollback", "sentiment"], "no model of sentiment was promoted before"),
        (["promote", "poetry", "default"], "is not one of"),
    ],
)
def test_what_cannot_be_done_is_said(command: Command, arguments: list[str], message: str) -> None:
    """Without it, a typing error promotes something, or shows a traceback."""
    printed = command(*arguments)

    assert printed.exit_code == 2
    assert message in printed.stderr


def test_model_that_cannot_be_loaded_is_not_promoted(
    command: Command, registry: Registry, tmp_path: Path
) -> None:
    """Without it, a broken folder is only discovered by the workers."""
    broken, other = variant(tmp_path, 1), variant(tmp_path, 2, Task.MODERATION)
    damage(tmp_path, broken)
    registry.add(SENTIMENT, broken)
    registry.add(Task.MODERATION, other)

    refused = [command("promote", "sentiment", version) for version in (broken, other)]

    assert [printed.exit_code for printed in refused] == [2, 2]
    assert str(tmp_path / broken) in refused[0].stderr
    assert "is a model for moderation" in refused[1].stderr
    assert registry.promoted(SENTIMENT) == Promoted(None, 0)


def test_model_that_is_gone_does_not_come_back(
    command: Command, registry: Registry, tmp_path: Path
) -> None:
    """Without it, a rollback says that the old model serves, and every worker keeps the bad one."""
    gone, serving = variant(tmp_path, 1), variant(tmp_path, 2)
    for version in (gone, serving):
        registry.add(SENTIMENT, version)
        registry.promote(SENTIMENT, version)
    shutil.rmtree(tmp_path / gone)
    before = registry.promoted(SENTIMENT)

    refused = command("rollback", "sentiment")
    after = registry.promoted(SENTIMENT)
    past_it = command("promote", "sentiment", "default")

    assert refused.exit_code == 2
    assert f"does not hold model {gone}" in refused.stderr
    assert after == before
    assert past_it.exit_code == 0


def test_rollback_goes_back_step_by_step_and_history_stays(
    registry: Registry, engine: sa.Engine
) -> None:
    """Without it, two rollbacks alternate between two models, or nobody knows what served when."""
    first, second, third = (f"{number:016x}" for number in (1, 2, 3))
    for version in (first, second, third):
        registry.add(SENTIMENT, version)
    for version in (first, first, second):
        registry.promote(SENTIMENT, version)

    back = [registry.rollback(SENTIMENT)]
    registry.promote(SENTIMENT, third)
    back += [registry.rollback(SENTIMENT) for _ in range(2)]

    assert back == [first, first, None]
    with engine.connect() as connection:
        history = connection.execute(
            sa.text(
                "select model_version, rollback, instead_of from textmill.promotion_history"
                " order by promotion_id"
            )
        ).all()
    assert [tuple(row) for row in history] == [
        (first, False, None),
        (second, False, first),
        (first, True, second),
        (third, False, first),
        (first, True, third),
        (None, True, first),
    ]


def test_promotion_that_was_overtaken_does_nothing(engine: sa.Engine, registry: Registry) -> None:
    """Without it, a training that took hours undoes an operator's decision, or denies its own."""
    for number in (1, 2):
        registry.add(SENTIMENT, f"{number:016x}")
    before = registry.promoted(SENTIMENT)
    registry.promote(SENTIMENT, f"{1:016x}")

    with engine.begin() as connection:
        assert not promote_model(connection, SENTIMENT, f"{2:016x}", instead_of=before)
        # Of two trainings at once with the same seed, the second one makes the same model.
        assert promote_model(connection, SENTIMENT, f"{1:016x}", instead_of=before)

    assert registry.promoted(SENTIMENT).version == f"{1:016x}"


@pytest.mark.parametrize("role", ["textmill_operator", "textmill_trainer"])
def test_operator_and_trainer_may_promote(engine: sa.Engine, registry: Registry, role: str) -> None:
    """Without it, anyone who looks after models has to be the owner."""
    registry.add(SENTIMENT, "0123456789abcdef")

    with engine.begin() as connection:
        connection.exec_driver_sql(f"set local role {role}")
        connection.exec_driver_sql("select textmill.promote_model('sentiment', '0123456789abcdef')")
        connection.exec_driver_sql("select textmill.rollback_model('sentiment')")
        connection.exec_driver_sql("select * from textmill.model_status")
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.exec_driver_sql("select text from textmill.document")


@pytest.mark.parametrize("role", ["textmill_operator", "textmill_trainer"])
@pytest.mark.parametrize(
    "statement",
    [
        "insert into textmill.model_promotion (task, promoted_by) values ('sentiment', 'kim')",
        "insert into textmill.model_promotion (task) values ('sentiment')",
        "insert into textmill.model_version (model_version, task, added_by)"  # noqa: ISC004
        " values ('0123456789abcdef', 'sentiment', 'kim')",
        "insert into textmill.training_run (started_by) values ('kim')",
    ],
)
def test_nobody_promotes_or_trains_in_the_name_of_another(
    engine: sa.Engine, role: str, statement: str
) -> None:
    """Without it, anyone can enter somebody else's name into the history of promotions."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"set local role {role}")
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.exec_driver_sql(statement)


def test_model_is_not_promoted_for_another_task(engine: sa.Engine, registry: Registry) -> None:
    """Without it, a model of another task serves, or every worker refuses the promoted model."""
    registry.add(SENTIMENT, "0123456789abcdef")
    promotion = (
        "insert into textmill.model_promotion (task, model_version)"
        " values ('moderation', '0123456789abcdef')"
    )

    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.exec_driver_sql(promotion)
