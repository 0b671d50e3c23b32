"""What a measurement found, as a line, a JSON file and a picture."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
REPEATS = 4
"""An even number, so that half of the rounds run backwards."""
PACKAGES = ("celery", "numpy", "psycopg", "redis", "tokenizers", "torch")

Side = Callable[[], float]


@dataclass(frozen=True)
class Report:
    """The outcome of a measurement.

    Attributes:
        name: the measurement's name.
        ratios: one side divided by another, by the name of the pair.
        target: what each ratio or figure should reach, e.g. `>= 0.9` or `<= 5`.
        figures: values that are not ratios, by name.
        runs: every value of every side, in the order taken.
        unit: the unit of these values.
        notes: what a reader must know.
    """

    name: str
    ratios: dict[str, float]
    target: dict[str, str]
    runs: dict[str, list[float]]
    unit: str
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def met(self) -> bool:
        """Whether every target is reached."""
        found = self.ratios | self.figures
        return all(_reaches(found[name], target) for name, target in self.target.items())

    def as_json(self) -> dict[str, Any]:
        """The whole report, for programs."""
        first = next(iter(self.ratios.values()), None)
        spread = {
            side: {"median": statistics.median(values), "low": min(values), "high": max(values)}
            for side, values in self.runs.items()
            if values
        }
        return {
            **asdict(self),
            "ratio": first,
            "met": self.met,
            "spread": spread,
            "machine": _machine(),
            "versions": {name: version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
        }

    def save(self) -> None:
        """Write `results/NAME.json` and `results/NAME.png`."""
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(self.as_json(), indent=2)
        (RESULTS / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")
        _draw(self, RESULTS / f"{self.name}.png")


def alternately(sides: Mapping[str, Side], repeats: int = REPEATS) -> dict[str, list[float]]:
    """Take each side's value in turn, so that a disturbance of the machine affects all of them.

    Every second round runs backwards: over an even number of rounds, a machine that becomes slower
    or faster favours no side.
    """
    runs: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            runs[name].append(round(sides[name](), 4))
            print(f"{name}: {runs[name][-1]:,.4g}", flush=True)
    return runs


def median_ratio(above: Iterable[float], below: Iterable[float]) -> float:
    """The median over the repeats of one side's value divided by the other's in that repeat."""
    return round(statistics.median(a / b for a, b in zip(above, below, strict=True)), 3)


def _machine() -> dict[str, Any]:
    """The machine that the measurement ran on."""
    cpu = Path("/proc/cpuinfo")
    names = [
        line.split(":")[1].strip() for line in cpu.read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(names) or os.cpu_count(),
        "system": platform.platform(terse=True),
        "load": round(os.getloadavg()[0], 2),
    }


def _reaches(value: float, target: str) -> bool:
    comparison, bound = target.split()
    return value >= float(bound) if comparison == ">=" else value <= float(bound)


def _draw(report: Report, path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415  # of the extra `bench`

    figure = Figure(figsize=(7, 0.6 + 0.5 * len(report.runs)), layout="constrained")
    axes = figure.subplots()
    names = list(report.runs)
    middles = [statistics.median(report.runs[name]) for name in names]
    axes.barh(names, middles, color="#4c78a8", height=0.6)
    for place, name in enumerate(names):
        axes.plot(report.runs[name], [place] * len(report.runs[name]), "k|", markersize=10)
    axes.invert_yaxis()
    axes.set_xlabel(f"{report.unit} (bar: median; marks: every run)")
    axes.set_title(report.name)
    figure.savefig(path, dpi=110)
