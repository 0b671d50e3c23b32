"""The models that Postgres knows, and which of them serve."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from schema.database import reachable
from schema.documents import Task
from schema.errors import InputError
from schema.versions import whole_version


@dataclass(frozen=True, slots=True)
class Promoted:
    """What serves a task.

    Attributes:
        version: the model; None: each worker's default.
        number: of the promotion; 0 before the first one.
    """

    version: str | None
    number: int


class Registry:
    """Models, promotions and trainings as rows; what a role may not do is a `SettingsError`."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def promoted(self, task: Task) -> Promoted:
        """What serves a task."""
        query = (
            "select model_version, coalesce(promotion_id, 0) as number"
            " from textmill.promoted_model where task = :task"
        )
        with self._begin() as connection:
            row = connection.execute(sa.text(query), {"task": task}).one()
        return Promoted(row.model_version, row.number)

    def add(self, task: Task, version: str) -> None:
        """Make a model known that no training here made; one that is known stays as it is."""
        with self._begin() as connection:
            add_model(connection, task, version)

    def promote(self, task: Task, version: str | None) -> None:
        """Have a model serve a task, see `promote_model`.

        Raises:
            InputError: there is no such model of the task.
        """
        with self._begin() as connection:
            promote_model(connection, task, version)

    def rollback(self, task: Task) -> str | None:
        """Have the model serve again that did before the present one, and return it.

        Raises:
            InputError: nothing was promoted before.
        """
        with self._begin() as connection:
            version: str | None = connection.scalar(
                sa.text("select textmill.rollback_model(:task)"), {"task": task}
            )
        return version

    def models(self, task: Task | None = None) -> list[dict[str, object]]:
        """The models of a task, or of all, newest first: the rows of `textmill.model_status`."""
        return self._rows(
            "select * from textmill.model_status where coalesce(task = :task, true)"
            " order by task, added_at desc",
            task=task,
        )

    def model(self, version: str) -> dict[str, object]:
        """One model with the training that made it, and its promotions.

        Args:
            version: its version, or as much of its beginning as only one model has.

        Raises:
            InputError: there is none, or there are several.
        """
        with self._begin() as connection:
            version = whole_version(connection, version)
        found = self._rows(
            "select * from textmill.model_status where model_version = :version", version=version
        )
        training = self._rows(
            "select * from textmill.training_status where run_id = :run", run=found[0]["run_id"]
        )
        promotions = self._rows(
            "select promotion_id, rollback, instead_of, promoted_by, promoted_at"
            " from textmill.promotion_history where model_version = :version order by 1",
            version=version,
        )
        return found[0] | {"training": training[0] if training else None, "promotions": promotions}

    def _rows(self, query: str, **values: object) -> list[dict[str, object]]:
        with self._begin() as connection:
            return [row._asdict() for row in connection.execute(sa.text(query), values)]

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with refused_by_database(), reachable(self._engine), self._engine.begin() as connection:
            yield connection


def add_model(connection: sa.Connection, task: Task, version: str) -> None:
    """Make a model known without a parent; one that is known stays as it is.

    Args:
        connection: of a role that may; a worker may not say more of a model.
        task: what it analyses.
        version: of an artifact that workers find.
    """
    connection.execute(
        sa.text(
            "insert into textmill.model_version (model_version, task)"
            " values (:version, :task) on conflict do nothing"
        ),
        {"version": version, "task": task},
    )


def promote_model(
    connection: sa.Connection,
    task: Task,
    version: str | None,
    *,
    instead_of: Promoted | None = None,
) -> bool:
    """Have a model serve a task.

    Args:
        connection: of a role that may promote.
        task: the task.
        version: the model; None: each worker's default.
        instead_of: what must serve until now; None: anything.

    Returns:
        False when something else was promoted since `instead_of`.

    Raises:
        sa.exc.DataError: there is no such model of the task; see `refused_by_database`.
    """
    number = None if instead_of is None else instead_of.number
    made = connection.scalar(
        sa.text("select textmill.promote_model(:task, :version, :number)"),
        {"task": task, "version": version, "number": number},
    )
    return made is not None


@contextmanager
def refused_by_database() -> Iterator[None]:
    """Turn what a function of the database refuses into an error for people.

    Raises:
        InputError: with the function's own words.
    """
    try:
        yield
    except sa.exc.DataError as error:
        diagnosis = getattr(error.orig, "diag", None)
        msg = f"{diagnosis and diagnosis.message_primary}; {diagnosis and diagnosis.message_hint}"
        raise InputError(msg) from error
