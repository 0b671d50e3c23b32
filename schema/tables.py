"""The tables, as SQLAlchemy Core metadata; the migrations create them, a test compares the two.

`document`, `result` and `failure` are partitioned by RANGE (job_id). Job ids are ordered by time,
so a job lies in one partition of each, and retention empties whole partitions. These tables have no
foreign keys: COPY stays fast, and a partition can be emptied without scanning the others.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.columns import listed, metadata, now, one_of
from schema.documents import Lane, Task
from schema.model_tables import model_promotion, model_version, training_run
from schema.outcomes import ErrorCode, Stage
from schema.states import TERMINAL_JOB_STATES, Agreement, ChunkState, JobState
from schema.sweep_tables import sweep, sweep_run

__all__ = [
    "chunk",
    "document",
    "failure",
    "feedback",
    "job",
    "metadata",
    "model_promotion",
    "model_version",
    "result",
    "sweep",
    "sweep_run",
    "training_run",
    "turn",
    "worker",
]

_TERMINAL = listed(TERMINAL_JOB_STATES)

job = sa.Table(
    "job",
    metadata,
    sa.Column("job_id", sa.Uuid, server_default=sa.text("textmill.new_job_id()")),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("name", sa.Text),
    sa.Column("submitted_by", sa.Text, nullable=False, server_default=sa.text("session_user")),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("content_hash", sa.LargeBinary),
    sa.Column("state", sa.Text, nullable=False, server_default=JobState.LOADING),
    sa.Column("options", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("accepted", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("rejected", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("succeeded", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("failed", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("cancelled", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("weight", sa.Integer, nullable=False, server_default=sa.text("1")),
    sa.Column("deadline_at", sa.DateTime(timezone=True)),
    now("created_at"),
    now("loaded_at"),
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("finished_at", sa.DateTime(timezone=True)),
    sa.Column("expired", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.PrimaryKeyConstraint("job_id", name="job_pkey"),
    sa.UniqueConstraint("submitted_by", "idempotency_key", name="job_idempotency_key"),
    sa.CheckConstraint(one_of("task", Task), name="job_task"),
    sa.CheckConstraint(one_of("lane", Lane), name="job_lane"),
    sa.CheckConstraint(one_of("state", JobState), name="job_state"),
    sa.CheckConstraint("char_length(name) between 1 and 200", name="job_name"),
    sa.CheckConstraint(
        "jsonb_typeof(options) = 'object'"
        " and jsonb_typeof(options -> 'explain') = 'boolean'"
        " and jsonb_typeof(options -> 'generate') = 'boolean'"
        " and jsonb_typeof(options -> 'model_version') = 'string'",
        name="job_options",
    ),
    sa.CheckConstraint("weight between 1 and 1000", name="job_weight"),
    sa.CheckConstraint(
        "accepted >= 0 and rejected >= 0 and succeeded >= 0 and cancelled >= 0"
        " and failed >= rejected",
        name="job_counters",
    ),
    sa.CheckConstraint("accepted <= 1000000000000", name="job_accepted"),
    sa.CheckConstraint("succeeded + failed + cancelled <= accepted", name="job_conservation"),
    sa.CheckConstraint(
        f"(state in ({_TERMINAL})) = (finished_at is not null)", name="job_finished"
    ),
    sa.CheckConstraint(
        f"state not in ({_TERMINAL}) or succeeded + failed + cancelled = accepted",
        name="job_finished_whole",
    ),
    sa.CheckConstraint(
        "idempotency_key is null or content_hash is not null", name="job_idempotency"
    ),
    sa.CheckConstraint(
        "deadline_at between '1970-01-01 00:00Z'::timestamptz and '9999-01-01 00:00Z'::timestamptz",
        name="job_deadline_at",
    ),
    sa.CheckConstraint("state = 'cancelling' or expired = (state = 'expired')", name="job_expired"),
    sa.Index("job_created", "created_at"),
    sa.Index("job_unfinished", "submitted_by", postgresql_where=sa.text("finished_at is null")),
    sa.Index(
        "job_deadline",
        "deadline_at",
        postgresql_where=sa.text(
            "state in ('pending', 'running', 'paused') and deadline_at is not null"
        ),
    ),
    sa.Index(
        "job_live",
        "lane",
        "job_id",
        postgresql_where=sa.text("state in ('loading', 'pending', 'running', 'cancelling')"),
    ),
)

chunk = sa.Table(
    "chunk",
    metadata,
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("chunk_no", sa.Integer, nullable=False),
    sa.Column("first_seq", sa.BigInteger, nullable=False),
    sa.Column("last_seq", sa.BigInteger, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default=ChunkState.PENDING),
    sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("crashes", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("not_before", sa.DateTime(timezone=True)),
    sa.Column("dispatched_at", sa.DateTime(timezone=True)),
    sa.Column("taken_at", sa.DateTime(timezone=True)),
    sa.Column("lease_expires_at", sa.DateTime(timezone=True)),
    sa.Column("worker", sa.Text),
    sa.Column("suspect", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("errors", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.PrimaryKeyConstraint("job_id", "chunk_no", name="chunk_pkey"),
    sa.ForeignKeyConstraint(
        ["job_id"], ["textmill.job.job_id"], name="chunk_job", ondelete="CASCADE"
    ),
    sa.CheckConstraint(one_of("state", ChunkState), name="chunk_state"),
    sa.CheckConstraint(
        "chunk_no >= 0 and tokens between 0 and 1000000000000", name="chunk_numbers"
    ),
    sa.CheckConstraint(
        "first_seq between 1 and last_seq and last_seq <= 1000000000000", name="chunk_range"
    ),
    sa.CheckConstraint("attempt >= 0 and crashes between 0 and attempt", name="chunk_attempts"),
    sa.CheckConstraint("(state = 'running') = (lease_expires_at is not null)", name="chunk_lease"),
    sa.CheckConstraint(
        "state not in ('dispatched', 'running') or dispatched_at is not null",
        name="chunk_dispatched",
    ),
    sa.CheckConstraint(
        "state <> 'running' or (attempt > 0 and worker is not null)", name="chunk_claimed"
    ),
    sa.CheckConstraint("errors between 0 and attempt", name="chunk_errors"),
    sa.Index("chunk_pending", "job_id", "chunk_no", postgresql_where=sa.text("state = 'pending'")),
    sa.Index(
        "chunk_under_way",
        "job_id",
        postgresql_include=["tokens"],
        postgresql_where=sa.text("state in ('dispatched', 'running')"),
    ),
)

document = sa.Table(
    "document",
    metadata,
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("external_id", sa.Text),
    sa.Column("text", sa.Text),
    sa.Column("metadata", pg.JSONB),
    sa.Column("line", sa.BigInteger),
    sa.PrimaryKeyConstraint("job_id", "seq", name="document_pkey"),
    sa.CheckConstraint("seq >= 1", name="document_seq"),
    sa.Index("document_external_id", "job_id", "external_id"),
    postgresql_partition_by="RANGE (job_id)",
)

result = sa.Table(
    "result",
    metadata,
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("label", sa.Text),
    sa.Column("score", sa.REAL),
    sa.Column("payload", pg.JSONB, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    now("created_at"),
    sa.PrimaryKeyConstraint("job_id", "seq", name="result_pkey"),
    sa.CheckConstraint("score between 0 and 1", name="result_score"),
    sa.CheckConstraint("attempt >= 1", name="result_attempt"),
    sa.Index("result_label", "job_id", "label", "score", "seq"),
    sa.Index(
        "result_flagged",
        "job_id",
        "score",
        "seq",
        postgresql_where=sa.text("(payload ->> 'flagged')::boolean"),
    ),
    postgresql_partition_by="RANGE (job_id)",
)

failure = sa.Table(
    "failure",
    metadata,
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    now("created_at"),
    sa.PrimaryKeyConstraint("job_id", "seq", name="failure_pkey"),
    sa.CheckConstraint(one_of("stage", Stage), name="failure_stage"),
    sa.CheckConstraint("(stage = 'intake') = (attempt = 0)", name="failure_attempt"),
    sa.CheckConstraint(one_of("code", ErrorCode), name="failure_code"),
    postgresql_partition_by="RANGE (job_id)",
)

worker = sa.Table(
    "worker",
    metadata,
    sa.Column("worker", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("tasks", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("threads", sa.Integer, nullable=False),
    now("started_at"),
    now("heartbeat_at"),
    sa.Column("documents", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("documents_per_second", sa.REAL, nullable=False, server_default=sa.text("0")),
    sa.Column("models", pg.JSONB, nullable=False, server_default=sa.text("'{}'::jsonb")),
    sa.Column("model_error", sa.Text),
    sa.PrimaryKeyConstraint("worker", name="worker_pkey"),
    sa.CheckConstraint("threads >= 2", name="worker_threads"),
    sa.CheckConstraint("documents >= 0 and documents_per_second >= 0", name="worker_documents"),
)

turn = sa.Table(
    "turn",
    metadata,
    sa.Column("name", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("name", name="turn_pkey"),
    sa.CheckConstraint(
        "name in ('dispatch', 'partitions', 'pending', 'promotion')", name="turn_name"
    ),
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("feedback_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("job_id", sa.Uuid, nullable=False),
    sa.Column("external_id", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("labels", pg.ARRAY(sa.Text)),
    sa.Column("keywords", pg.ARRAY(sa.Text)),
    sa.Column("comment", sa.Text),
    sa.Column("annotator", sa.Text, nullable=False, server_default=sa.text("session_user")),
    now("created_at"),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("payload", pg.JSONB, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("given_by", sa.Text, nullable=False, server_default=sa.text("session_user")),
    sa.Column("adjudicates", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("given", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("answer", pg.ARRAY(sa.Text), nullable=False),
    sa.PrimaryKeyConstraint("feedback_id", name="feedback_pkey"),
    sa.UniqueConstraint("job_id", "seq", "annotator", "adjudicates", name="feedback_once"),
    sa.Index(
        "feedback_adjudicated",
        "job_id",
        "seq",
        unique=True,
        postgresql_where=sa.text("adjudicates"),
    ),
    sa.Index("feedback_by_annotator", "annotator", "feedback_id"),
    sa.CheckConstraint(one_of("verdict", Agreement), name="feedback_verdict"),
    sa.CheckConstraint(one_of("task", Task), name="feedback_task"),
    sa.CheckConstraint(
        f"num_nonnulls(labels, keywords) = case verdict when '{Agreement.AGREE}' then 0 else 1 end",
        name="feedback_correction",
    ),
    sa.CheckConstraint("char_length(annotator) between 1 and 200", name="feedback_annotator"),
)
