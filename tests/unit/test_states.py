"""The tables of legal transitions."""

from schema.states import (
    CHUNK_TRANSITIONS,
    JOB_TRANSITIONS,
    SWEEP_RUN_TRANSITIONS,
    TERMINAL_JOB_STATES,
    ChunkState,
    JobState,
    SweepRunState,
)


def test_every_state_has_its_row() -> None:
    """Without it, a state could be added without saying how it is reached and left."""
    assert set(JOB_TRANSITIONS) == set(JobState)
    assert set(CHUNK_TRANSITIONS) == set(ChunkState)
    assert set(SWEEP_RUN_TRANSITIONS) == set(SweepRunState)


def test_every_state_but_the_first_can_be_reached() -> None:
    """Without it, the table promises a state that no job can have."""
    reached = set().union(*JOB_TRANSITIONS.values())
    assert set(JobState) - reached == {JobState.LOADING}
    assert set(ChunkState) - set().union(*CHUNK_TRANSITIONS.values()) == set()
    assert set(SweepRunState) - set().union(*SWEEP_RUN_TRANSITIONS.values()) == {
        SweepRunState.SETTLING
    }


def test_only_retry_leaves_a_finished_job() -> None:
    """Without it, a finished job comes back to life by accident."""
    ways_out = {state: JOB_TRANSITIONS[state] for state in TERMINAL_JOB_STATES}

    assert ways_out[JobState.COMPLETED] == {JobState.RUNNING}
    begun_or_not = {JobState.PENDING, JobState.RUNNING}
    assert ways_out[JobState.CANCELLED] == ways_out[JobState.EXPIRED] == begun_or_not
