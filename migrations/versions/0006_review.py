"""Withdrawing a verdict, and an index by annotator."""

from importlib.resources import files

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = files("migrations").joinpath("versions/0006_review.sql").read_text(encoding="utf-8")
    connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Drop them."""
    op.get_bind().exec_driver_sql("""
        drop function textmill.withdraw_feedback(bigint, text),
            textmill.withdrawable(textmill.feedback);
        drop index textmill.feedback_by_annotator;
    """)
