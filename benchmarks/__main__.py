"""`python -m benchmarks NAME [--documents N] [--json]`."""

import argparse
import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from schema.errors import TextmillError
from worker.devices import KEEP_MEMORY

if TYPE_CHECKING:
    from benchmarks.report import Report

NAMES = ("throughput", "peers", "kernel", "submit", "latency", "growth", "scale", "gpu")


def main() -> None:
    """Measure, print and save the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--documents", type=int, help="instead of the measurement's own number")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
    if not KEEP_MEMORY.keys() <= os.environ.keys():
        # glibc reads them when a process starts; all sides get the same values as a worker.
        again = [sys.executable, "-m", "benchmarks", *sys.argv[1:]]
        os.execve(sys.executable, again, os.environ | KEEP_MEMORY)  # noqa: S606
    try:
        report: Report = import_module(f"benchmarks.{arguments.name}").measure(arguments.documents)
    except TextmillError as error:
        sys.exit(f"benchmarks: {error}")
    report.save()
    for name, value in (report.ratios | report.figures).items():
        print(f"{name}: {value:g} (target {report.target.get(name, 'none')})")
    if arguments.json:
        print(json.dumps(report.as_json()))


if __name__ == "__main__":
    main()
