"""Building blocks of the table definitions."""

from collections.abc import Iterable
from enum import StrEnum

import sqlalchemy as sa

metadata = sa.MetaData(schema="textmill")


def one_of(column: str, values: Iterable[StrEnum]) -> str:
    """SQL condition that `column` holds one of `values`."""
    return f"{column} in ({listed(values)})"


def listed(values: Iterable[StrEnum]) -> str:
    """`values` as SQL string literals, separated by commas."""
    return ", ".join(f"'{value}'" for value in values)


def now(name: str) -> sa.Column[object]:
    """A timestamp column; its default is the start time of the transaction."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
