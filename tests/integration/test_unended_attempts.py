"""Chunks whose attempts cannot end: a right is missing, a lock is held, a heartbeat is due."""

import pytest
import sqlalchemy as sa

from producer.rescue import rescue
from schema.database import create_engine
from schema.outcomes import Failure, Result
from schema.states import AttemptEnd
from tests.fixtures.chunks import add_job, chunk_store, chunks, claim_one
from tests.fixtures.invariants import broken
from tests.fixtures.postgres import DatabaseUrls
from worker.attempt_ends import AttemptEnds
from worker.chunk_processor import ERASED
from worker.claims import Claim


def run(sql: str, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(sql))


def let_lapse(engine: sa.Engine, *, heard_ago: int) -> None:
    """Let the lease of `w1` run out, whose last heartbeat came so many seconds ago."""
    run(
        "insert into textmill.worker (worker, host, pid, device, tasks, threads, heartbeat_at)"
        " values ('w1', 'host', 1, 'cpu', '{sentiment}', 4, now() - interval"
        f" '{heard_ago} seconds')",
        engine,
    )
    run("update textmill.chunk set lease_expires_at = now() - interval '1 second'", engine)


def outcomes_of(claim: Claim) -> list[tuple[int, Result | Failure]]:
    return [(seq, ERASED) for seq in range(claim.first_seq, claim.last_seq + 1)]


@pytest.mark.parametrize("ended_by", ["rescue", "supervisor"])
def test_a_chunk_that_cannot_be_ended_holds_up_no_other(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine, ended_by: str
) -> None:
    """Without it, one dropped partition ends every dispatch, and no crashed chunk runs again."""
    for _ in range(2):
        add_job(producer_engine, 1)
        claim_one(producer_engine, chunk_store(worker_engine))
    run("update textmill.chunk set lease_expires_at = now() - interval '1 second'", engine)
    # The next crash of the first chunk fails its document, and this job takes no more failures.
    run(
        "update textmill.job set accepted = 0, state = 'completed', finished_at = now()"
        " where job_id = (select min(job_id::text)::uuid from textmill.job)",
        engine,
    )
    run(
        "update textmill.chunk set suspect = true, attempt = attempt, crashes = attempt"
        " where job_id = (select min(job_id::text)::uuid from textmill.job)",
        engine,
    )
    run("alter table textmill.chunk drop constraint chunk_attempts", engine)
    run("update textmill.chunk set crashes = 2 where suspect", engine)

    if ended_by == "rescue":
        with producer_engine.begin() as connection:
            assert rescue(connection) == 1
        with engine.connect() as connection:  # it is not tried again at each step
            left = "select lease_expires_at > now() from textmill.chunk where state = 'running'"
            assert connection.scalar(sa.text(left))
    else:
        with worker_engine.begin() as connection:
            ended = connection.scalar(sa.text("select textmill.end_attempts('w1', 'crashed')"))
        assert ended == 1

    assert [chunk.state for chunk in chunks(engine)] == ["running", "pending"]


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


def test_a_lease_that_lapses_between_two_heartbeats_is_no_crash(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, documents fail as if they had killed a process that was alive all the time.

    So it would be if the worker may not even end its attempt: the lease has to run out.
    """
    add_job(producer_engine, 1)
    store = chunk_store(worker_engine)
    claim_one(producer_engine, store)
    let_lapse(engine, heard_ago=4)

    with producer_engine.begin() as connection:
        rescue(connection)
    (before,) = chunks(engine)
    run("update textmill.worker set heartbeat_at = now()", engine)
    with producer_engine.begin() as connection:
        rescue(connection)
    (after,) = chunks(engine)

    assert (before.state, before.suspect) == ("running", False)
    assert (after.state, after.suspect, after.crashes) == ("pending", False, 0)


def test_a_process_that_was_not_heard_of_when_its_lease_ended_crashed(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, chunks of a lost host are never run again."""
    add_job(producer_engine, 1)
    claim_one(producer_engine, chunk_store(worker_engine))
    let_lapse(engine, heard_ago=12)

    with producer_engine.begin() as connection:
        rescue(connection)

    (chunk,) = chunks(engine)
    assert (chunk.state, chunk.suspect) == ("pending", True)


def test_a_locked_chunk_holds_up_the_attempts_of_no_other_process(
    database: DatabaseUrls,
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
) -> None:
    """Without it, innocent chunks wait for their leases, and count as crashed."""
    locked = add_job(producer_engine, 2)
    claim_one(producer_engine, chunk_store(worker_engine, "w1"))
    run("update textmill.chunk set suspect = true", engine)  # its halves need the job's lock
    add_job(producer_engine, 1)
    claim_one(producer_engine, chunk_store(worker_engine, "w2"))
    ends = AttemptEnds(create_engine(database.worker, application="test", connect_timeout=3))

    with engine.begin() as person:
        person.execute(
            sa.text("select from textmill.job where job_id = :job_id for update"),
            {"job_id": locked},
        )
        assert ends.end("w1", AttemptEnd.CRASHED) == 0
        assert ends.end("w2", AttemptEnd.RELEASED) == 1
    ends.end_late(at_once=True)

    assert next(chunk.state for chunk in chunks(engine) if chunk.worker == "w1") == "split"
