"""Submitting and feedback with SQL alone, sweeps, and the rest of the views."""

from importlib.resources import files

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


VIEWS = (
    "sweep_status",
    "sweep_history",
    "queue_status",
    "worker_status",
    "annotator_agreement",
    "model_quality",
    "gold",
    "feedback_status",
    "moderation_flag",
)
FUNCTIONS = (
    "submit_query(text, text, jsonb)",
    "submit(text, jsonb, jsonb)",
    "has_unique_columns(json)",
    "open_job(uuid)",
    "check_size(bigint)",
    "check_pressure()",
    "pending_documents(text)",
    "cut_chunks(uuid, bigint)",
    "refuse_documents(uuid)",
    "refuse_duplicates(uuid)",
    "same_job(text, bytea)",
    "start_job(text, jsonb, bytea)",
    "json_depth(jsonb)",
    "id_of(anyelement)",
    "known_id(jsonb, bigint)",
    "blanks()",
    "limit_of(text)",
    "add_feedback(uuid, text, text, text[], text[], text, text, boolean)",
    "check_feedback()",
    "labels_of(text)",
    "check_sweep_source()",
    "is_alive(timestamptz)",
    "annotated_of(text, jsonb)",
    "answer_of(text, text, jsonb, text[], text[])",
)


def upgrade() -> None:
    """Add tables, functions and views."""
    # Without parameters, the driver takes a whole file of statements as it stands.
    connection = op.get_bind().execution_options(no_parameters=True)
    folder = files("migrations").joinpath("versions")
    for part in ("tables", "feedback", "submit", "views"):
        sql = folder.joinpath(f"0003_{part}.sql").read_text(encoding="utf-8")
        connection.exec_driver_sql(sql)


def downgrade() -> None:
    """Take it all back."""
    connection = op.get_bind().execution_options(no_parameters=True)
    for view in VIEWS:
        connection.exec_driver_sql(f"drop view textmill.{view}")
    connection.exec_driver_sql("""
        drop trigger feedback_check on textmill.feedback;
        drop table textmill.sweep_run, textmill.sweep;
        drop index textmill.result_flagged, textmill.result_label;
        alter table textmill.worker drop column documents, drop column documents_per_second,
            drop column models, drop column model_error;
    """)
    for function in FUNCTIONS:
        connection.exec_driver_sql(f"drop function textmill.{function}")
