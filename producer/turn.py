"""The dispatchers' turn: a row lock that lets one transaction at a time run."""

import logging
import time

import sqlalchemy as sa

logger = logging.getLogger(__name__)

PATIENCE = 30
"""Seconds without a turn after which a dispatcher logs a warning."""


class Turn:
    """One dispatcher's way to take the turn."""

    def __init__(self) -> None:
        self._waits_since: float | None = None
        self._has_warned = False

    def take(self, connection: sa.Connection, *, durable: bool) -> bool:
        """Try to take the turn until the transaction ends; return whether it was free.

        Postgres ends a transaction that freezes while it has the turn.

        Args:
            connection: of a transaction that has just begun.
            durable: whether what it writes must survive a crash of Postgres.
        """
        taken, *_ = connection.execute(
            sa.text(
                "select textmill.dispatch_turn(),"
                " set_config('lock_timeout', '1s', true),"
                " set_config('synchronous_commit',"
                " case when :durable then current_setting('synchronous_commit') else 'off' end,"
                " true)"
            ),
            {"durable": durable},
        ).one()
        self._note(taken=taken)
        return bool(taken)

    def _note(self, *, taken: bool) -> None:
        """Warn once about a long wait, which begins with the first step that had no turn."""
        if taken:
            self._waits_since, self._has_warned = None, False
            return
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        if not self._has_warned and time.monotonic() - self._waits_since >= PATIENCE:
            self._has_warned = True
            logger.warning(
                "dispatch has had no turn for %d s, and publishes nothing: a session holds it;"
                " select pid from pg_locks where relation = 'textmill.turn'::regclass names it,"
                " and pg_terminate_backend ends it",
                PATIENCE,
            )
