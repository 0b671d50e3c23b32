"""The tables of sweeps and of their runs."""

from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from schema.columns import metadata, now, one_of
from schema.states import SWEEP_RUN_TRANSITIONS, SweepRunState

_ENDED = [state for state, following in SWEEP_RUN_TRANSITIONS.items() if not following]
_OPEN = [state for state in SweepRunState if state not in _ENDED]


class WatermarkKind(StrEnum):
    """What the values of a watermark are; those of one kind are ordered and written alike."""

    NUMBER = "number"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    TIMESTAMPTZ = "timestamptz"
    UUID = "uuid"


sweep = sa.Table(
    "sweep",
    metadata,
    sa.Column("sweep_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("cron", sa.Text, nullable=False),
    sa.Column("timezone", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("query", sa.Text, nullable=False),
    sa.Column("watermark_column", sa.Text, nullable=False),
    sa.Column("watermark_kind", sa.Text, nullable=False),
    sa.Column("watermark", sa.Text, nullable=False),
    sa.Column("settle", pg.INTERVAL, nullable=False, server_default=sa.text("'0'::interval")),
    sa.Column("deadline", pg.INTERVAL),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.text("false")),
    sa.Column("next_run_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("schedule_error", sa.Text),
    sa.Column("created_by", sa.Text, nullable=False, server_default=sa.text("session_user")),
    now("created_at"),
    sa.PrimaryKeyConstraint("sweep_id", name="sweep_pkey"),
    sa.UniqueConstraint("name", name="sweep_name"),
    sa.CheckConstraint(one_of("watermark_kind", WatermarkKind), name="sweep_watermark_kind"),
    sa.CheckConstraint(
        "settle between '0'::interval and '999999 days'::interval", name="sweep_settle"
    ),
    sa.CheckConstraint(
        "deadline > settle and deadline <= '999999 days'::interval", name="sweep_deadline"
    ),
    sa.CheckConstraint(
        "next_run_at between '1970-01-01 00:00Z'::timestamptz and '9999-01-01 00:00Z'::timestamptz",
        name="sweep_next_run",
    ),
)

sweep_run = sa.Table(
    "sweep_run",
    metadata,
    sa.Column("run_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("sweep_id", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default=SweepRunState.SETTLING),
    sa.Column("scheduled_for", sa.DateTime(timezone=True), nullable=False),
    now("started_at"),
    now("ready_at"),
    sa.Column("from_watermark", sa.Text, nullable=False),
    sa.Column("to_watermark", sa.Text),
    sa.Column("definition", sa.LargeBinary),
    sa.Column("attempt", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("errors", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("lease_expires_at", sa.DateTime(timezone=True)),
    sa.Column("job_id", sa.Uuid),
    sa.Column("finished_at", sa.DateTime(timezone=True)),
    sa.Column("swept", sa.BigInteger),
    sa.Column("flagged", sa.BigInteger),
    sa.Column("labels", pg.JSONB),
    sa.Column("usual_rate", sa.Double),
    sa.Column("alert", sa.Text),
    sa.Column("error", sa.Text),
    sa.PrimaryKeyConstraint("run_id", name="sweep_run_pkey"),
    sa.ForeignKeyConstraint(
        ["sweep_id"], ["textmill.sweep.sweep_id"], name="sweep_run_sweep", ondelete="CASCADE"
    ),
    sa.CheckConstraint(one_of("state", SweepRunState), name="sweep_run_state"),
    sa.CheckConstraint(
        f"({one_of('state', _ENDED)}) = (finished_at is not null)", name="sweep_run_finished"
    ),
    sa.CheckConstraint(
        f"state <> '{SweepRunState.RUNNING}' or job_id is not null", name="sweep_run_job"
    ),
    sa.CheckConstraint(
        f"state <> '{SweepRunState.SETTLING}' or to_watermark is null or definition is not null",
        name="sweep_run_definition",
    ),
    sa.CheckConstraint("errors between 0 and attempt", name="sweep_run_errors"),
    sa.CheckConstraint("flagged between 0 and swept", name="sweep_run_counts"),
    sa.Index(
        "sweep_run_open",
        "sweep_id",
        unique=True,
        postgresql_where=sa.text(one_of("state", _OPEN)),
    ),
    sa.Index("sweep_run_latest", "sweep_id", "run_id"),
)
