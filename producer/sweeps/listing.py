"""Sweeps and their runs, as an operator sees them."""

import sqlalchemy as sa

from producer.sweeps.definitions import check_exists
from producer.sweeps.watermarks import is_lowest
from schema.database import reachable


def all_sweeps(engine: sa.Engine) -> list[dict[str, object]]:
    """Every sweep in order of its name, from `textmill.sweep_status`; `note` is its alert or error.

    `watermark` is None if the sweep has seen no row.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select *, coalesce(alert, error) as note from textmill.sweep_status order by name"
            )
        )
        return [_row(dict(row), "watermark") for row in rows.mappings()]


def history(engine: sa.Engine, name: str, limit: int) -> list[dict[str, object]]:
    """The latest runs of a sweep, newest first, from `textmill.sweep_history`.

    `note` is the alert or error of a run; `from_watermark` is None if it began with the first row.

    Raises:
        UsageError: there is no sweep of this name.
        ServiceUnavailableError: Postgres does not answer.
    """
    check_exists(engine, name)
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
    """The row, with None in place of a position below every value of its column."""
    return row | {reached: None if is_lowest(str(row[reached])) else row[reached]}
