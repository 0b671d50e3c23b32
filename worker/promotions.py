"""The thread that follows promotions: it asks what is promoted and reports what is served."""

import json
import logging
import threading
from typing import Self

import sqlalchemy as sa

from schema.database import reachable, unblocked
from schema.documents import Task
from worker.models import Models
from worker.registry import add_model

logger = logging.getLogger(__name__)


class Promotions:
    """Makes a process serve what is promoted, from its start on.

    It runs in its own thread, since loading a model takes longer than leases should wait for.

    Args:
        database: connects as a role that may write the worker's row, which must be there.
        models: the models that are swapped.
        worker: name of the process.
        interval: seconds between two checks.
    """

    def __init__(
        self, database: sa.Engine, models: Models, *, worker: str, interval: float
    ) -> None:
        self._database = database
        self._models = models
        self._worker = worker
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="promotions", daemon=True)

    def __enter__(self) -> Self:
        """Register the default models of the process, and serve what is promoted.

        Raises:
            ServiceUnavailableError: Postgres does not answer.
            SettingsError: the role that logs in lacks a right.
        """
        with reachable(self._database):
            with self._database.begin() as connection:
                for task, version in self._models.serving.items():
                    add_model(connection, task, version)
            self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def follow(self) -> None:
        """Check once what is promoted, serve it and report what is served.

        Raises:
            DBAPIError: Postgres does not answer, or refuses the statement.
        """
        with self._database.connect() as connection:
            rows = connection.execute(
                sa.text("select task, model_version from textmill.promoted_model")
            ).all()
        self._models.follow({Task(row.task): row.model_version for row in rows})
        with unblocked(self._database) as connection:
            connection.execute(
                sa.text(
                    "update textmill.worker set models = cast(:models as jsonb),"
                    " model_error = :error where worker = :worker and"
                    " (models, model_error) is distinct from (cast(:models as jsonb), :error)"
                ),
                {
                    "worker": self._worker,
                    "models": json.dumps(self._models.serving),
                    "error": self._models.error,
                },
            )

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._look()
            except sa.exc.DBAPIError as error:
                logger.warning("cannot look up promotions: %s", error.orig)

    def _look(self) -> None:
        try:
            self.follow()
        except sa.exc.DBAPIError:
            raise
        except Exception:
            # The models that serve stay, and the next check may succeed.
            logger.exception("cannot follow promotions")
