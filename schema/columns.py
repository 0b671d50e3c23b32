"""What the tables are made of."""

from collections.abc import Iterable
from enum import StrEnum

import sqlalchemy as sa

metadata = sa.MetaData(schema="textmill")


def one_of(column: str, values: Iterable[StrEnum]) -> str:
    """The check that a column holds one of these values, such as those of an enumeration."""
    return f"{column} in ({listed(values)})"


def listed(values: Iterable[StrEnum]) -> str:
    """Values as SQL lists them between parentheses."""
    return ", ".join(f"'{value}'" for value in values)


def now(name: str) -> sa.Column[object]:
    """A time, by default that of the transaction."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
