"""Submitting and feedback with SQL alone, sweeps, and the rest of the views."""

from importlib.resources import files

from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add tables, functions and views."""
    # Without parameters, the driver takes a whole file of statements as it stands.
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    for part in ("tables", "feedback", "submit", "views"):
        sql = folder.joinpath(f"0003_{part}.sql").read_text(encoding="utf-8")
        connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Not supported: the older views and the trigger would have to be written a second time.

    Raises:
        NotImplementedError: always; restore a backup instead.
    """
    msg = "revision 0003 cannot be undone; restore the backup made before the upgrade"
    raise NotImplementedError(msg)
