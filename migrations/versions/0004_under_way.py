"""An index over the chunks under way, for dispatch."""

from importlib.resources import files

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create it."""
    connection = op.get_bind().execution_options(no_parameters=True)
    sql = files("migrations").joinpath("versions/0004_under_way.sql").read_text(encoding="utf-8")
    connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Drop it."""
    op.get_bind().exec_driver_sql("drop index textmill.chunk_under_way")
