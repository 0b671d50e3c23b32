"""The rows that a sweep reads: its query in a database, read-only, with a timeout."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, cast

import psycopg
import sqlalchemy as sa

from producer.sweeps.row_values import converter, read_as_text
from producer.sweeps.watermarks import WatermarkType, watermark_type
from schema.database import closing_engine
from schema.database_errors import is_outage, refuses_login, what_it_says
from schema.errors import InputError, SettingsError, SourceAwayError, SourceError
from schema.settings import SweepSettings

OWN_DATABASE: Final = "textmill"
"""Name of Textmill's own database as a source."""

ROWS_AT_ONCE = 1000
ROWS_PASSED_AT_ONCE = 100_000


class Source:
    """What a sweep reads. Methods raise SourceError if its database refuses or does not answer.

    Args:
        engine: of the database that is read.
        name: what people call the database.
        timeout: seconds that a statement may take.
        query: selects the rows above `:watermark`.
        column: the watermark column, by which the rows are ordered.
    """

    def __init__(
        self, engine: sa.Engine, name: str, timeout: float, query: str, column: str
    ) -> None:
        self._engine = engine
        self._name = name
        self._timeout = timeout
        self._query = query
        self._column = column
        self._from = f"from ({query}\n) as swept"
        self._value = f"swept.{engine.dialect.identifier_preparer.quote_identifier(column)}"

    def watermark_type(self) -> WatermarkType:
        """Check that the query can be swept, and return the type of its watermark.

        Raises:
            InputError: the query lacks `:watermark` or a column, has another parameter or two
                columns of one name, or its watermark has an unsuitable type.
        """
        binds = set(sa.text(self._query).compile().params)
        if binds != {"watermark"}:
            named = ", ".join(f":{bind}" for bind in sorted(binds)) or "none"
            msg = f"the query must hold the parameter :watermark and no other; it holds {named}"
            raise InputError(msg)
        with self._reading() as connection:
            result = connection.execute(
                sa.text(f"select * {self._from} limit 0"), {"watermark": None}
            )
            columns = [(str(f[0]), cast("int", f[1])) for f in result.cursor.description]
        types = dict(columns)
        if len(types) < len(columns):
            msg = "the query has several columns of one name; give each a name of its own"
            raise InputError(msg)
        for needed in ("id", "text", self._column):
            if needed not in types:
                msg = f"the query has no column {needed!r}; it has: {', '.join(types)}"
                raise InputError(msg)
        return watermark_type(self._column, types[self._column])

    def highest(self, watermark: str, *, below: str | None = None) -> str | None:
        """The highest value of the column above the watermark; None if there is no row.

        Infinity and NaN are passed over, since nothing is above them.

        Args:
            watermark: value of `:watermark` in the query.
            below: only values lower than this one count; None: all.
        """
        value = self._value
        lower = "" if below is None else f"and {value} < :textmill_below"
        with self._reading() as connection:
            found: str | None = connection.scalar(
                sa.text(
                    f"select cast({value} as text) {self._from}"
                    f" where {value} is not null and not (cast({value} as text) in"
                    " ('infinity', 'Infinity', 'NaN')"
                    f" and pg_typeof({value})::text not in ('text', 'character varying')) {lower}"
                    f" order by {value} desc limit 1"
                ),
                {"watermark": watermark} | ({} if below is None else {"textmill_below": below}),
            )
        return found

    def value_after(
        self, watermark: str, rows: int, *, up_to: str, each_statement: Callable[[], object]
    ) -> str | None:
        """The value of the column in the row after the first `rows` rows; None if there is none.

        The rows are passed over at the source, a bounded number with each statement.

        Args:
            watermark: value of `:watermark` in the query.
            rows: how many rows to pass over.
            up_to: highest value to look at.
            each_statement: called after each statement; its errors are passed on.
        """
        found = None
        for value in self._pass_over(watermark, rows, up_to):
            found = value
            each_statement()  # not in `_reading`, which takes every error for the source's
        return found

    def _pass_over(self, watermark: str, rows: int, up_to: str) -> Iterator[str | None]:
        """Yield None after each statement, and last the value, if there is one."""
        with self._reading() as connection:
            connection.execute(
                sa.text(
                    "declare textmill_rows no scroll cursor for"
                    f" select cast({self._value} as text) {self._from}"
                    f" where {self._value} <= :textmill_up_to order by {self._value}"
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

    def count(self, watermark: str) -> int:
        """How many rows are above the watermark."""
        with self._reading() as connection:
            return int(
                connection.execute(
                    sa.text(f"select count(*) {self._from}"),
                    {"watermark": watermark},
                ).scalar_one()
            )

    def rows(self, watermark: str, up_to: str) -> Iterator[dict[str, object]]:
        """The rows above the watermark and not above `up_to`, streamed, by column.

        Their values are what JSON can hold.
        """
        with self._reading() as connection:
            read_as_text(connection)
            rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
                sa.text(f"select * {self._from} where {self._value} <= :textmill_up_to"),
                {"watermark": watermark, "textmill_up_to": up_to},
            )
            columns = [(str(f[0]), converter(cast("int", f[1]))) for f in rows.cursor.description]
            for row in rows:
                yield {
                    name: convert(value)
                    for (name, convert), value in zip(columns, row, strict=True)
                }

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
            if isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                msg += f"; grant {self._engine.url.username or 'its login'} what the query reads"
            away = is_outage(error) and not refuses_login(error.orig)
            kind = SourceAwayError if away else SourceError
            raise kind(msg) from None  # its cause may quote a row


@contextmanager
def open_source(
    engine: sa.Engine, settings: SweepSettings, name: str, query: str, column: str
) -> Iterator[Source]:
    """What a sweep reads; nothing connects before it is used.

    Args:
        engine: Textmill's own database.
        settings: URLs and the timeout of sources.
        name: a name in `TEXTMILL_SOURCES`, or `textmill`.
        query: the query of the sweep.
        column: its watermark column.

    Raises:
        SettingsError: the settings name no such source, or its URL is not a Postgres URL.
    """
    if name == OWN_DATABASE:
        url = engine.url.render_as_string(hide_password=False)
    elif name in settings.sources:
        url = settings.sources[name].get_secret_value()
    else:
        msg = (
            f"TEXTMILL_SOURCES names no source {name!r}; it must do so here and where dispatch runs"
        )
        raise SettingsError(msg)
    with closing_engine(url, application="textmill-sweep") as read:
        yield Source(read, name, settings.source_timeout, query, column)
