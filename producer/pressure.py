"""Refuse documents while too many wait."""

import sqlalchemy as sa

from schema.errors import PendingLimitError
from schema.settings import IntakeSettings


def check_pressure(
    connection: sa.Connection, submitter: str, adding: int, limits: IntakeSettings
) -> None:
    """Enforce the limits on pending documents exactly: concurrent submits pass one by one.

    Called right before the commit of a transaction that has counted its documents, since others
    wait from this call until that transaction ends. If no limit is set, nobody waits.

    Args:
        connection: of that transaction.
        submitter: the job's submitter.
        adding: pending documents of the job so far.
        limits: the limits.

    Raises:
        PendingLimitError: a limit would be exceeded.
    """
    if limits.max_pending is None and limits.max_pending_per_submitter is None:
        return
    pending = connection.execute(
        sa.text("select everybody, own from textmill.pending_documents(:submitter)"),
        {"submitter": submitter},
    ).one()
    _hold(pending.everybody, adding, limits.max_pending, "TEXTMILL_MAX_PENDING")
    _hold(
        pending.own, adding, limits.max_pending_per_submitter, "TEXTMILL_MAX_PENDING_PER_SUBMITTER"
    )


def _hold(pending: int, adding: int, limit: int | None, setting: str) -> None:
    if limit is None or pending <= limit:
        return
    others = max(0, pending - adding)
    msg = (
        f"{others:,} documents are pending and {setting} allows {limit:,}, so that {adding:,} more"
        " were refused; submit again when fewer wait, or raise it"
    )
    raise PendingLimitError(msg)
