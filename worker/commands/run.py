"""`textmill-worker run`."""

import logging
import sys

import click

from schema.database import check_version, create_engine, reachable
from schema.documents import Task
from schema.errors import UsageError
from schema.settings import ServiceSettings, WorkerSettings, read
from worker.attempt_ends import CONNECT_TIMEOUT
from worker.devices import parse_devices
from worker.server_urls import server_urls
from worker.supervisor import Supervisor


@click.command("run")
@click.option(
    "--devices",
    default="auto",
    show_default=True,
    help="cpu, or cuda:0,cuda:1; auto takes all GPUs, or else the CPU.",
)
@click.option(
    "--processes",
    type=click.IntRange(min=1),
    help="Processes per device; default: one per CPU core or one per GPU.",
)
@click.option(
    "--tasks",
    default=",".join(Task),
    show_default=True,
    help="Tasks to serve, separated by commas.",
)
def command(*, devices: str, processes: int | None, tasks: str) -> None:
    """Process chunks until SIGTERM.

    Each process is pinned to a device. On SIGTERM running chunks get TEXTMILL_DRAIN seconds to
    finish; a second SIGTERM ends them at once, and another process takes them over.

    \b
    Examples:
      textmill-worker run
      textmill-worker run --devices cuda:0,cuda:1 --tasks moderation
    """
    logging.basicConfig(
        format="%(asctime)s %(levelname)s supervisor: %(message)s", level=logging.INFO
    )
    engine = create_engine(
        server_urls(read(ServiceSettings)).database,
        application="textmill-supervisor",
        role="textmill_worker",
        connections=1,
        connect_timeout=CONNECT_TIMEOUT,
    )
    with reachable(engine), engine.connect() as connection:
        check_version(connection)
    settings = read(WorkerSettings)
    supervisor = Supervisor(
        parse_devices(devices),
        processes=processes,
        tasks=_parse_tasks(tasks),
        database=engine,
        drain=settings.drain,
        metrics_port=settings.metrics_port,
    )
    sys.exit(supervisor.run())


def _parse_tasks(text: str) -> list[Task]:
    known = list(Task)
    names = text.split(",")
    for name in names:
        if name not in known:
            msg = f"{name!r} is not a task; choose from {', '.join(known)}"
            raise UsageError(msg)
    return [Task(name) for name in names]
