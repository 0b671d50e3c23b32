"""The connection that a command uses."""

from collections.abc import Iterator
from contextlib import contextmanager

from producer.cli.show import console
from producer.client import Textmill
from producer.local import find, joined_with_workers
from schema.settings import ServiceSettings, read


def is_served() -> bool:
    """Whether a database URL is set or an embedded stack runs; otherwise no worker runs a job."""
    services = read(ServiceSettings)
    return services.database_url is not None or find(services) is not None


@contextmanager
def connected() -> Iterator[Textmill]:
    """Textmill, with Postgres and Redis started for the command if none are set or running."""
    if not is_served():
        console.print("starting Postgres …", style="dim")
    with Textmill() as textmill:
        yield textmill


@contextmanager
def connected_with_workers() -> Iterator[Textmill]:
    """Textmill, with dispatch and workers to finish a job; others run them if a database is set."""
    services = read(ServiceSettings)
    if services.database_url is not None:
        with Textmill() as textmill:
            yield textmill
        return
    if find(services) is None:
        console.print("starting servers and workers …", style="dim")
    with joined_with_workers(services) as stack, Textmill() as textmill:
        textmill.watch(stack)
        yield textmill
