"""Scheduled moderation jobs over rows that are new since the last run."""

from producer.sweeps.runner import Sweeper

__all__ = ["Sweeper"]
