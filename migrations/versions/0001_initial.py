"""Jobs, chunks, documents, outcomes, workers and feedback, with the views people read."""

from importlib.resources import files

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    # Without parameters, the driver takes a whole file of statements as it stands.
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    for part in ("tables", "functions", "views"):
        sql = folder.joinpath(f"0001_{part}.sql").read_text(encoding="utf-8")
        connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Drop everything, data included."""
    connection = op.get_bind()
    for view in (
        "keyword_result",
        "moderation_result",
        "sentiment_result",
        "document_status",
        "job_failure_summary",
        "job_status",
    ):
        connection.exec_driver_sql(f"drop view textmill.{view}")
    for table in ("feedback", "turn", "worker", "failure", "result", "document", "chunk", "job"):
        connection.exec_driver_sql(f"drop table textmill.{table}")
    for function in (
        "await_job(uuid)",
        "begin_job(uuid)",
        "count_outcomes(uuid, bigint, bigint)",
        "dispatch_turn()",
        "make_partitions(integer)",
        "needs_read_committed()",
        "new_job_id()",
        "job_id_at(timestamptz)",
    ):
        connection.exec_driver_sql(f"drop function textmill.{function}")
