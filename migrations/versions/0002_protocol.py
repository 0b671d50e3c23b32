"""Poison isolation, legal transitions in the database, and job control."""

from importlib.resources import files

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, triggers and functions."""
    # Without parameters, the driver takes a whole file of statements as it stands.
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    for part in ("states", "attempts", "control"):
        sql = folder.joinpath(f"0002_{part}.sql").read_text(encoding="utf-8")
        connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Drop them; no job may be in the middle of its end, no chunk be a suspect at work."""
    connection = op.get_bind()
    for trigger, table in (
        ("job_state", "job"),
        ("job_kept", "job"),
        ("job_deleted", "job"),
        ("chunk_state", "chunk"),
        ("document_changed", "document"),
        ("document_deleted", "document"),
        ("failure_deleted", "failure"),
        ("document_added", "document"),
        ("chunk_added", "chunk"),
        ("failure_added", "failure"),
        ("failure_alone", "failure"),
    ):
        connection.exec_driver_sql(f"drop trigger {trigger} on textmill.{table}")
    for function in (
        "retry(uuid)",
        "has_outcomes(uuid)",
        "resume(uuid)",
        "pause(uuid)",
        "cancel(uuid)",
        "job_state(uuid)",
        "limit_idling()",
        "close_chunks(uuid, integer)",
        "expire_jobs()",
        "end_attempts(text, text)",
        "rescue_chunks()",
        "end_attempt(uuid, integer, integer, text, text, double precision)",
        "halve_chunk(uuid, integer, boolean)",
        "fail_chunk(uuid, integer, text, text)",
        "chunk_work(uuid, bigint, bigint)",
        "check_failure_alone()",
        "check_rows_added()",
        "check_rows_kept()",
        "check_job_kept()",
        "check_job_state()",
        "check_chunk_state()",
        "job_may_become(text, text)",
        "chunk_may_become(text, text)",
    ):
        connection.exec_driver_sql(f"drop function textmill.{function}")
    connection.exec_driver_sql("drop index textmill.job_deadline, textmill.job_unfinished")
    connection.exec_driver_sql("alter table textmill.job drop column expired")
    connection.exec_driver_sql(
        "alter table textmill.chunk drop column alone, drop column suspect, drop column errors"
    )
