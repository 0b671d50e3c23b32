"""Every state that the chunk protocol can reach, for two workers, two chunks, three attempts."""

from collections import Counter

import pytest

from tests.fixtures.protocol_model import OPEN, OVER, Model, World, begin, can_reach, explore


def law(world: World) -> None:
    """What must hold in every state."""
    placed = Counter(
        document for chunk in world.chunks if chunk.state != "split" for document in chunk.documents
    )
    assert set(placed.values()) == {1}, "a document is in one chunk"
    assert all(len(made) <= 1 for made in world.outcomes), "a document has one outcome at most"
    assert ("stolen",) not in world.outcomes, "an attempt is finished by its owner"
    for chunk in world.chunks:
        if chunk.state == "done":
            assert all(world.outcomes[document] for document in chunk.documents)
    if all(world.outcomes):
        assert world.job in (*OVER, "cancelling"), "a job with all outcomes ends"
    if world.job in OVER:
        assert all(world.outcomes), "nothing is lost"
        assert not any(chunk.state in OPEN for chunk in world.chunks)
    for held in world.workers:
        assert len(held) == 1 or not any(attempt.alone for attempt in held), "alone is alone"


def ends(world: World) -> bool:
    return world.job in OVER


TWO = ((0,), (1,))
HALVED = ((0, 1),)


@pytest.mark.parametrize(
    ("chunks", "attempts", "control"),
    [
        pytest.param(TWO, 3, False, id="two chunks, three attempts"),
        pytest.param(TWO, 2, True, id="two chunks under control"),
        pytest.param(HALVED, 2, True, id="one that can be halved"),
        pytest.param(
            TWO,
            3,
            True,
            id="two chunks, three attempts, under control",
            marks=[pytest.mark.slow, pytest.mark.timeout(1200)],
        ),
    ],
)
def test_laws_hold_in_every_state(
    chunks: tuple[tuple[int, ...], ...], attempts: int, *, control: bool
) -> None:
    """Without it, an interleaving that no test meets loses a document or processes it twice."""
    model = Model(attempts=attempts, killers=None, lapses=True, control=control)

    ways = explore(model, begin(*chunks, workers=2), law)

    assert any(world.job == "completed" for world in ways)
    if control:  # otherwise worlds that used up the search's attempts are cut off
        assert can_reach(ways, {world for world in ways if ends(world)}) == set(ways)


class _LooksOnce(Model):
    """Claims without checking again whether the job may still run."""

    def start(self, world: World) -> World | None:
        """Start the job if it is pending, and keep the claim in any case."""
        return super().start(world) or world


def test_claim_that_ignores_a_pause_is_found() -> None:
    """Without it, the model accepts a protocol that can leave a job pending with all outcomes."""
    model = _LooksOnce(attempts=1, killers=None, lapses=False, control=True)

    with pytest.raises(AssertionError, match="all outcomes"):
        explore(model, begin((0,), workers=1), law)


@pytest.mark.parametrize("crashes", [1, 3])
def test_only_the_killer_fails_and_every_job_can_end(crashes: int) -> None:
    """Without it, an innocent chunk fails for its neighbour, or a killer is retried for ever."""
    killers = frozenset({0})
    model = Model(attempts=4, killers=killers, lapses=False, control=False, crashes=crashes)

    def just(world: World) -> None:
        law(world)
        assert "failed" not in world.outcomes[1]
        assert "succeeded" not in world.outcomes[0]

    ways = explore(model, begin((0,), (1,), workers=2), just)

    completed = {world for world in ways if world.job == "completed"}
    assert {world.outcomes for world in completed} == {(("failed",), ("succeeded",))}
    assert can_reach(ways, completed) == set(ways)
