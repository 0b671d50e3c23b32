"""What the tables are made of."""

import sqlalchemy as sa

from schema.documents import Lane, Task
from schema.outcomes import Stage
from schema.states import ChunkState, JobState

metadata = sa.MetaData(schema="textmill")


def one_of(column: str, values: type[Task | Lane | Stage | JobState | ChunkState]) -> str:
    """The check that a column holds a value of an enumeration."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} in ({listed})"


def now(name: str) -> sa.Column[object]:
    """A time, by default that of the transaction."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())
