"""The whole schema, with a file of SQL for each subject."""

from importlib.resources import files

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SUBJECTS = (
    "turns",
    "jobs",
    "documents",
    "outcomes",
    "partitions",
    "chunks",
    "workers",
    "dispatch",
    "attempts",
    "control",
    "models",
    "limits",
    "intake",
    "submit",
    "feedback",
    "feedback_views",
    "sweeps",
    "erasing",
)
"""In an order in which each subject comes after those whose tables and functions it needs."""


def upgrade() -> None:
    """Create everything."""
    # Without parameters, the driver takes a whole file of statements as it stands.
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    for subject in SUBJECTS:
        sql = folder.joinpath(f"0001_{subject}.sql").read_text(encoding="utf-8")
        connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Drop everything in the schema, data included; fails if objects of others depend on it."""
    op.get_bind().execution_options(no_parameters=True).exec_driver_sql(_DROP)


_DROP = """
    do $$
    declare
        names text;
    begin
        select string_agg(format('textmill.%I', viewname), ', ') into names
            from pg_views where schemaname = 'textmill';
        execute 'drop view ' || names;
        -- Before the tables whose rows they take or return.
        drop function textmill.withdrawable(textmill.feedback), textmill.latest_promotion(text);
        select string_agg(format('textmill.%I', relname), ', ') into names
            from pg_class
            where relnamespace = 'textmill'::regnamespace and relkind in ('r', 'p')
                and not relispartition and relname <> 'alembic_version';
        execute 'drop table ' || names;
        -- After the tables whose defaults and triggers call them.
        select string_agg(oid::regprocedure::text, ', ') into names
            from pg_proc where pronamespace = 'textmill'::regnamespace;
        execute 'drop function ' || names;
    end
    $$;
"""
