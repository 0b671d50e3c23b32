"""Learn of submitted and finished chunks before the next poll."""

import threading
import time
from typing import TYPE_CHECKING, Self, cast

import sqlalchemy as sa

from schema.database import reachable
from schema.messages import PENDING_CHANNEL

if TYPE_CHECKING:
    import psycopg


class NotificationListener:
    """Listens for notifications on a separate connection, so that none is missed between waits.

    Through a transaction pooler no notification arrives; then every wait lasts its full time.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()

    def wait(self, seconds: float, stop: threading.Event) -> None:
        """Return when a notification arrives, `seconds` have passed or `stop` is set.

        Raises:
            ServiceUnavailableError: Postgres does not answer; the next wait connects again.
        """
        deadline = time.monotonic() + seconds
        try:
            with reachable(self._engine):
                driver = self._listening()
                # `stop` is checked every 0.2 s, so that SIGTERM is not kept waiting.
                while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
                    if any(True for _ in driver.notifies(timeout=min(left, 0.2), stop_after=1)):
                        return
        except BaseException:
            self._disconnect()
            raise

    def _listening(self) -> "psycopg.Connection":
        if self._connection is None:
            connection = self._engine.connect()
            self._connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            self._connection.exec_driver_sql(f"listen {PENDING_CHANNEL}")
        return cast("psycopg.Connection", self._connection.connection.driver_connection)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
