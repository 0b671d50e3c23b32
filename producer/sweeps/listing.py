"""Sweeps and their runs, as an operator looks at them."""

import sqlalchemy as sa

from producer.sweeps.definitions import find
from producer.sweeps.source import is_lowest
from schema.database import reachable


def listed(engine: sa.Engine) -> list[dict[str, object]]:
    """Every sweep by its name, as `textmill.sweep_status` has it; `note` is its alert or error.

    `watermark` is None where the sweep has seen no row.
    """
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select *, coalesce(alert, error) as note from textmill.sweep_status order by name"
            )
        )
        return [_row(dict(row), "watermark") for row in rows.mappings()]


def history(engine: sa.Engine, name: str, limit: int) -> list[dict[str, object]]:
    """The latest runs of a sweep, newest first, as `textmill.sweep_history` has them.

    `note` is the alert or error of a run; `from_watermark` is None where it began with every row.

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
        return [_row(dict(row), "from_watermark") for row in rows.mappings()]


def _row(row: dict[str, object], reached: str) -> dict[str, object]:
    """The row, without a position that is below every value of its column."""
    return row | {reached: None if is_lowest(str(row[reached])) else row[reached]}
