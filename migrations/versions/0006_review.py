"""Withdrawing a verdict, an index by annotator, and erasing a document."""

from importlib.resources import files

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create them."""
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    for part in ("review", "erasing"):
        sql = folder.joinpath(f"0006_{part}.sql").read_text(encoding="utf-8")
        connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Drop them."""
    op.get_bind().exec_driver_sql("""
        drop function textmill.withdraw_feedback(bigint, text),
            textmill.withdrawable(textmill.feedback),
            textmill.erase_document(uuid, text), textmill.end_reader(uuid, bigint);
        drop index textmill.feedback_by_annotator;
    """)
