"""Moderation jobs, by schedule, over rows that are new since the last time."""

from producer.sweeps.runner import Sweeper

__all__ = ["Sweeper"]
