"""`textmill dispatch`."""

import logging
import threading
from contextlib import closing

import click

from producer.cli.stopping import until_told_to_stop
from producer.sweeps import Sweeper
from schema.database import closing_engine
from schema.settings import (
    DispatchSettings,
    IntakeSettings,
    ServiceSettings,
    SweepSettings,
    read,
)
from schema.stack import broker_url, database_url

SWEEPS_END = 10.0
"""Seconds that a sweep's running step gets to end cleanly."""


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
    # Importing Celery would cost every other command a third of a second.
    from producer.broker import Broker  # noqa: PLC0415
    from producer.dispatch import Dispatcher  # noqa: PLC0415

    services = read(ServiceSettings)
    intake = read(IntakeSettings)
    broker = Broker(broker_url(services), services.key_prefix)
    stop = until_told_to_stop()
    with (
        closing_engine(database_url(services), application="textmill-dispatch") as engine,
        closing(broker),
    ):
        dispatcher = Dispatcher(engine, broker, read(DispatchSettings), intake.abandoned_after)
        # In a separate thread, so that chunks need not wait while the rows of a sweep are read.
        sweeps = threading.Thread(
            target=Sweeper(engine, read(SweepSettings), intake).run,
            args=[stop],
            name="sweeps",
            # It may be in a long statement at a source; an interrupted step writes nothing.
            daemon=True,
        )
        sweeps.start()
        try:
            dispatcher.run(stop)
        finally:
            stop.set()
            sweeps.join(SWEEPS_END)
