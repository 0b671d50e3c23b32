"""Models, their promotions, and the trainings on feedback that make them."""

from importlib.resources import files

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables, functions and views."""
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    for part in ("models", "views"):
        sql = folder.joinpath(f"0005_{part}.sql").read_text(encoding="utf-8")
        connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Take it all back; models that were promoted no longer serve."""
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    connection.exec_driver_sql("""
        drop view textmill.model_status, textmill.training_status, textmill.promotion_history,
            textmill.promoted_model, textmill.worker_status;
        drop function textmill.promote_model(text, text, bigint), textmill.rollback_model(text),
            textmill.latest_promotion(text);
        drop table textmill.model_promotion, textmill.model_version, textmill.training_run;
        alter table textmill.worker drop column models, drop column model_error;
    """)
    views = folder.joinpath("0003_views.sql").read_text(encoding="utf-8")
    connection.exec_driver_sql(_between(views, "worker_status", "queue_status"))
    connection.exec_driver_sql("drop function textmill.check_model(text, text)")


def _between(sql: str, name: str, following: str) -> str:
    """A file's statements from those that make view `name` up to those that make `following`."""
    begin = sql.index(f"create view textmill.{name}")
    return sql[begin : sql.index(f"create view textmill.{following}")]
