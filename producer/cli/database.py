"""`textmill db`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click
import sqlalchemy as sa

from producer.cli.options import json_lines_option
from producer.cli.show import console
from producer.retention import Month, empty_old_months, forget_jobs, old_months
from schema.base import json_line
from schema.database import check_version, closing_engine, reachable
from schema.settings import ServiceSettings, read
from schema.stack import database_url

OWNER = "the role that owns the schema textmill"
"""Whom the login should be a member of, as the error says that names a missing right."""


@click.group()
def db() -> None:
    """Migrate, check and prune the database."""


@db.command()
def upgrade() -> None:
    """Migrate the database, and grant the roles their rights.

    \b
    Example:
      TEXTMILL_DATABASE_URL=postgresql://owner@host/database textmill db upgrade
    """
    import migrations  # noqa: PLC0415  # Alembic would cost every command a third of a second

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


@db.command()
@click.option(
    "--months",
    type=click.IntRange(0, 1200),
    required=True,
    help="Keep the current month, and so many before it.",
)
@click.option(
    "--job-months",
    type=click.IntRange(0, 1200),
    help="Also delete the rows of jobs that are older; default: keep them.",
)
@click.option("--dry-run", is_flag=True, help="Only show which months would be pruned.")
@json_lines_option
def prune(*, months: int, job_months: int | None, dry_run: bool, as_json: bool) -> None:
    """Delete the documents and outcomes of old months.

    A month with a job that is not over is kept. Feedback stays, and so do the rows of jobs, with
    their counters; --job-months deletes those of which nothing else is left. Run it as the owner.

    \b
    Examples:
      textmill db prune --months 3 --dry-run
      textmill db prune --months 3 --job-months 24
    """
    with _database() as engine:
        found = old_months(engine, months) if dry_run else empty_old_months(engine, months)
        none = True
        with console.status("waiting for open transactions that have read a month"):
            for month in found:
                none = False
                done = _done(month, dry_run=dry_run)
                fields = json_line({**asdict(month), "done": done})
                click.echo(fields if as_json else _line(month, done))
        if none:
            console.print("no month is older than those to keep")
        if job_months is not None and not dry_run:
            console.print(f"rows of jobs deleted: {forget_jobs(engine, job_months):,}")


def _done(month: Month, *, dry_run: bool) -> str:
    if month.needed_by is not None:
        return "kept"
    return "would be pruned" if dry_run else "pruned"


def _line(month: Month, done: str) -> str:
    if month.needed_by is not None:
        return f"{month.month} {done}: job {month.needed_by} is not over, or its sweep not counted"
    jobs = f"{month.jobs:,} job{'' if month.jobs == 1 else 's'}"
    return f"{month.month} {done}: {jobs}, {month.size / 1e6:,.1f} MB"


@contextmanager
def _database() -> Iterator[sa.Engine]:
    url = database_url(read(ServiceSettings))
    with closing_engine(url, application="textmill-db", role=OWNER) as engine, reachable(engine):
        yield engine
