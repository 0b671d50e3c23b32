"""What counts as unusual about a run."""

import pytest

from producer.sweeps.summary import RunCounts, alert, usual_rate

USUAL = [RunCounts(1000, 20 + n, {"spam": 15 + n, "abuse": 5}) for n in (-2, -1, 0, 1, 2)]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (RunCounts(1000, 21, {"spam": 16, "abuse": 5}), None),
        (RunCounts(1000, 24, {"spam": 19, "abuse": 5}), None),
        (RunCounts(10, 1, {"spam": 1}), None),
        (
            RunCounts(1000, 80, {"spam": 75, "abuse": 5}),
            "flagged 8.0 %, usually 2.0 %; spam 7.5 %, usually 1.5 %",
        ),
        (RunCounts(1000, 20, {"spam": 20, "fraud": 12}), "fraud 1.2 %, usually 0.0 %"),
        (RunCounts(1000, 2, {"spam": 2}), "flagged 0.2 %, usually 2.0 %"),
        (RunCounts(0), "no rows, usually 1,000"),
        (RunCounts(1000, 20, {"spam": 15}, failed=200), "200 of 1,000 documents failed"),
        (
            RunCounts(1000, 20, {"spam": 15}, unfinished=300),
            "300 of 1,000 documents were given up",
        ),
    ],
)
def test_alert_names_what_is_unusual(run: RunCounts, expected: str | None) -> None:
    """Without it, a wave of spam or a broken model is noticed only when somebody complains."""
    assert alert(run, USUAL) == expected


def test_nothing_is_usual_at_first() -> None:
    """Without it, the second run of every sweep alerts."""
    assert alert(RunCounts(1000, 500, {"spam": 500}), USUAL[:2]) is None
    assert usual_rate(USUAL[:2]) is None
    assert usual_rate(USUAL) == pytest.approx(0.02)
