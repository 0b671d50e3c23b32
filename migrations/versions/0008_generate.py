"""Keywords that do not stand in the text: the option to ask for them, and a column to tell them."""

from importlib.resources import files

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the function that takes options, and the view of keywords."""
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = files("migrations").joinpath("versions/0008_generate.sql").read_text(encoding="utf-8")
    connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Take both back; a view cannot lose a column, so it is made anew."""
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    submit = folder.joinpath("0003_submit.sql").read_text(encoding="utf-8")
    start_job = _between(submit, "create function textmill.start_job", "-- The job that holds")
    connection.exec_driver_sql(start_job.replace("create", "create or replace", 1))
    views = folder.joinpath("0003_views.sql").read_text(encoding="utf-8")
    connection.exec_driver_sql("drop view textmill.keyword_result")
    name = "create or replace view textmill.keyword_result"
    connection.exec_driver_sql(_between(views, name, "create view textmill.moderation_flag"))
    first = folder.joinpath("0001_views.sql").read_text(encoding="utf-8")
    comments = _between(first, "comment on view textmill.keyword_result", "create view")
    connection.exec_driver_sql(comments)


def _between(sql: str, first: str, following: str) -> str:
    """A file's text from `first` up to the next `following`."""
    begin = sql.index(first)
    end = sql.find(following, begin)
    return sql[begin:end] if end >= 0 else sql[begin:]
