"""The models that Postgres knows, and which of them serve."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa

from schema.database import reachable
from schema.database_errors import refusal_of
from schema.documents import Task
from schema.errors import InputError
from schema.versions import whole_version


@dataclass(frozen=True, slots=True)
class Promoted:
    """What serves a task and by which promotion.

    Attributes:
        version: the model version; None for each worker's default.
        number: number of the promotion; 0 before the first one.
    """

    version: str | None
    number: int


class Registry:
    """Models, promotions and training runs as rows; a missing right is a `SettingsError`."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database

    def promoted(self, task: Task) -> Promoted:
        """What serves a task."""
        query = (
            "select model_version, coalesce(promotion_id, 0) as number"
            " from textmill.promoted_model where task = :task"
        )
        with self._begin() as connection:
            row = connection.execute(sa.text(query), {"task": task}).one()
        return Promoted(row.model_version, row.number)

    def served(self, task: Task) -> list[str]:
        """The models with which living worker processes serve a task, whatever is promoted."""
        query = (
            "select model_version from textmill.model_status where task = :task and workers > 0"
            " order by model_version"
        )
        return [str(row["model_version"]) for row in self._rows(query, task=task)]

    def add(self, task: Task, version: str) -> None:
        """Register a model that no training run here made; one that is known stays as it is."""
        with self._begin() as connection:
            add_model(connection, task, version)

    def promote(self, task: Task, version: str | None) -> None:
        """Make a model serve a task; see `promote_model`.

        Raises:
            InputError: the task has no such model.
        """
        with self._begin() as connection:
            promote_model(connection, task, version)

    def rollback(self, task: Task) -> str | None:
        """Make the previously promoted model serve again, and return its version.

        Raises:
            InputError: nothing was promoted before.
        """
        with self._begin() as connection:
            return _roll_back(connection, task)

    def previous(self, task: Task) -> str | None:
        """The version that `rollback` would return; nothing changes.

        Raises:
            InputError: nothing was promoted before.
        """
        with self._begin() as connection, connection.begin_nested() as tried:
            version = _roll_back(connection, task)
            tried.rollback()
        return version

    def models(self, task: Task | None = None) -> list[dict[str, object]]:
        """The models of one task or of all, newest first: rows of `textmill.model_status`."""
        return self._rows(
            "select * from textmill.model_status where coalesce(task = :task, true)"
            " order by task, added_at desc",
            task=task,
        )

    def model(self, version: str) -> dict[str, object]:
        """One model, with its promotions and the training run that made it.

        Args:
            version: its version, or a prefix that only one model has.

        Raises:
            InputError: no model matches, or several do.
        """
        with self._begin() as connection:
            version = whole_version(connection, version)
        (model,) = self._rows(
            "select * from textmill.model_status where model_version = :version", version=version
        )
        training = self._rows(
            "select * from textmill.training_status where run_id = :run", run=model["run_id"]
        )
        promotions = self._rows(
            "select promotion_id, rollback, instead_of, promoted_by, promoted_at"
            " from textmill.promotion_history where model_version = :version order by 1",
            version=version,
        )
        return model | {"training": training[0] if training else None, "promotions": promotions}

    def _rows(self, query: str, **values: object) -> list[dict[str, object]]:
        with self._begin() as connection:
            return [row._asdict() for row in connection.execute(sa.text(query), values)]

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        with refused_by_database(), reachable(self._database), self._database.begin() as connection:
            yield connection


def add_model(connection: sa.Connection, task: Task, version: str) -> None:
    """Register a model without a parent; one that is known stays as it is.

    Args:
        connection: of a role that may add models; a worker may set nothing else about a model.
        task: the task it serves.
        version: version of an artifact that workers can find.
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
    """Make a model serve a task.

    Args:
        connection: of a role that may promote.
        task: the task.
        version: the model version; None for each worker's default.
        instead_of: promote only if this still serves; None to promote in any case.

    Returns:
        False if another model was promoted since `instead_of`.

    Raises:
        sa.exc.DataError: the task has no such model; see `refused_by_database`.
    """
    number = None if instead_of is None else instead_of.number
    promotion_id = connection.scalar(
        sa.text("select textmill.promote_model(:task, :version, :number)"),
        {"task": task, "version": version, "number": number},
    )
    return promotion_id is not None


def _roll_back(connection: sa.Connection, task: Task) -> str | None:
    version: str | None = connection.scalar(
        sa.text("select textmill.rollback_model(:task)"), {"task": task}
    )
    return version


@contextmanager
def refused_by_database() -> Iterator[None]:
    """Turn a refusal by a database function into an error for people.

    Raises:
        InputError: with the function's own message.
    """
    try:
        yield
    except sa.exc.DataError as error:
        raise InputError(refusal_of(error)) from error
