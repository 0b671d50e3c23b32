"""Feedback that disagrees names another answer; errors name the document and the remedy."""

from importlib.resources import files

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the functions."""
    _run("0007_feedback.sql")


def downgrade() -> None:
    """Put those of the third migration back."""
    _run("0003_feedback.sql")


def _run(name: str) -> None:
    # Without parameters, the driver takes a whole file of statements as it stands.
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = files("migrations").joinpath("versions", name).read_text(encoding="utf-8")
    connection.exec_driver_sql(sql.replace("create function", "create or replace function"))
