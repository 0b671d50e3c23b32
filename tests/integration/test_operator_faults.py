"""Chunks while a right or a function is missing in Postgres, until an operator mends it."""

import pytest
import sqlalchemy as sa

from schema.outcomes import Failure, Result
from tests.fixtures.chunks import add_job, chunk_store, chunks, claim_one
from tests.fixtures.invariants import broken
from worker.chunk_processor import ERASED
from worker.claims import Claim


def run(sql: str, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(sql))


def outcomes_of(claim: Claim) -> list[tuple[int, Result | Failure]]:
    return [(seq, ERASED) for seq in range(claim.first_seq, claim.last_seq + 1)]


def test_a_revoked_right_fails_no_document(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, every document of every job fails while an operator mends the roles."""
    add_job(producer_engine, 3)
    store = chunk_store(worker_engine)
    run("revoke insert on textmill.failure from textmill_worker", engine)

    for attempt in range(1, 8):  # more than the attempts that a chunk has
        claim = claim_one(producer_engine, store)
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied") as refused:
            store.store(claim, outcomes_of(claim))
        assert store.fail(claim, refused.value) == "pending"
        (chunk,) = chunks(engine)
        assert (chunk.attempt, chunk.errors, chunk.suspect) == (attempt, 0, False)
        assert chunk.not_before is not None

    run("grant insert on textmill.failure to textmill_worker", engine)
    claim = claim_one(producer_engine, store)
    store.store(claim, outcomes_of(claim))

    (chunk,) = chunks(engine)
    assert chunk.state == "done"
    assert broken(engine) == {}
