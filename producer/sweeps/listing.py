"""Sweeps and their runs, as an operator looks at them."""

from collections.abc import Sequence

import sqlalchemy as sa

from producer.sweeps.definitions import find
from schema.database import reachable


def listed(engine: sa.Engine) -> Sequence[sa.RowMapping]:
    """Every sweep by its name, as `textmill.sweep_status` has it; `note` is its alert or error."""
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select *, coalesce(alert, error) as note from textmill.sweep_status order by name"
            )
        )
        return rows.mappings().all()


def history(engine: sa.Engine, name: str, limit: int) -> Sequence[sa.RowMapping]:
    """The latest runs of a sweep, newest first, as `textmill.sweep_history` has them.

    `note` is the alert or error of a run.

    Raises:
        UsageError: there is no sweep of this name.
    """
    find(engine, name)
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select *, coalesce(alert, error) as note from textmill.sweep_history"
                " where name = :name order by run_id desc limit :limit"
            ),
            {"name": name, "limit": limit},
        )
        return rows.mappings().all()
