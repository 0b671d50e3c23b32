"""Which worker processes came up."""

from datetime import datetime

import sqlalchemy as sa

from schema.base import Frozen
from schema.database import reachable


class Worker(Frozen):
    """A worker process, as its heartbeat row tells."""

    worker: str
    pid: int
    device: str
    started_at: datetime


def registered(engine: sa.Engine, since: datetime) -> list[Worker]:
    """The processes that came up from `since` on, in the order of their start.

    One that ended without a word may still be among them.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select worker, pid, device, started_at from textmill.worker"
                " where started_at >= :since order by started_at"
            ),
            {"since": since},
        )
        return [Worker.model_validate(row._asdict()) for row in rows]
