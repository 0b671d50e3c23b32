"""What may be swept: queries and sources, and who may name them."""

import traceback
from datetime import timedelta

import pytest
import sqlalchemy as sa

from producer.sweeps.definitions import add
from producer.sweeps.source import Source
from schema.database import create_engine
from schema.errors import InputError, SettingsError, SourceAwayError, SourceError, exit_code
from schema.settings import SweepSettings
from tests.fixtures.shop import QUERY, OpenShop, change, definition, write

KINDS = ["smallint", "integer", "bigint", "numeric", "double precision", "text", "uuid"]
KINDS += ["timestamp", "timestamptz"]

ADDED = (
    "insert into textmill.sweep (name, cron, timezone, source, query, watermark_column,"
    " watermark_kind, watermark, next_run_at)"
    " values ('{0}', '0 2 * * *', 'UTC', '{0}', '', 'id', 'text', '', now())"
)
"""Adds a sweep without asking its source."""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"query": "select id, body as text from posts"}, "must hold the parameter :watermark"),
        ({"query": f"{QUERY} and shop = :shop"}, "and no other; it holds :shop, :watermark"),
        ({"query": QUERY.replace(" as text", "")}, "has no column 'text'"),
        ({"query": QUERY.replace("select", "select 1 as a, 2 as a,", 1)}, "several columns"),
        ({"watermark_column": "created_at"}, "has no column 'created_at'"),
        ({"query": QUERY.replace("shop", "'{}'::jsonb as s"), "watermark_column": "s"}, "must be"),
        ({"query": QUERY.replace("shop", "current_date d"), "watermark_column": "d"}, "is a date"),
        ({"query": QUERY.replace("posts", "nothing")}, 'relation "nothing" does not exist'),
        ({"query": QUERY.replace("shop", "nextval('numbers')")}, "in a read-only transaction"),
        ({"cron": "0 2 * *"}, "has 4 fields"),
        ({"timezone": "Mars"}, "no time zone"),
        ({"deadline": timedelta(0)}, "^the deadline must be longer than the time to settle$"),
    ],
)
def test_sweep_that_could_not_run_is_refused(
    engine: sa.Engine,
    shop: sa.Engine,
    shop_settings: SweepSettings,
    changes: dict[str, object],
    reason: str,
) -> None:
    """Without it, a typing error is found at two in the morning, or a query can write."""
    write(shop, 1)

    with pytest.raises((InputError, SourceError), match=reason):
        add(engine, definition(**changes), shop_settings, None)


def test_source_that_the_settings_do_not_name_is_refused(engine: sa.Engine) -> None:
    """Without it, an operator looks for a server that is down although a variable is missing."""
    with pytest.raises(SettingsError, match="TEXTMILL_SOURCES names no source 'shop'"):
        add(engine, definition(), SweepSettings(), None)


def test_only_an_operator_adds_sweeps(
    engine: sa.Engine, producer_engine: sa.Engine, shop_settings: SweepSettings
) -> None:
    """Without it, anyone who submits documents can make dispatch run queries elsewhere."""
    with pytest.raises(SettingsError, match="permission denied"):
        add(producer_engine, definition(), shop_settings, None)

    with engine.connect() as connection:
        connection.exec_driver_sql("set role textmill_operator")
        connection.exec_driver_sql(ADDED.format("shop"))
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.exec_driver_sql("select text from textmill.document")


@pytest.mark.parametrize(
    "statement",
    [
        ADDED.format("textmill"),
        "update textmill.sweep set source = 'textmill' where name = 'shop'",
        "update textmill.sweep set query = 'select text as id, …' where name = 'textmill'",
        "update textmill.sweep set watermark_column = 'text' where name = 'textmill'",
    ],
)
def test_operator_who_may_see_no_text_sweeps_none(engine: sa.Engine, statement: str) -> None:
    """Without it, an operator makes dispatch read every text and sees them as ids in a view."""
    as_operator = "set local role textmill_operator;"
    change(engine, as_operator + ADDED.format("shop"))
    if "insert" not in statement:
        change(engine, ADDED.format("textmill"))

    with pytest.raises(sa.exc.ProgrammingError, match="can read every text, and textmill_operator"):
        change(engine, as_operator + statement)

    change(engine, as_operator + "update textmill.sweep set paused = true")


@pytest.mark.parametrize(
    "statement",
    [
        "update textmill.sweep set next_run_at = 'infinity'",
        "update textmill.sweep set next_run_at = '-infinity'",
        "update textmill.sweep set next_run_at = '12000-01-01'",
        "update textmill.sweep set next_run_at = '0044-03-15 BC'",
        "update textmill.sweep set settle = '9000 years'",
        "update textmill.sweep set deadline = '9000 years'",
    ],
)
def test_time_that_no_program_reads_is_refused(engine: sa.Engine, statement: str) -> None:
    """Without it, one sweep breaks the list for everybody, and stops every other sweep."""
    change(engine, ADDED.format("shop"))

    with pytest.raises(sa.exc.IntegrityError, match="violates check constraint"):
        change(engine, f"set local role textmill_operator; {statement}")


@pytest.mark.parametrize(
    "statement",
    [
        ADDED.format("shop")
        .replace("next_run_at)", "next_run_at, created_by)")
        .replace("now())", "now(), 'another')"),
        "update textmill.sweep set created_by = 'another'",
        "update textmill.sweep set created_at = 'infinity'",
        "update textmill.sweep set name = 'other'",
    ],
)
def test_operator_names_no_other_as_who_added_a_sweep(engine: sa.Engine, statement: str) -> None:
    """Without it, an operator can run queries on other databases in the name of another."""
    change(engine, ADDED.format("posts"))

    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        change(engine, f"set local role textmill_operator; {statement}")


