"""The thread that follows promotions: it asks what is promoted and reports what is served."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from schema.database import reachable, unblocked
from schema.database_errors import condition
from schema.documents import Task
from worker.models import Models
from worker.periodic import every
from worker.registry import add_model

logger = logging.getLogger(__name__)


@contextmanager
def following_promotions(
    database: sa.Engine, models: Models, *, worker: str, interval: float
) -> Iterator[None]:
    """Within this context, serve what is promoted; the default models are registered first.

    It has its own thread, since loading a model takes longer than leases should wait for.

    Args:
        database: connects as a role that may write the worker's row, which must be there.
        models: the models that are swapped.
        worker: name of the process.
        interval: seconds between two checks.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
        SettingsError: the role that logs in lacks a right.
    """

    def follow_if_reachable() -> None:
        try:
            _follow(database, models, worker)
        except sa.exc.DBAPIError as error:
            logger.warning("cannot look up promotions: %s", condition(error))

    with reachable(database):
        with database.begin() as connection:
            for task, version in models.serving.items():
                add_model(connection, task, version)
        _follow(database, models, worker)
    with every(interval, follow_if_reachable, "promotions"):
        yield


def _follow(database: sa.Engine, models: Models, worker: str) -> None:
    """Check once what is promoted, serve it and report what is served.

    Raises:
        DBAPIError: Postgres does not answer, or refuses the statement.
    """
    try:
        with database.connect() as connection:
            rows = connection.execute(
                sa.text("select task, model_version from textmill.promoted_model")
            ).all()
        models.follow({Task(row.task): row.model_version for row in rows})
        with unblocked(database) as connection:
            connection.execute(
                sa.text(
                    "update textmill.worker set models = cast(:models as jsonb),"
                    " model_error = :error where worker = :worker and"
                    " (models, model_error) is distinct from (cast(:models as jsonb), :error)"
                ),
                {"worker": worker, "models": json.dumps(models.serving), "error": models.error},
            )
    except sa.exc.DBAPIError:
        raise
    except Exception:
        # The models that serve stay, and the next check may succeed.
        logger.exception("cannot follow promotions")
