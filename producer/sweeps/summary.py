"""What a run found, compared with what its sweep usually finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt

RUNS_COMPARED = 14
"""Earlier runs that make up the usual rate."""

RUNS_NEEDED = 3
"""Fewest earlier runs from which a usual rate can be told."""

DEVIATIONS = 3
"""Standard deviations, for the number of rows that the run swept, above which a rate is unusual."""

FACTOR = 1.5
"""The larger of the rate and the usual rate must also be more than this many times the other."""

FAILURES = 0.1
"""Share of failed documents above which somebody should look."""


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What a run counted.

    Attributes:
        swept: rows that became documents.
        flagged: documents that were flagged.
        labels: documents that were flagged with each label.
        failed: documents that failed.
        unfinished: documents that were cancelled because the job was given up.
    """

    swept: int
    flagged: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    failed: int = 0
    unfinished: int = 0


def usual_rate(earlier: Sequence[RunCounts]) -> float | None:
    """Share of flagged documents over earlier runs; None if there were too few runs."""
    swept = sum(counts.swept for counts in earlier)
    return sum(counts.flagged for counts in earlier) / swept if _known(earlier) else None


def alert(run: RunCounts, earlier: Sequence[RunCounts]) -> str | None:
    """What somebody should look at, or None.

    Args:
        run: the run.
        earlier: the runs before it that swept anything, at most `RUNS_COMPARED`.
    """
    reasons = []
    if run.unfinished:
        reasons.append(f"{run.unfinished:,} of {run.swept:,} documents were given up")
    if run.failed > FAILURES * run.swept:
        reasons.append(f"{run.failed:,} of {run.swept:,} documents failed")
    if _known(earlier):
        reasons += _unusual(run, earlier)
    return "; ".join(reasons) or None


def _known(earlier: Sequence[RunCounts]) -> bool:
    return len(earlier) >= RUNS_NEEDED and sum(counts.swept for counts in earlier) > 0


def _unusual(run: RunCounts, earlier: Sequence[RunCounts]) -> list[str]:
    swept = sum(counts.swept for counts in earlier)
    if run.swept == 0:
        return [f"no rows, usually {swept // len(earlier):,}"]
    reasons = []
    before = sum(counts.flagged for counts in earlier)
    if _differs(run.flagged, run.swept, before, swept):
        reasons.append(
            f"flagged {_percent(run.flagged, run.swept)}, usually {_percent(before, swept)}"
        )
    for label, count in sorted(run.labels.items()):
        before = sum(counts.labels.get(label, 0) for counts in earlier)
        if count / run.swept > before / swept and _differs(count, run.swept, before, swept):
            reasons.append(
                f"{label} {_percent(count, run.swept)}, usually {_percent(before, swept)}"
            )
    return reasons


def _differs(count: int, of: int, before: int, of_before: int) -> bool:
    """Whether a share is far from the earlier one, and too far for chance."""
    share, usual = count / of, before / of_before
    smoothed = (before + 1) / (of_before + 2)  # with a share of 0, no difference would be chance
    far = max(share, usual) > FACTOR * min(share, usual)
    return far and abs(share - usual) > DEVIATIONS * sqrt(smoothed * (1 - smoothed) / of)


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.1f} %"
