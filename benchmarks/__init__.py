"""Measurements: `python -m benchmarks NAME` gives ratios within one run.

`python -m benchmarks.views` and `python -m benchmarks.cells` are separate commands.
"""

from typing import Final

from schema.documents import Task

TASK: Final = Task.SENTIMENT
"""What all measurements analyse."""
