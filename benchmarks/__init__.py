"""Measurements: `python -m benchmarks NAME` gives ratios within one run.

`python -m benchmarks.views` and `python -m benchmarks.cells` are separate commands.
"""
