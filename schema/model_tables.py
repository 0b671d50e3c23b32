"""The tables of model versions, of promotions, and of the training runs that made the models."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.columns import metadata, now, one_of
from schema.documents import Task
from schema.states import TrainingRunState

training_run = sa.Table(
    "training_run",
    metadata,
    sa.Column("run_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("parent", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default=TrainingRunState.RUNNING),
    sa.Column("options", pg.JSONB, nullable=False),
    sa.Column("data_hash", sa.Text, nullable=False),
    sa.Column("trained", sa.Integer, nullable=False),
    sa.Column("held_out", sa.Integer, nullable=False),
    sa.Column("candidate", sa.Text),
    sa.Column("metrics", pg.JSONB),
    sa.Column("better", sa.Boolean),
    sa.Column("promoted", sa.Boolean),
    sa.Column("reason", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("started_by", sa.Text, nullable=False, server_default=sa.text("session_user")),
    now("started_at"),
    sa.Column("finished_at", sa.DateTime(timezone=True)),
    sa.PrimaryKeyConstraint("run_id", name="training_run_pkey"),
    sa.CheckConstraint(one_of("task", Task), name="training_run_task"),
    sa.CheckConstraint(one_of("state", TrainingRunState), name="training_run_state"),
    sa.CheckConstraint("trained >= 0 and held_out >= 0", name="training_run_counts"),
    sa.CheckConstraint(
        f"(state = '{TrainingRunState.RUNNING}') = (finished_at is null)",
        name="training_run_finished",
    ),
    sa.CheckConstraint(
        f"(state = '{TrainingRunState.FINISHED}')"
        " = (num_nonnulls(candidate, metrics, better, promoted, reason) = 5)",
        name="training_run_decided",
    ),
    sa.CheckConstraint(
        f"(state = '{TrainingRunState.FAILED}') = (error is not null)", name="training_run_failed"
    ),
)

model_version = sa.Table(
    "model_version",
    metadata,
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("parent", sa.Text),
    sa.Column("run_id", sa.BigInteger),
    sa.Column("added_by", sa.Text, nullable=False, server_default=sa.text("session_user")),
    now("added_at"),
    sa.PrimaryKeyConstraint("model_version", name="model_version_pkey"),
    sa.UniqueConstraint("task", "model_version", name="model_version_of_task"),
    sa.ForeignKeyConstraint(["run_id"], ["textmill.training_run.run_id"], name="model_version_run"),
    sa.CheckConstraint(one_of("task", Task), name="model_version_task"),
    sa.CheckConstraint("model_version ~ '^[0-9a-f]{16}$'", name="model_version_hash"),
)

model_promotion = sa.Table(
    "model_promotion",
    metadata,
    sa.Column("promotion_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("model_version", sa.Text),
    sa.Column("previous", sa.BigInteger),
    sa.Column("rollback", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("promoted_by", sa.Text, nullable=False, server_default=sa.text("session_user")),
    now("promoted_at"),
    sa.PrimaryKeyConstraint("promotion_id", name="model_promotion_pkey"),
    sa.CheckConstraint(one_of("task", Task), name="model_promotion_task"),
    sa.ForeignKeyConstraint(
        ["task", "model_version"],
        ["textmill.model_version.task", "textmill.model_version.model_version"],
        name="model_promotion_version",
    ),
    sa.ForeignKeyConstraint(
        ["previous"], ["textmill.model_promotion.promotion_id"], name="model_promotion_previous"
    ),
    sa.Index("model_promotion_latest", "task", "promotion_id"),
)
