"""Notice when the clock of Postgres jumps ahead."""

from datetime import datetime, timedelta
from time import monotonic

import sqlalchemy as sa

JUMP = timedelta(seconds=5)
"""By how much the clock of Postgres may get ahead of one's own between two calls. Clocks that are
corrected slowly, and a busy machine, stay below it."""


class DatabaseClock:
    """The clock of Postgres, compared with this process's own, which nobody sets.

    The own clock stands still while the machine sleeps, so waking from sleep is a jump as well.
    """

    def __init__(self) -> None:
        self._seen: tuple[datetime, float] | None = None

    def jumped(self, connection: sa.Connection) -> bool:
        """Whether the clock of Postgres jumped ahead since the last call; false at the first."""
        own = monotonic()
        told: datetime = connection.execute(sa.text("select clock_timestamp()")).scalar_one()
        seen, self._seen = self._seen, (told, own)
        return seen is not None and told - seen[0] > JUMP + timedelta(seconds=own - seen[1])
