"""Documents that break the worker: each fails alone, without harm to its neighbours."""

import pytest

from schema.documents import Task
from tests.faults.planted import Plant
from tests.fixtures.mill import Mill
from tests.fixtures.recovery import Recovered

GOOD = ["The tea was lovely and warm", "味道很差，不会再来", "The shop opens at nine", "物流很快"]
MARK = "xyzzy-7731"
"""Part of every plant's text; no log line and no failure message may contain it."""


def planted(*plants: Plant) -> list[str]:
    """The plants, each among good documents."""
    texts = [*GOOD]
    for plant in plants:
        texts += [f"{plant} {MARK}", *GOOD]
    return texts


def expected(*codes: str) -> list[str]:
    """The outcomes of `planted` if the plants fail with these codes."""
    outcomes = ["succeeded"] * len(GOOD)
    for code in codes:
        outcomes += [code, *["succeeded"] * len(GOOD)]
    return outcomes


def test_document_that_breaks_a_stage_or_the_device_fails_alone_and_unseen(mill: Mill) -> None:
    """Without it, one broken document fails its chunk, or its text ends up in a log."""
    plants = {
        Plant.PREPROCESS: "stage_error",
        Plant.TOKENIZE: "stage_error",
        Plant.PREDICT: "stage_error",
        Plant.POSTPROCESS: "stage_error",
        Plant.MEMORY_ERROR: "stage_error",
        Plant.DEVICE_MEMORY: "too_large_for_device",
    }
    mill.dispatch()
    # A device so small that only micro-batches of a few rows fit.
    mill.workers(tasks=",".join(Task), PLANTED_MEMORY="60", TEXTMILL_LEASE="600")

    job_ids = {task: mill.submit(planted(*plants), task=task, chunk=9) for task in Task}

    for job_id in job_ids.values():
        seen = mill.finished(job_id)
        assert list(mill.outcomes(job_id).values()) == expected(*plants.values())
        assert (seen.succeeded, seen.failed) == (28, 6)
        assert set(mill.attempts(job_id)) == {1}
    assert "tea was lovely" not in mill.log()
    assert MARK not in mill.log()
    assert not mill.scalars(
        "select 1 from textmill.failure where message like :text", text=f"%{MARK}%"
    )


@pytest.mark.slow
@pytest.mark.parametrize("plant", [Plant.SEGFAULT, Plant.KILLED])
def test_document_that_kills_its_process_fails_alone(
    mill: Mill, plant: Plant, recovery: Recovered
) -> None:
    """Without it, one document takes its whole chunk down, or crashes workers for ever."""
    mill.dispatch()
    mill.workers()

    job_id = mill.submit(planted(plant), chunk=len(GOOD) * 2 + 1)
    innocent = [mill.submit([text]) for text in GOOD * 5]

    seen = mill.finished(job_id, bound=300)
    assert list(mill.outcomes(job_id).values()) == expected("worker_crashed")
    assert (seen.succeeded, seen.failed) == (8, 1)
    for other in innocent:
        assert mill.finished(other).succeeded == 1
    assert seen.finished_at is not None
    recovery((seen.finished_at - seen.created_at).total_seconds())


@pytest.mark.slow
def test_fatal_device_error_fails_no_neighbour(mill: Mill, recovery: Recovered) -> None:
    """Without it, after one device error every document of the process fails."""
    mill.dispatch()
    mill.workers()

    job_id = mill.submit(planted(Plant.DEVICE_FATAL), chunk=3)
    innocent = [mill.submit([text]) for text in GOOD * 5]

    seen = mill.finished(job_id, bound=300)
    assert list(mill.outcomes(job_id).values()) == expected("worker_crashed")
    for other in innocent:
        assert mill.finished(other).succeeded == 1
    assert seen.finished_at is not None
    recovery((seen.finished_at - seen.created_at).total_seconds())
