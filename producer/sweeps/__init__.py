"""Scheduled moderation jobs over rows that are new since the last run.

Operators write sweeps (`definitions`) and read their runs (`listing`). In dispatch, `runner` calls
all others: `beginning` inserts a run when `schedule` says so, `runs` claims it and stores what came
of it, `source` reads its rows (with `watermarks` and `row_values`), and `counting` ends it with its
`summary` once its job has ended. Data pass from one to the next in `textmill.sweep_run` and in the
claim; `source` knows nothing of runs.
"""

from producer.sweeps.runner import Sweeper

__all__ = ["Sweeper"]
