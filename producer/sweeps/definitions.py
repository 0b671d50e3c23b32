"""The sweeps that an operator added; they can be paused and removed."""

from datetime import datetime, timedelta
from typing import Annotated, Self

import sqlalchemy as sa
from pydantic import StringConstraints, ValidationError, model_validator

from producer.sweeps.schedule import next_after
from producer.sweeps.source import open_source
from schema.base import Frozen
from schema.database import reachable
from schema.errors import InputError, UsageError
from schema.settings import SweepSettings


class Definition(Frozen):
    """A sweep as an operator describes it.

    Attributes:
        name: what people call it.
        cron: when it runs: minute, hour, day of month, month, day of week.
        timezone: time zone of these times.
        source: name of the database that the rows come from.
        query: selects the rows, with columns id and text; `:watermark` stands for the watermark.
        watermark_column: column that tells which rows are new.
        settle: how long a run waits for rows that are committed late.
        deadline: how long a run may take; None sets no limit.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,100}$")]
    cron: str
    timezone: str
    source: str
    query: str
    watermark_column: str
    settle: timedelta
    deadline: timedelta | None

    @model_validator(mode="after")
    def _leaves_time_to_settle(self) -> Self:
        if self.deadline is not None and self.deadline <= self.settle:
            msg = "the deadline must be longer than the time to settle"
            raise ValueError(msg)
        return self


def define(**fields: object) -> Definition:
    """Make a definition from what an operator typed.

    Raises:
        InputError: a field breaks a rule; the text names it.
    """
    try:
        made = Definition.model_validate(fields)
    except ValidationError as error:
        faults = (
            ": ".join([*map(str, fault["loc"][:1]), fault["msg"].removeprefix("Value error, ")])
            for fault in error.errors()
        )
        raise InputError("; ".join(faults)) from None
    return made.model_copy(update={"query": made.query.strip().rstrip(";")})


def add(
    engine: sa.Engine, definition: Definition, settings: SweepSettings, begin: str | None
) -> datetime:
    """Add a sweep; its query is tried first, which reads no more than the highest watermark.

    Args:
        engine: Textmill's database, in the operator's role.
        definition: the sweep.
        settings: where its source is.
        begin: the watermark to begin above; None sweeps every row.

    Returns:
        When it first runs.

    Raises:
        InputError: there is a sweep of this name, or its schedule or query breaks a rule.
        SourceError: the source refuses the query, or does not answer.
        SettingsError: the settings name no such source, or the role that logs in is no operator.
        ServiceUnavailableError: Postgres does not answer.
    """
    with open_source(
        engine, settings, definition.source, definition.query, definition.watermark_column
    ) as source:
        kind, lowest = source.watermark_type()
        watermark = lowest if begin is None else begin
        source.highest(watermark)
    with reachable(engine), engine.begin() as connection:
        due = _due(connection, definition.cron, definition.timezone)
        added = connection.execute(
            sa.text(
                "insert into textmill.sweep (name, cron, timezone, source, query, watermark_column,"
                " watermark_kind, watermark, settle, deadline, next_run_at) values (:name, :cron,"
                " :timezone, :source, :query, :watermark_column, :kind, :watermark, :settle,"
                " :deadline, :due) on conflict (name) do nothing"
            ),
            {**definition.model_dump(), "kind": kind, "watermark": watermark, "due": due},
        )
    if added.rowcount == 0:
        msg = (
            f"there is a sweep {definition.name!r}; choose another name, change it with SQL, or"
            " remove it, which tells the --from with which another one goes on"
        )
        raise InputError(msg)
    return due


def check_exists(engine: sa.Engine, name: str) -> None:
    """Refuse a name that no sweep has; any login may ask.

    Raises:
        UsageError: there is no sweep of this name.
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        exists = sa.text("select exists (select from textmill.sweep_status where name = :name)")
        if not connection.scalar(exists, {"name": name}):
            raise _unknown(connection, name)


def find(engine: sa.Engine, name: str) -> tuple[Definition, str]:
    """A sweep and its watermark.

    Raises:
        UsageError: there is no sweep of this name.
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.connect() as connection:
        row = connection.execute(
            sa.text(
                "select name, cron, timezone, source, query, watermark_column, settle, deadline,"
                " watermark from textmill.sweep where name = :name"
            ),
            {"name": name},
        ).one_or_none()
        if row is None:
            raise _unknown(connection, name)
    fields = row._asdict()
    watermark: str = fields.pop("watermark")
    return Definition.model_validate(fields), watermark


def set_paused(engine: sa.Engine, name: str, *, paused: bool) -> datetime | None:
    """Pause a sweep, or resume it at its next time; a run that is under way finishes in any case.

    A sweep that is not paused keeps its next time when it is resumed.

    Returns:
        When it runs next; None while it is paused.

    Raises:
        UsageError: there is no sweep of this name, or one to be resumed has a schedule that gives
            no time.
        SettingsError: the role that logs in is not an operator.
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.begin() as connection:
        row = connection.execute(
            sa.text(
                "select paused, cron, timezone, next_run_at from textmill.sweep where name = :name"
                " for update"
            ),
            {"name": name},
        ).one_or_none()
        if row is None:
            raise _unknown(connection, name)
        due: datetime = row.next_run_at
        if row.paused and not paused:
            due = _due(connection, row.cron, row.timezone)
        connection.execute(
            sa.text(
                "update textmill.sweep set paused = :paused, next_run_at = :due where name = :name"
            ),
            {"paused": paused, "due": due, "name": name},
        )
        return None if paused else due


def make_due(engine: sa.Engine, name: str) -> None:
    """Let dispatch run a sweep at once.

    Raises:
        UsageError: there is no sweep of this name, it is paused, or a run is under way.
        SettingsError: the role that logs in is not an operator.
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.begin() as connection:
        row = connection.execute(
            sa.text(
                "update textmill.sweep s set next_run_at = now() where name = :name"
                " returning paused, (select started_at from textmill.sweep_run r"
                " where r.sweep_id = s.sweep_id and r.state in ('settling', 'running')) as since"
            ),
            {"name": name},
        ).one_or_none()
        if row is None:
            raise _unknown(connection, name)
        if row.paused:
            msg = f"the sweep {name!r} is paused; run: textmill sweep resume {name}"
            raise UsageError(msg)
        if row.since is not None:
            msg = f"a run of the sweep {name!r} is under way since {row.since:%Y-%m-%d %H:%M:%S %Z}"
            raise UsageError(msg)


def remove(engine: sa.Engine, name: str) -> str:
    """Remove a sweep with its history; its jobs stay. Returns its watermark.

    Raises:
        UsageError: there is no sweep of this name.
        SettingsError: the role that logs in is not an operator.
        ServiceUnavailableError: Postgres does not answer.
    """
    with reachable(engine), engine.begin() as connection:
        watermark: str | None = connection.scalar(
            sa.text("delete from textmill.sweep where name = :name returning watermark"),
            {"name": name},
        )
        if watermark is None:
            raise _unknown(connection, name)
        return watermark


def _due(connection: sa.Connection, cron: str, timezone: str) -> datetime:
    now: datetime = connection.execute(sa.text("select now()")).scalar_one()
    return next_after(cron, timezone, now)


def _unknown(connection: sa.Connection, name: str) -> UsageError:
    names = connection.scalars(sa.text("select name from textmill.sweep_status order by name"))
    return UsageError(f"there is no sweep {name!r}; there are: {', '.join(names) or 'none'}")
