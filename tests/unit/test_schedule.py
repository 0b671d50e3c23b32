"""Which of the waiting windows run next."""

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from schema.documents import Lane
from worker.schedule import IN_A_ROW, Schedule
from worker.waiting import Request, Stream

if TYPE_CHECKING:
    from worker.pipeline import Pipeline

BUDGET = 8


@dataclass(frozen=True)
class FakePipeline:
    """A model that is only told apart from others."""

    name: str
    pads: bool = True


FIRST = cast("Pipeline", FakePipeline("first"))
SECOND = cast("Pipeline", FakePipeline("second"))


def schedule() -> Schedule:
    return Schedule({FIRST: BUDGET, SECOND: BUDGET})


def request(*windows: int, lane: Lane = Lane.BULK, pipeline: "Pipeline" = FIRST) -> Request:
    """Windows that fill a micro-batch each, named by their token."""
    ids = [np.full(BUDGET, number, np.int32) for number in windows]
    return Request(Stream(pipeline, lane, generates=False), ids, threading.Event())


def run(plan: Schedule, *, bulk: bool = True) -> list[int]:
    """Take all micro-batches, in order, and answer their windows."""
    order = []
    while (chosen := plan.next(bulk=bulk)) is not None:
        for window in chosen[1]:
            order.append(int(window.ids[0]))
            window.answer(np.zeros(1, np.float32))
        plan.drop_answered()
    return order


def test_interactive_windows_do_not_starve_bulk() -> None:
    """Without it a stream of small requests stops the nightly load."""
    plan = schedule()
    plan.add(request(1, 2))
    plan.add(request(*range(100, 110), lane=Lane.INTERACTIVE))

    order = run(plan)

    bulk = [place for place, number in enumerate(order) if number < 100]
    assert bulk == [IN_A_ROW, 2 * IN_A_ROW + 1]
    assert plan.is_idle


def test_interactive_windows_run_where_bulk_ones_may_not() -> None:
    """Without it a person waits until no chunk thread computes, or bulk ones do not."""
    plan = schedule()
    plan.add(request(1))
    plan.add(request(*range(100, 110), lane=Lane.INTERACTIVE))

    assert sorted(run(plan, bulk=False)) == list(range(100, 110))
    assert run(plan) == [1]


def test_models_take_turns_by_how_long_they_wait() -> None:
    """Without it one model's backlog keeps another's documents waiting for ever."""
    plan = schedule()
    plan.add(request(1, 2))
    plan.add(request(3, pipeline=SECOND))
    plan.add(request(4))

    order = run(plan)

    assert sorted(order[:3]) == [1, 2, 4]  # a round takes all of its model
    assert order[3] == 3


@pytest.mark.parametrize("lane", Lane)
def test_halves_run_before_other_windows_of_their_lane(lane: Lane) -> None:
    """Without it a micro-batch that failed waits for a backlog, or a person for a chunk thread."""
    plan = schedule()
    plan.add(request(1, 2, 3, lane=lane))
    failed = plan.next(bulk=True)
    assert failed is not None
    plan.add_halves(failed[0], failed[1] * 2)

    assert plan.next(bulk=lane is Lane.BULK) == (failed[0], failed[1])
    assert plan.has_halves


def test_round_under_way_is_ended_before_another_model_goes() -> None:
    """Without it, arriving windows keep those that are shorter waiting."""
    plan = schedule()
    plan.add(request(1, pipeline=SECOND))
    plan.add(request(2, pipeline=SECOND))
    begun = plan.next(bulk=True)
    assert begun is not None
    (first,) = begun[1]
    plan.add(request(3))
    plan.add(request(4, pipeline=SECOND))
    first.answer(np.zeros(1, np.float32))
    plan.drop_answered()

    assert run(plan) == [3 - int(first.ids[0]), 3, 4]


def test_halves_of_a_request_that_is_over_do_not_run() -> None:
    """Without it the device computes for a job that was cancelled."""
    plan, over = schedule(), request(1)
    plan.add(over)
    failed = plan.next(bulk=True)
    assert failed is not None
    plan.add_halves(failed[0], failed[1] * 2)
    over.future.cancel()

    assert plan.next(bulk=True) is None
    assert not plan.has_halves


def test_model_is_dismissed_after_its_round() -> None:
    """Without it a promotion ends the engine: the round under way is of a model that is gone."""
    plan = schedule()
    plan.add(request(1))
    assert run(plan) == [1]

    plan.dismiss(FIRST)
    plan.add(request(2, pipeline=SECOND))

    assert run(plan) == [2]
    assert plan.budget(FIRST) == 0


def test_adopted_model_has_the_budget_of_the_one_before() -> None:
    """Without it a promoted model is calibrated while documents wait, or has no budget."""
    plan = Schedule({FIRST: BUDGET})

    plan.adopt(SECOND, like=FIRST)
    plan.add(request(1, 2, pipeline=SECOND))

    assert plan.budget(SECOND) == BUDGET
    assert sorted(run(plan)) == [1, 2]