def test_source_url_stays_out_of_the_database(
    engine: sa.Engine, shop_settings: SweepSettings, shop_url: str
) -> None:
    """Without it, anyone who sees sweeps sees the password of the shop."""
    add(engine, definition(), shop_settings, None)

    password = sa.make_url(shop_url).password
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("select * from textmill.sweep").all()
    assert password
    assert password not in str(rows)


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_lies_above_where_a_sweep_begins(
    shop: sa.Engine, open_shop: OpenShop, kind: str
) -> None:
    """Without it, the first run of a sweep leaves rows out."""
    value = {"text": "'a'", "uuid": "gen_random_uuid()"}.get(
        kind, "now()" if kind in ("timestamp", "timestamptz") else "-5"
    )
    change(shop, f"create table things as select 1 as id, 'x' as text, {value}::{kind} as mark")
    source = open_shop("select * from things where mark > :watermark", "mark")

    lowest = source.watermark_type().lowest
    highest = source.highest(lowest)

    assert highest is not None
    assert len(list(source.rows(lowest, highest))) == 1
    assert source.highest(highest) is None


@pytest.mark.parametrize(
    ("kind", "thirds"), [("double precision", [1 / 3, 2 / 3]), ("real", [0.33333334, 0.6666667])]
)
def test_every_digit_of_a_number_counts_whatever_the_source_writes(
    shop: sa.Engine, shop_url: str, open_shop: OpenShop, kind: str, thirds: list[float]
) -> None:
    """Without it, a run ends below the highest row, or above one that comes later."""
    change(
        shop,
        f"alter database {sa.make_url(shop_url).database} set extra_float_digits = 0;"
        f"create table things as select id, 'x' as text, (id / 3.0)::{kind} as third,"
        " id / 3.0::float8 as mark from generate_series(1, 2) as id",
    )
    source = open_shop("select * from things where mark > :watermark", "mark")

    lowest = source.watermark_type().lowest
    highest = source.highest(lowest)

    assert highest is not None
    assert float(highest) == 2 / 3
    rows = list(source.rows(lowest, highest))
    assert [row["third"] for row in rows] == thirds
    assert source.highest(highest) is None


@pytest.mark.parametrize("kind", ["numeric", "double precision", "timestamptz"])
def test_infinite_values_do_not_end_a_sweep(
    shop: sa.Engine, open_shop: OpenShop, kind: str
) -> None:
    """Without it, one row that is valid for ever makes a sweep leave out all later rows."""
    finite = "now()" if kind == "timestamptz" else "5"
    change(
        shop,
        f"create table things as select 1 as id, 'x' as text, 'infinity'::{kind} as mark"
        f" union all select 2, 'y', {finite}",
    )
    source = open_shop("select * from things where mark > :watermark", "mark")

    lowest = source.watermark_type().lowest
    highest = source.highest(lowest)

    assert highest is not None
    assert [row["id"] for row in source.rows(lowest, highest)] == [2]


def test_values_that_python_has_no_form_for_are_read_as_text(
    shop: sa.Engine, open_shop: OpenShop
) -> None:
    """Without it, one row with such a value stops a sweep for good."""
    change(
        shop,
        "create table things as select 1 as id, 'x' as text, 'infinity'::timestamptz as until,"
        " '0044-03-15 BC'::date as ides, array['12000-01-01'::date] as days,"
        " array[1.5::numeric] as prices,"
        " array['00000000-0000-0000-0000-000000000001'::uuid] as keys",
    )
    source = open_shop("select * from things where id > :watermark", "id")

    [row] = source.rows(source.watermark_type().lowest, "1")

    assert row == {
        "id": 1,
        "text": "x",
        "until": "infinity",
        "ides": "0044-03-15 BC",
        "days": ["12000-01-01"],
        "prices": ["1.5"],
        "keys": ["00000000-0000-0000-0000-000000000001"],
    }


def test_source_that_is_away_is_no_mistake_of_the_user(shop_url: str) -> None:
    """Without it, a script takes a restart of the source for a wrong command and gives up."""
    url = sa.make_url(shop_url)
    away = create_engine(_text(url.set(port=1)), application="test")
    refusing = create_engine(_text(url.set(username="stranger")), application="test")

    with pytest.raises(SourceAwayError, match=r"^the source 'shop' says: ") as answer:
        Source(away, "shop", 10, QUERY, "id").watermark_type()
    with pytest.raises(SourceError, match="password authentication failed") as refusal:
        Source(refusing, "shop", 10, QUERY, "id").watermark_type()

    assert (exit_code(answer.value), exit_code(refusal.value)) == (3, 2)


def _text(url: sa.URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("expression", "condition"),
    [
        ("body::numeric", "22P02 invalid_text_representation"),
        ("refuse(body)", "P0001 raise_exception"),
    ],
)
def test_error_that_quotes_a_row_is_told_without_it(
    shop: sa.Engine, open_shop: OpenShop, expression: str, condition: str
) -> None:
    """Without it, readers of logs and of the views see texts of the shop."""
    change(
        shop,
        "create function refuse(body text) returns text language plpgsql as"
        " $$ begin raise exception 'odd: %', body; end $$",
    )
    write(shop, 1)
    source = open_shop(QUERY.replace("shop", f"{expression} as price", 1), "id")

    with pytest.raises(SourceError, match=f"^the source 'shop' says: {condition}; ") as raised:
        list(source.rows("0", "1"))

    assert "post 1" not in "".join(traceback.format_exception(raised.value))
