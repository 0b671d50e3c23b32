"""Which worker processes started, and whether any is alive."""

from datetime import datetime

import sqlalchemy as sa

from schema.base import Frozen
from schema.database import reachable


class Worker(Frozen):
    """A worker process, according to its heartbeat row."""

    worker: str
    pid: int
    device: str
    started_at: datetime


def registered(engine: sa.Engine, since: datetime) -> list[Worker]:
    """The processes that started at or after `since`, in the order of their start.

    A process that died may still be among them.

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


def moment(engine: sa.Engine) -> datetime:
    """The time by the clock of Postgres, which also sets `started_at`.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        found: datetime = connection.execute(sa.text("select now()")).scalar_one()
        return found


def any_alive(engine: sa.Engine) -> bool:
    """Whether any worker process is alive according to `textmill.is_alive`; any login may ask.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        return bool(
            connection.scalar(
                sa.text(
                    "select exists (select from textmill.worker_status"
                    " where textmill.is_alive(heartbeat_at))"
                )
            )
        )
