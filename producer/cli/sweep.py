"""`textmill sweep`."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import click
import sqlalchemy as sa

from producer.cli.durations import parse_duration
from producer.cli.options import json_lines_option
from producer.cli.show import console, say
from producer.sweeps import definitions, listing
from producer.sweeps.definitions import define
from producer.sweeps.source import OWN_DATABASE, open_source
from producer.sweeps.watermarks import is_lowest
from schema.base import json_line
from schema.database import closing_engine
from schema.settings import ServiceSettings, SweepSettings, read
from schema.stack import database_url
from schema.terminal import Columns, cell, fitting_table, make_console, printable

RUNS_LISTED = 30
"""Runs that `textmill sweep history` lists."""

SWEEP = Columns(
    names=(
        "name",
        "paused",
        "cron",
        "timezone",
        "watermark",
        "next_run_at",
        "last_state",
        "last_swept",
        "last_flagged",
        "note",
    ),
    dispensable=(
        "timezone",
        "cron",
        "watermark",
        "last_swept",
        "paused",
        "last_flagged",
        "next_run_at",
    ),
    folded="note",
)
"""What `textmill sweep list` shows of a sweep."""

RUN = Columns(
    names=(
        "started_at",
        "state",
        "to_watermark",
        "swept",
        "flagged",
        "flag_rate",
        "usual_rate",
        "labels",
        "note",
    ),
    dispensable=("to_watermark", "usual_rate", "labels", "flag_rate", "swept", "flagged"),
    folded="note",
)
"""What `textmill sweep history` shows of a run."""


@click.group()
def sweep() -> None:
    """Moderate the new rows of a table on a schedule.

    Dispatch runs sweeps; each run takes the rows that are new since the last one.
    """


@sweep.command()
@click.argument("name")
@click.option("--cron", required=True, help="Minute, hour, day of month, month, day of week.")
@click.option("--timezone", default="UTC", show_default=True, help="Time zone of --cron.")
@click.option("--query", required=True, help="SELECT with id and text, above :watermark.")
@click.option("--watermark", "column", required=True, help="Column that tells new rows.")
@click.option(
    "--source", default=OWN_DATABASE, show_default=True, help="A name in TEXTMILL_SOURCES."
)
@click.option("--from", "begin", help="Begin above this watermark; default: with every row.")
@click.option("--settle", default="5m", show_default=True, help="Wait for rows committed late.")
@click.option("--deadline", help="How long a run may take; default: unlimited.")
def add(  # noqa: PLR0913  # one argument per option
    *,
    name: str,
    cron: str,
    timezone: str,
    query: str,
    column: str,
    source: str,
    begin: str | None,
    settle: str,
    deadline: str | None,
) -> None:
    """Add the sweep NAME.

    \b
    Example:
      textmill sweep add posts --cron "0 2 * * *" --watermark id \\
        --query "select id, body as text from posts where id > :watermark"
    """
    definition = define(
        name=name,
        cron=cron,
        timezone=timezone,
        source=source,
        query=query,
        watermark_column=column,
        settle=parse_duration(settle),
        deadline=None if deadline is None else parse_duration(deadline),
    )
    with _operator() as engine:
        due = definitions.add(engine, definition, read(SweepSettings), begin)
    console.print(f"sweep {name} runs next at {due:%Y-%m-%d %H:%M %Z}")


@sweep.command("list")
@json_lines_option
def list_(*, as_json: bool) -> None:
    """List the sweeps, each with its latest run.

    \b
    Examples:
      textmill sweep list
      textmill sweep list --json
    """
    with _operator() as engine:
        _show(listing.all_sweeps(engine), SWEEP, as_json=as_json)


@sweep.command()
@click.argument("name")
@json_lines_option
def history(name: str, *, as_json: bool) -> None:
    """List the 30 latest runs of the sweep NAME, newest first.

    \b
    Examples:
      textmill sweep history posts
      textmill sweep history posts --json
    """
    with _operator() as engine:
        _show(listing.history(engine, name, RUNS_LISTED), RUN, as_json=as_json)


@sweep.command()
@click.argument("name")
@click.option("--now", is_flag=True, help="Run it now.")
def run(name: str, *, now: bool) -> None:
    """Count the rows that a run of the sweep NAME would take.

    With --now nothing is counted: the sweep becomes due, and dispatch runs it at once.

    \b
    Examples:
      textmill sweep run posts
      textmill sweep run posts --now
    """
    with _operator() as engine:
        if now:
            definitions.make_due(engine, name)
            console.print(f"sweep {name} is due; see: textmill sweep history {name}")
            return
        definition, watermark = definitions.find(engine, name)
        column = definition.watermark_column
        settings = read(SweepSettings)
        with open_source(engine, settings, definition.source, definition.query, column) as source:
            count = source.count(watermark)
            up_to = source.highest(watermark)
    above = "" if is_lowest(watermark) else f" above {column} {watermark}"
    reach = "" if up_to is None else f", up to {column} {up_to}"
    click.echo(printable(f"{count:,} row{'' if count == 1 else 's'}{above}{reach}"))


@sweep.command()
@click.argument("name")
def pause(name: str) -> None:
    """Pause the sweep NAME; a run that is under way still finishes.

    \b
    Example:
      textmill sweep pause posts
    """
    with _operator() as engine:
        definitions.set_paused(engine, name, paused=True)
    console.print(f"sweep {name} is paused")


@sweep.command()
@click.argument("name")
def resume(name: str) -> None:
    """Resume the sweep NAME at its next time, from its watermark.

    \b
    Example:
      textmill sweep resume posts
    """
    with _operator() as engine:
        due = definitions.set_paused(engine, name, paused=False)
    console.print(f"sweep {name} runs next at {due:%Y-%m-%d %H:%M %Z}")


@sweep.command()
@click.argument("name")
def remove(name: str) -> None:
    """Remove the sweep NAME with its history; its jobs stay.

    \b
    Example:
      textmill sweep remove posts
    """
    with _operator() as engine:
        watermark = definitions.remove(engine, name)
    console.print(f"sweep {name} is removed")
    if not is_lowest(watermark):
        say(
            f"one that goes on where it ended: textmill sweep add … --from {shlex.quote(watermark)}"
        )


@contextmanager
def _operator() -> Iterator[sa.Engine]:
    url = database_url(read(ServiceSettings))
    with closing_engine(url, application="textmill-sweep", role="textmill_operator") as engine:
        yield engine


def _show(rows: Sequence[Mapping[str, object]], columns: Columns, *, as_json: bool) -> None:
    if as_json:
        for row in rows:
            click.echo(json_line(row))
        return
    cells = [{name: _cell(row[name]) for name in columns.names} for row in rows]
    shown = make_console()
    shown.print(fitting_table(cells, columns, shown.width))


def _cell(value: object) -> str:
    match value:
        case datetime():
            return f"{value.astimezone():%Y-%m-%d %H:%M}"
        case float():
            return f"{100 * value:.1f} %"
        case dict():
            return ", ".join(f"{key} {count}" for key, count in value.items())
        case _:
            return cell(value)
