"""The worker processes, according to their heartbeat rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from schema.database import reachable


class Worker(NamedTuple):
    """A worker process: the tasks it serves, and how many chunks it works on at once."""

    worker: str
    pid: int
    tasks: Sequence[str]
    threads: int


_COLUMNS = ", ".join(Worker._fields)


def live_workers(connection: sa.Connection) -> list[Worker]:
    """The processes that are alive according to `textmill.is_alive`."""
    rows = connection.execute(
        sa.text(f"select {_COLUMNS} from textmill.worker where textmill.is_alive(heartbeat_at)")  # noqa: S608
    )
    return [Worker(*row) for row in rows]


def started_since(engine: sa.Engine, since: datetime) -> list[Worker]:
    """The processes that started at or after `since`, in the order of their start.

    A process that died may still be among them.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                f"select {_COLUMNS} from textmill.worker"  # noqa: S608
                " where started_at >= :since order by started_at"
            ),
            {"since": since},
        )
        return [Worker(*row) for row in rows]


def database_time(engine: sa.Engine) -> datetime:
    """The time by the clock of Postgres, which also sets the start of a process.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        time: datetime = connection.execute(sa.text("select now()")).scalar_one()
        return time


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
