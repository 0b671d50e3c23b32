"""Measurements: `python -m benchmarks NAME` gives ratios within one run.

`python -m benchmarks.views` and `benchmarks.cells` are commands of their own.
"""
