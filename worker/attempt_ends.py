"""Ends the attempts of processes that died, so that nobody waits for their leases to run out."""

import logging
import time

import sqlalchemy as sa

from schema.database import unblocked
from schema.database_errors import BLOCKED, condition, has_state, may_pass
from schema.states import AttemptEnd

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 3
"""Seconds to wait for a connection: meanwhile the supervisor tends no process."""

PAUSE = 2.0
"""Seconds between tries while Postgres is away."""


class AttemptEnds:
    """Ends attempts at once, or as soon as Postgres is back.

    While Postgres is away, one call in `PAUSE` seconds tries it, and waits `CONNECT_TIMEOUT` at
    most, however many processes died.

    Args:
        database: its connections should wait `CONNECT_TIMEOUT`; none is kept between calls, since
            one that was lost in silence would be waited for much longer.
    """

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._away = False
        self._late: list[tuple[str, AttemptEnd]] = []
        self._due = 0.0

    def end(self, worker: str, how: AttemptEnd) -> int:
        """End the attempts of a process that died.

        Args:
            worker: the name of the process.
            how: `crashed`, or `released` if we ended it: that is no chunk's fault.

        Returns:
            The number of attempts that were ended. 0 also if that failed: while Postgres is away
            or others hold the chunks, `end_late` tries again; if Postgres refuses, the leases run
            out.
        """
        if self._away:
            self._late.append((worker, how))
            return 0
        try:
            with unblocked(self._database, lock_timeout="1s") as connection:
                ended = connection.scalar(
                    sa.text("select textmill.end_attempts(:worker, :how)"),
                    {"worker": worker, "how": how},
                )
        except sa.exc.DBAPIError as error:
            if may_pass(error):
                self._away = not has_state(error, *BLOCKED)  # others' chunks may be free
                logger.warning("%s's chunks wait for Postgres: %s", worker, condition(error))
                self._late.append((worker, how))
            else:
                message = "%s's chunks wait for their leases to run out: %s"
                logger.error(message, worker, condition(error))  # noqa: TRY400  # made for people
            return 0
        finally:
            self._database.dispose()
        return int(ended or 0)

    def end_late(self, *, at_once: bool = False) -> None:
        """Once Postgres is back, end the attempts of processes that died meanwhile.

        Args:
            at_once: whether to try it even within `PAUSE` of the last time.
        """
        if not self._late or (time.monotonic() < self._due and not at_once):
            return
        self._away = False
        waiting, self._late = self._late, []
        for worker, how in waiting:
            self.end(worker, how)
        self._due = time.monotonic() + PAUSE
