"""The database that a sweep reads: read-only, with a timeout."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isinf
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import sqlalchemy as sa
from psycopg.types.string import TextLoader

from schema.database import create_engine
from schema.database_errors import is_outage, refuses_login, what_it_says
from schema.errors import InputError, SettingsError, SourceAwayError, SourceError
from schema.settings import SweepSettings

if TYPE_CHECKING:
    import psycopg

OWN_DATABASE: Final = "textmill"
"""Name of Textmill's own database as a source."""

ROWS_AT_ONCE = 1000
ROWS_PASSED_AT_ONCE = 100_000

_DATE = 1082
_TIMES = ("date", "time", "timetz", "timestamp", "timestamptz", "interval")
"""Types read as text: Python cannot hold infinite times, nor years before 1 and after 9999."""
_JSON = ("json", "jsonb")
"""Types read as text at first: Python cannot read all JSON that Postgres can hold."""
_JSON_TYPES = frozenset({114, 3802, 199, 3807})
"""OIDs of the JSON types and of their arrays."""


class Kind(NamedTuple):
    """The kind of values that a watermark has.

    Attributes:
        name: what the values are; whatever their type, those of one name are ordered and written
            alike.
        lowest: below every value of the type.
    """

    name: str
    lowest: str


# By the type's OID in Postgres.
_KINDS: Mapping[int, Kind] = {
    20: Kind("number", "-9223372036854775808"),  # bigint
    21: Kind("number", "-32768"),  # smallint
    23: Kind("number", "-2147483648"),  # integer
    25: Kind("text", ""),
    701: Kind("number", "-Infinity"),  # double precision
    1043: Kind("text", ""),  # varchar
    1114: Kind("timestamp", "-infinity"),
    1184: Kind("timestamptz", "-infinity"),
    1700: Kind("number", "-Infinity"),  # numeric
    2950: Kind("uuid", "00000000-0000-0000-0000-000000000000"),
}


