"""`textmill up`, `textmill dispatch` and `textmill db`."""

import json
import logging
import queue
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import click
import sqlalchemy as sa

from producer.cli.show import console
from producer.local import Stack, find, running
from producer.local.binaries import psql
from producer.sweeps import Sweeper
from producer.workers import Worker, registered
from schema.database import check_version, create_engine, reachable
from schema.errors import SettingsError
from schema.settings import (
    DispatchSettings,
    IntakeSettings,
    ServiceSettings,
    SweepSettings,
    read,
)
from schema.stack import database_url


def until_told_to_stop() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set."""
    stop = threading.Event()
    # An event has a lock, which the interrupted thread itself may hold: a second signal right after
    # the first would wait for it for ever. A simple queue may be put to from a signal handler.
    signals: queue.SimpleQueue[None] = queue.SimpleQueue()

    def pass_on() -> None:
        signals.get()
        stop.set()

    threading.Thread(target=pass_on, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: signals.put(None))
    return stop


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(min=0),
    help="Worker processes for each device; default: one a core, or one a GPU.",
)
@click.option("--json", "as_json", is_flag=True, help="Once ready, print a line of JSON.")
def up(*, workers: int | None, as_json: bool) -> None:
    """Run Postgres, Redis, dispatch and workers until SIGTERM.

    Ctrl-C ends it, too. Servers that TEXTMILL_DATABASE_URL and TEXTMILL_BROKER_URL name are not
    started, but used.

    \b
    Examples:
      textmill up
      textmill up --workers 1 --json
    """
    stop = until_told_to_stop()
    began = datetime.now(UTC)
    with running(read(ServiceSettings), workers) as stack:
        console.print("starting …", style="dim")
        expected = 1 if workers is None else workers
        alive = _wait_for_workers(stack, expected, began, stop)
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
            console.print("ready; in another terminal:  textmill submit sentiment FILE --wait")
            console.print("to look at rows with SQL, read-only and without texts:")
            click.echo(shlex.join([psql(), stack.urls.reader]))
            console.print("to submit and to give feedback with SQL, too:")
            click.echo(shlex.join([psql(), stack.urls.producer]))
        while not stop.wait(0.5):
            stack.check()


def _wait_for_workers(
    stack: Stack, expected: int, since: datetime, stop: threading.Event
) -> list[Worker]:
    """Wait until the models are loaded; a worker that cannot load them ends the stack."""
    engine = create_engine(stack.urls.producer, application="textmill-up")
    try:
        while len(alive := registered(engine, since)) < expected and not stop.wait(0.1):
            stack.check()
        return alive
    finally:
        engine.dispose()


@click.command()
def dispatch() -> None:
    """Publish pending chunks to Redis, and run sweeps, until SIGTERM.

    Any number may run; they take turns.

    \b
    Example:
      TEXTMILL_DATABASE_URL=… TEXTMILL_BROKER_URL=… textmill dispatch
    """
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.INFO
    )
    # Celery costs every other command a third of a second.
    from producer.broker import Broker  # noqa: PLC0415
    from producer.dispatch import Dispatcher  # noqa: PLC0415

    services = read(ServiceSettings)
    if services.broker_url is None:
        stack = find(services)
        broker_url = stack.urls.broker if stack else None
    else:
        broker_url = services.broker_url.get_secret_value()
    if broker_url is None:
        msg = "set TEXTMILL_BROKER_URL, or run everything with: textmill up"
        raise SettingsError(msg)
    engine = create_engine(database_url(services), application="textmill-dispatch")
    broker = Broker(broker_url, services.key_prefix)
    limits = read(IntakeSettings)
    dispatcher = Dispatcher(engine, broker, read(DispatchSettings), limits)
    stop = until_told_to_stop()
    # A thread of its own: chunks need not wait while the rows of a sweep are read.
    sweeps = threading.Thread(
        target=Sweeper(engine, read(SweepSettings), limits).run, args=[stop], name="sweeps"
    )
    sweeps.start()
    try:
        dispatcher.run(stop)
    finally:
        stop.set()
        sweeps.join()
        broker.close()


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
def upgrade() -> None:
    """Migrate the database, and grant the roles their rights.

    \b
    Example:
      TEXTMILL_DATABASE_URL=postgresql://owner@host/database textmill db upgrade
    """
    import migrations  # noqa: PLC0415  # Alembic costs every command a third of a second

    with _database() as engine:
        left = migrations.upgrade(engine)
    if left is None:
        console.print("the database is up to date")
        return
    console.print("the database is up to date, but this role may not create or grant roles;")
    console.print("have someone who may run this SQL:")
    click.echo(left)


@db.command()
def check() -> None:
    """Exit with 0 when the database answers and is up to date.

    \b
    Example:
      textmill db check && echo fine
    """
    with _database() as engine, engine.connect() as connection:
        check_version(connection)
    console.print("the database answers, and is up to date")


@contextmanager
def _database() -> Iterator[sa.Engine]:
    engine = create_engine(database_url(read(ServiceSettings)), application="textmill-db")
    try:
        with reachable(engine):
            yield engine
    finally:
        engine.dispose()
