"""The migrations make what `schema/tables.py` describes."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from migrations import upgrade
from schema.database import MIGRATION, create_engine
from schema.states import CHUNK_TRANSITIONS, JOB_TRANSITIONS, ChunkState, JobState
from schema.tables import metadata
from tests.fixtures.commands import invoke
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.waiting import until

CONSTRAINTS = """
    select c.conname, c.conrelid::regclass::text, pg_get_constraintdef(c.oid)
    from pg_constraint c join pg_class t on t.oid = c.conrelid
    where c.connamespace = 'textmill'::regnamespace and not t.relispartition and c.contype <> 'n'
        and t.relname <> 'alembic_version'
    order by 2, 1
"""
COLUMNS = """
    select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        a.attidentity, pg_get_expr(d.adbin, d.adrelid)
    from pg_attribute a join pg_class c on c.oid = a.attrelid
    left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
    where c.relnamespace = 'textmill'::regnamespace and c.relkind in ('r', 'p')
        and not c.relispartition and a.attnum > 0 and not a.attisdropped
        and c.relname <> 'alembic_version'
    order by 1, 2
"""
FUNCTIONS = """
    select oid::regprocedure::text, pg_get_functiondef(oid) from pg_proc
    where pronamespace = 'textmill'::regnamespace order by 1
"""
TRIGGERS = """
    select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) from pg_trigger
    where not tgisinternal order by 1, 2
"""
VIEWS = """
    select relname, pg_get_viewdef(oid), obj_description(oid) from pg_class
    where relnamespace = 'textmill'::regnamespace and relkind = 'v' order by 1
"""
INDEXES = """
    select indexname, indexdef from pg_indexes
    where schemaname = 'textmill' and tablename !~ '_[0-9]{6}$' and tablename <> 'alembic_version'
    order by 1
"""
EVERYTHING = (CONSTRAINTS, COLUMNS, INDEXES, FUNCTIONS, TRIGGERS, VIEWS)


def test_migrated_tables_equal_the_declared_ones(engine: sa.Engine) -> None:
    """Without it, code and database drift apart unseen."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        migrated = [connection.exec_driver_sql(q).all() for q in (CONSTRAINTS, COLUMNS, INDEXES)]

    with engine.begin() as connection:
        connection.exec_driver_sql("alter schema textmill rename to migrated")
        connection.exec_driver_sql("create schema textmill")
        connection.exec_driver_sql("alter function migrated.new_job_id() set schema textmill")
        metadata.create_all(connection)
        declared = [connection.exec_driver_sql(q).all() for q in (CONSTRAINTS, COLUMNS, INDEXES)]

    for ours, theirs in zip(declared, migrated, strict=True):
        assert ours == theirs


def test_migration_that_the_tables_name_is_the_head() -> None:
    """Without it, every command would refuse a freshly migrated database."""
    config = Config()
    config.set_main_option("script_location", "migrations")

    assert ScriptDirectory.from_config(config).get_current_head() == MIGRATION


@pytest.mark.parametrize(
    ("function", "table"),
    [("job_may_become", JOB_TRANSITIONS), ("chunk_may_become", CHUNK_TRANSITIONS)],
)
def test_database_allows_the_transitions_of_the_table_and_no_other(
    engine: sa.Engine,
    function: str,
    table: Mapping[JobState, frozenset[JobState]] | Mapping[ChunkState, frozenset[ChunkState]],
) -> None:
    """Without it, what the triggers enforce is not what the code and the guide say."""
    states = [state.value for state in table]
    with engine.connect() as connection:
        allowed = connection.execute(
            sa.text(
                "with state as (select unnest(cast(:states as text[])) as name)"
                " select b.name, a.name from state b cross join state a"
                f" where textmill.{function}(b.name, a.name)"
            ),
            {"states": states},
        ).all()

    assert {tuple(pair) for pair in allowed} == {
        (one.value, other.value) for one, ways in table.items() for other in ways
    }


def test_migrations_go_down_and_up_again(engine: sa.Engine) -> None:
    """Without it, a downgrade leaves objects that make the next upgrade fail."""
    before = _everything(engine)
    config = Config()
    config.set_main_option("script_location", "migrations")

    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        left = [row for q in EVERYTHING for row in connection.exec_driver_sql(q)]
        command.upgrade(config, "head")
        connection.commit()

    assert not left
    assert _everything(engine) == before


