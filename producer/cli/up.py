"""`textmill up`."""

import json
import shlex
import threading
import time
from datetime import timedelta
from pathlib import Path

import click
import sqlalchemy as sa

from producer.cli.options import json_option
from producer.cli.show import console, say
from producer.cli.stopping import until_told_to_stop
from producer.local import Stack, running
from producer.local.binaries import psql
from producer.local.folder import PASSFILE
from producer.workers import Worker, database_time, started_since
from schema.database import closing_engine
from schema.settings import ServiceSettings, read
from schema.urls import database_place

LONG_START = 60.0
"""Seconds after which a start with no worker ready is reported."""


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes per device; default: one per GPU, or else one per core.",
)
@json_option
def up(*, workers: int | None, as_json: bool) -> None:
    """Run Postgres, Redis, dispatch and workers until SIGTERM.

    Ctrl-C stops it, too. Servers that TEXTMILL_DATABASE_URL and TEXTMILL_BROKER_URL name are used
    instead of started. What it prints with --json contains passwords.

    \b
    Examples:
      textmill up
      textmill up --workers 1 --json
    """
    stop = until_told_to_stop(
        lambda: console.print("stopping; chunks in work are finished first …", style="dim")
    )
    began = time.monotonic()
    console.print("starting …", style="dim")
    services = read(ServiceSettings)
    with running(services, workers) as stack:
        expected = 1 if workers is None else workers
        alive = _wait_for_workers(stack, expected, began, stop)
        if stop.is_set():
            return
        if as_json:
            processes = [
                *(process._asdict() for process in stack.processes),
                *({"name": worker.worker, "pid": worker.pid} for worker in alive),
            ]
            ready = {
                "database_url": stack.urls.owner,
                "broker_url": stack.urls.broker,
                "processes": processes,
            }
            click.echo(json.dumps(ready))
        else:
            say(f"ready; in another terminal:  {_elsewhere(services)}submit sentiment FILE --wait")
            if services.database_url is None:
                _show_logins(stack, services.data_dir.absolute() / PASSFILE)
        while not stop.wait(0.5):
            stack.check()


def _elsewhere(services: ServiceSettings) -> str:
    """How another terminal, which has none of this one's variables, calls this stack."""
    if services.database_url is not None or "data_dir" not in services.model_fields_set:
        return "textmill "
    return f"TEXTMILL_DATA_DIR={shlex.quote(str(services.data_dir.absolute()))} textmill "


def _show_logins(stack: Stack, passfile: Path) -> None:
    """Print commands without passwords: every account of the machine sees a running command.

    libpq finds the password of each login in `passfile`.
    """
    # Without the second variable, psql sends the password in clear to whoever took the port.
    prefix = f"PGPASSFILE={shlex.quote(str(passfile))} PGREQUIREAUTH=scram-sha-256 "
    console.print("to look at rows with SQL, read-only and without texts:")
    click.echo(prefix + shlex.join([psql(), database_place(sa.make_url(stack.urls.reader))]))
    console.print("to submit and to give feedback with SQL, too:")
    click.echo(prefix + shlex.join([psql(), database_place(sa.make_url(stack.urls.producer))]))
    say(f"for other database clients, the passwords are at the ends of the lines of {passfile}")


def _wait_for_workers(
    stack: Stack, expected: int, began: float, stop: threading.Event
) -> list[Worker]:
    """Wait until the models are loaded; a worker that cannot load them ends the stack.

    Args:
        stack: the stack, which has just been started.
        expected: number of worker processes to wait for, at least.
        began: when the start of the stack began, by `time.monotonic`.
        stop: ends the wait.
    """
    told = False
    with closing_engine(stack.urls.producer, application="textmill-up") as engine:
        # By the clock of Postgres, which may run on another machine.
        since = database_time(engine) - timedelta(seconds=time.monotonic() - began)
        while len(alive := started_since(engine, since)) < expected and not stop.wait(0.1):
            stack.check()
            if not told and time.monotonic() - began > LONG_START:
                told = True
                log = read(ServiceSettings).data_dir / "logs" / "worker.log"
                console.print(f"no worker is ready yet; its log is {log}", style="dim")
        return alive
