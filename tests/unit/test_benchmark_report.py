"""Measuring two sides in turn."""

import pytest

from benchmarks.report import REPEATS, alternately, median_ratio


def test_machine_that_slows_down_favours_no_side() -> None:
    """Without it the ratio would depend on which side is measured last."""
    speed = 100.0

    def side(share: float) -> float:
        nonlocal speed
        speed *= 0.95
        return share * speed

    runs = alternately({"ours": lambda: side(0.8), "theirs": lambda: side(1.0)})

    assert len(runs["ours"]) == REPEATS
    assert median_ratio(runs["ours"], runs["theirs"]) == pytest.approx(0.8, abs=0.002)