def test_upgrade_of_an_upgraded_database_changes_nothing(engine: sa.Engine) -> None:
    """Without it, a stack could not start twice on its data."""
    before = _everything(engine)

    assert upgrade(engine) is None

    assert _everything(engine) == before


@pytest.fixture
def unprivileged(database: DatabaseUrls, engine: sa.Engine) -> Iterator[sa.Engine]:
    """The database without Textmill, as an owner that may neither create roles nor grant them."""
    owner = f"owner_{uuid4().hex}"
    with engine.begin() as connection:
        connection.exec_driver_sql("drop schema textmill cascade")
        connection.exec_driver_sql(f"create role {owner}")
        name = connection.scalar(sa.text("select current_database()"))
        connection.exec_driver_sql(f"grant create on database {name} to {owner}")
    url = sa.make_url(database.owner).update_query_dict({"options": f"-c role={owner}"})
    unprivileged = create_engine(url.render_as_string(hide_password=False), application="tests")
    yield unprivileged
    unprivileged.dispose()
    with engine.begin() as connection:
        connection.exec_driver_sql(f"drop owned by {owner} cascade")
        connection.exec_driver_sql(f"drop role {owner}")


def test_public_may_run_nothing_before_the_roles_have_their_rights(
    unprivileged: sa.Engine,
) -> None:
    """Without it, until rights are granted, every login of the server can do what the owner may."""
    left = upgrade(unprivileged)

    with unprivileged.connect() as connection:
        open_to_all = connection.scalars(
            sa.text(
                "select p.proname from pg_proc p,"
                " aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) as granted"
                " where p.pronamespace = 'textmill'::regnamespace and granted.grantee = 0"
            )
        ).all()
    assert left is not None
    assert "textmill_producer" in left
    assert open_to_all == []


def test_upgrade_by_older_code_is_refused(database: DatabaseUrls, engine: sa.Engine) -> None:
    """Without it, an old image on a newer database ends in a traceback of Alembic."""
    with engine.begin() as connection:
        connection.exec_driver_sql("update textmill.alembic_version set version_num = '9999'")

    ended = invoke(database, "db", "upgrade", TEXTMILL_DATABASE_URL=database.owner)

    assert ended.exit_code == 3
    assert "the database is at migration 9999" in ended.stderr
    assert "update textmill" in ended.stderr


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_database_that_cannot_hold_every_text_is_refused(
    database: DatabaseUrls, engine: sa.Engine, encoding: str
) -> None:
    """Without it, `db upgrade` on a server without a locale ends in a traceback of all its SQL."""
    name = f"encoded_{uuid4().hex}"
    url = sa.make_url(database.owner).set(database=name).render_as_string(hide_password=False)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(
            f"create database {name} encoding '{encoding}' locale 'C' template template0"
        )

        ended = invoke(database, "db", "upgrade", TEXTMILL_DATABASE_URL=url)

        connection.exec_driver_sql(f"drop database {name} with (force)")
    assert ended.exit_code == 2
    assert f"the encoding of the database is {encoding}, and it must be UTF8" in ended.stderr


def test_several_may_upgrade_at_once(database: DatabaseUrls, engine: sa.Engine) -> None:
    """Without it, one of several containers that upgrade on start ends in a traceback."""
    assert engine is not None
    upgrades = [
        subprocess.Popen(
            [sys.executable, "-m", "producer.cli", "db", "upgrade"],
            env=os.environ | {"TEXTMILL_DATABASE_URL": database.owner},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]

    ended = [(upgrade.communicate()[1], upgrade.returncode) for upgrade in upgrades]

    assert [code for _, code in ended] == [0] * 4, ended


def test_two_databases_of_a_server_may_be_upgraded_at_once(engine: sa.Engine) -> None:
    """Without it, one of two upgrades that set limits of the same role ends in a traceback."""
    blocked = sa.text(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and cardinality(pg_blocking_pids(pid)) > 0"
    )

    with ThreadPoolExecutor(1) as pool, engine.connect() as other, engine.connect() as watch:
        watch.execution_options(isolation_level="AUTOCOMMIT")  # so that it sees changes
        other.exec_driver_sql("alter role textmill_reader set statement_timeout = '60s'")
        left = pool.submit(upgrade, engine)
        until(lambda: watch.scalar(blocked) == 1)
        other.commit()

        assert left.result() is None


def _everything(engine: sa.Engine) -> list[Sequence[sa.Row[Any]]]:
    with engine.connect() as connection:
        return [connection.exec_driver_sql(q).all() for q in EVERYTHING]
