"""`python -m benchmarks NAME [--documents N] [--json]`."""

import argparse
import json
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from schema.errors import TextmillError

if TYPE_CHECKING:
    from benchmarks.report import Report

NAMES = ("throughput", "peers", "kernel", "submit", "latency", "growth", "scale", "gpu")


def main() -> None:
    """Measure, print, keep the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--documents", type=int, help="instead of the measurement's own number")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    arguments = parser.parse_args()
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
