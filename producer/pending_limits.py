"""The limits on pending documents: enforced, and what they leave to a submitter."""

import sqlalchemy as sa

from schema.errors import PendingLimitError
from schema.settings import IntakeSettings

_PER_SUBMITTER = "TEXTMILL_MAX_PENDING_PER_SUBMITTER"


def check_pending(
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
    pending = _pending(connection, submitter)
    _enforce(pending.everybody, adding, limits.max_pending, "TEXTMILL_MAX_PENDING")
    _enforce(pending.own, adding, limits.max_pending_per_submitter, _PER_SUBMITTER)


def allowance(connection: sa.Connection, submitter: str, limits: IntakeSettings) -> tuple[int, str]:
    """How many documents a submitter may submit in one job at this moment.

    Args:
        connection: of a short transaction; other submits wait until it ends.
        submitter: the job's submitter.
        limits: the limits.

    Returns:
        The number, and the setting that limits it.

    Raises:
        PendingLimitError: it may submit none.
    """
    allowed = [(limits.max_job_documents, "TEXTMILL_MAX_JOB_DOCUMENTS")]
    if limits.max_pending is not None or limits.max_pending_per_submitter is not None:
        pending = _pending(connection, submitter)
        allowed += [
            (limit - used, setting)
            for limit, used, setting in (
                (limits.max_pending, pending.everybody, "TEXTMILL_MAX_PENDING"),
                (limits.max_pending_per_submitter, pending.own, _PER_SUBMITTER),
            )
            if limit is not None
        ]
    most, setting = min(allowed)
    if most <= 0:
        msg = f"as many documents are pending as {setting} allows; submit again when fewer are"
        raise PendingLimitError(msg)
    return most, setting


def highest_allowance(limits: IntakeSettings) -> int:
    """How many documents a job may have if nothing else is pending."""
    all_limits = (
        limits.max_job_documents,
        limits.max_pending,
        limits.max_pending_per_submitter,
    )
    return min(limit for limit in all_limits if limit is not None)


def _pending(connection: sa.Connection, submitter: str) -> sa.Row[tuple[int, int]]:
    return connection.execute(
        sa.text("select everybody, own from textmill.pending_documents(:submitter)"),
        {"submitter": submitter},
    ).one()


def _enforce(pending: int, adding: int, limit: int | None, setting: str) -> None:
    if limit is None or pending <= limit:
        return
    others = max(0, pending - adding)
    msg = (
        f"{others:,} documents are pending and {setting} allows {limit:,}, so that {adding:,} more"
        " were refused; submit again when fewer wait, or raise it"
    )
    raise PendingLimitError(msg)
