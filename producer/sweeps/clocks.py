"""Shorten the waits of runs that became too long because the clock of Postgres was set back."""

from datetime import timedelta

import sqlalchemy as sa

from producer.sweeps.runs import RETRY_AFTER

LONGEST_LEASE = timedelta(hours=1)
"""More than the lease of another dispatcher, which may be longer than ours, since settings may
differ: a shorter bound would take runs away from dispatchers with long leases."""


def shorten_waits(engine: sa.Engine, lease: timedelta) -> None:
    """Let a run that waits too long settle from now on, and shorten a lease that is too long.

    Args:
        engine: Textmill's database.
        lease: how long this dispatcher's leases last.
    """
    with engine.begin() as connection:
        connection.execute(
            sa.text("""
                update textmill.sweep_run r set
                    started_at = least(r.started_at, now()),
                    ready_at = case when r.ready_at > now() + s.settle + :retry
                        then now() + s.settle else r.ready_at end,
                    lease_expires_at = case when r.lease_expires_at > now() + :longest
                        then now() + :lease else r.lease_expires_at end
                from textmill.sweep s
                where s.sweep_id = r.sweep_id and r.state = 'settling'
                    and (r.ready_at > now() + s.settle + :retry
                        or r.lease_expires_at > now() + :longest)
            """),
            {"retry": RETRY_AFTER, "lease": lease, "longest": max(lease, LONGEST_LEASE)},
        )
