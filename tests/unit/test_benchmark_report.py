"""How measurements of two sides are taken."""

from benchmarks.report import alternately


def test_no_side_is_always_the_last() -> None:
    """Without it a machine that slows down would tell against the side that comes last."""
    taken: list[str] = []

    def side(name: str) -> float:
        taken.append(name)
        return float(len(taken))

    runs = alternately({"ours": lambda: side("ours"), "theirs": lambda: side("theirs")}, repeats=3)

    assert taken == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert runs == {"ours": [1, 4, 5], "theirs": [2, 3, 6]}
