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
    connection.exec_driver_sql("""
        drop view textmill.model_status, textmill.training_status, textmill.promotion_history,
            textmill.promoted_model;
        drop function textmill.promote_model(text, text, bigint), textmill.rollback_model(text),
            textmill.latest_promotion(text), textmill.check_model(text, text);
        drop table textmill.model_promotion, textmill.model_version, textmill.training_run;
    """)