class Source:
    """A database that sweeps read; each call names its query and watermark column.

    Args:
        engine: of the database that is read; closed with the source.
        name: what people call the database.
        timeout: seconds that a statement may take.
    """

    def __init__(self, engine: sa.Engine, name: str, timeout: float) -> None:
        self._engine = engine
        self._name = name
        self._timeout = timeout

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def kind(self, query: str, column: str) -> Kind:
        """Check that the query can be swept, and return the kind of its watermark.

        Raises:
            InputError: the query lacks `:watermark` or a column, has another parameter or two
                columns of one name, or its watermark has an unsuitable type.
            SourceError: the database refuses the query, or does not answer.
        """
        binds = set(sa.text(query).compile().params)
        if binds != {"watermark"}:
            named = ", ".join(f":{bind}" for bind in sorted(binds)) or "none"
            msg = f"the query must hold the parameter :watermark and no other; it holds {named}"
            raise InputError(msg)
        with self._reading() as connection:
            result = connection.execute(
                sa.text(f"select * from ({query}\n) as swept limit 0"),  # noqa: S608
                {"watermark": None},
            )
            columns = [(str(f[0]), cast("int", f[1])) for f in result.cursor.description]
        types = dict(columns)
        if len(types) < len(columns):
            msg = "the query has several columns of one name; give each a name of its own"
            raise InputError(msg)
        for needed in ("id", "text", column):
            if needed not in types:
                msg = f"the query has no column {needed!r}; it has: {', '.join(types)}"
                raise InputError(msg)
        if types[column] == _DATE:
            msg = (
                f"the watermark {column!r} is a date, which rows that come later on the same day"
                " share; take the time or the number that each row is given"
            )
            raise InputError(msg)
        if types[column] not in _KINDS:
            msg = f"the watermark {column!r} must be a number, a time, a uuid or text"
            raise InputError(msg)
        return _KINDS[types[column]]

    def highest(
        self, query: str, column: str, watermark: str, *, below: str | None = None
    ) -> str | None:
        """The highest value of `column` above the watermark; None if there is no row.

        Infinity and NaN are passed over, since nothing is above them.

        Args:
            query: the query of the sweep.
            column: the watermark column.
            watermark: value of `:watermark` in the query.
            below: only values lower than this one count; None: all.

        Raises:
            SourceError: the database refuses the query, or does not answer.
        """
        name = self._quoted(column)
        lower = "" if below is None else f"and {name} < :textmill_below"
        with self._reading() as connection:
            found: str | None = connection.scalar(
                sa.text(
                    f"select cast({name} as text) from ({query}\n) as swept"  # noqa: S608
                    f" where {name} is not null and not (cast({name} as text) in"
                    " ('infinity', 'Infinity', 'NaN')"
                    f" and pg_typeof({name})::text not in ('text', 'character varying')) {lower}"
                    f" order by {name} desc limit 1"
                ),
                {"watermark": watermark} | ({} if below is None else {"textmill_below": below}),
            )
        return found

    def after(
        self, query: str, column: str, watermark: str, *, up_to: str, rows: int
    ) -> Iterator[str | None]:
        """Find the value of `column` in the row after the first `rows` rows.

        The rows are passed over at the source, a bounded number with each statement.

        Args:
            query: the query of the sweep.
            column: the watermark column, by which the rows are ordered.
            watermark: value of `:watermark` in the query.
            up_to: highest value to look at.
            rows: how many rows to pass over.

        Yields:
            None after each statement, so that the caller can renew its lease; last the value, or
            nothing more if there are no more than `rows` rows.

        Raises:
            SourceError: the database refuses the query, or does not answer.
        """
        name = self._quoted(column)
        with self._reading() as connection:
            connection.execute(
                sa.text(
                    "declare textmill_rows no scroll cursor for"  # noqa: S608
                    f" select cast({name} as text) from ({query}\n) as swept"
                    f" where {name} <= :textmill_up_to order by {name}"
                ),
                {"watermark": watermark, "textmill_up_to": up_to},
            )
            for passed in range(0, rows, ROWS_PASSED_AT_ONCE):
                wanted = min(ROWS_PASSED_AT_ONCE, rows - passed)
                moved = connection.execute(sa.text(f"move {wanted} in textmill_rows"))
                yield None
                if moved.rowcount < wanted:
                    return
            yield connection.scalar(sa.text("fetch 1 in textmill_rows"))

    def count(self, query: str, watermark: str) -> int:
        """How many rows are above the watermark.

        Raises:
            SourceError: the database refuses the query, or does not answer.
        """
        with self._reading() as connection:
            return int(
                connection.execute(
                    sa.text(f"select count(*) from ({query}\n) as swept"),  # noqa: S608
                    {"watermark": watermark},
                ).scalar_one()
            )

    def rows(
        self, query: str, column: str, watermark: str, up_to: str
    ) -> Iterator[dict[str, object]]:
        """The rows above the watermark and not above `up_to`, streamed.

        Raises:
            SourceError: the database refuses the query, or does not answer.
        """
        name = self._quoted(column)
        with self._reading() as connection:
            driver = cast("psycopg.Connection", connection.connection.driver_connection)
            for kept in (*_TIMES, *_JSON):
                driver.adapters.register_loader(kept, TextLoader)
            rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
                sa.text(
                    f"select * from ({query}\n) as swept where {name} <= :textmill_up_to"  # noqa: S608
                ),
                {"watermark": watermark, "textmill_up_to": up_to},
            )
            forms = [
                (str(f[0]), _parsed if f[1] in _JSON_TYPES else _plain)
                for f in rows.cursor.description
            ]
            for row in rows:
                yield {field: form(value) for (field, form), value in zip(forms, row, strict=True)}

    def _quoted(self, column: str) -> str:
        return f"swept.{self._engine.dialect.identifier_preparer.quote_identifier(column)}"

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                connection.execute(sa.text("set transaction read only"))
                connection.execute(
                    sa.text("select set_config('statement_timeout', :milliseconds, true)"),
                    {"milliseconds": str(int(self._timeout * 1000))},
                )
                # A watermark is kept as text: it must read the same wherever dispatch runs.
                connection.execute(sa.text("set local timezone = 'UTC'"))
                connection.execute(sa.text("set local datestyle = 'ISO'"))
                # Servers before 12 need this to write all digits of a double precision.
                connection.execute(sa.text("set local extra_float_digits = 3"))
                yield connection
        except sa.exc.DBAPIError as error:
            msg = f"the source {self._name!r} says: {what_it_says(error)}"
            away = is_outage(error) and not refuses_login(error.orig)
            kind = SourceAwayError if away else SourceError
            raise kind(msg) from None  # its cause may quote a row


def is_lowest(watermark: str) -> bool:
    """Whether it is the watermark of a sweep that has seen no row."""
    return any(watermark == kind.lowest for kind in _KINDS.values())


def open_source(name: str, own_url: str, settings: SweepSettings) -> Source:
    """The source with that name; nothing connects before it is used.

    Args:
        name: a name in `TEXTMILL_SOURCES`, or `textmill`.
        own_url: of Textmill's own database.
        settings: URLs and the timeout.

    Raises:
        SettingsError: the settings name no such source, or its URL is not a Postgres URL.
    """
    if name == OWN_DATABASE:
        url = own_url
    elif name in settings.sources:
        url = settings.sources[name].get_secret_value()
    else:
        msg = (
            f"TEXTMILL_SOURCES names no source {name!r}; it must do so here and where dispatch runs"
        )
        raise SettingsError(msg)
    engine = create_engine(url, application="textmill-sweep", connections=1)
    return Source(engine, name, settings.source_timeout)


def _plain(value: object) -> object:
    """JSON values as they are, anything else as text, in the form that Postgres writes in JSON."""
    match value:
        case list():
            return [_plain(item) for item in value]
        case float() if isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case bytes():
            return rf"\x{value.hex()}"
        case None | str() | int() | float():
            return value
        case _:
            return str(value)


def _parsed(value: object) -> object:
    """A JSON value; its text if it is nested too deep or holds a number that is too long."""
    if isinstance(value, list):
        return [_parsed(item) for item in value]
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (RecursionError, ValueError):
        return value
