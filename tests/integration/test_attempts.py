"""How attempts without outcomes end: in retries, suspects, halves, and one failed document."""

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from producer.rescue import rescue
from schema.settings import WorkerSettings
from tests.fixtures.chunks import add_job, chunk_store, chunks, claim_one, end_attempt, expire, mark
from tests.fixtures.invariants import broken
from tests.fixtures.outcomes import POSITIVE
from worker.chunks import ChunkStore


@pytest.fixture
def store(worker_engine: sa.Engine) -> ChunkStore:
    return chunk_store(worker_engine)


def crash(engine: sa.Engine, worker: str = "w1") -> None:
    """Report a dead process, as a supervisor does."""
    with engine.begin() as connection:
        connection.execute(
            sa.text("select textmill.end_attempts(:worker, 'crashed')"), {"worker": worker}
        )


def rescue_now(producer: sa.Engine, worker: sa.Engine) -> int:
    expire(worker)
    with producer.begin() as connection:
        return rescue(connection)


def failures(engine: sa.Engine) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("select seq, code, stage from textmill.failure order by seq")
        )
        return [tuple(row) for row in rows]


def state(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(sa.text("select state from textmill.job_status")))


def test_chunks_of_a_crash_become_suspects_and_nothing_counts(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, the neighbours of a poison document are charged for its crash."""
    add_job(producer_engine, 3, chunk=1)
    for message in mark(producer_engine):
        assert store.claim(message, alone=False) is not None

    crash(worker_engine)

    assert [(c.state, c.suspect, c.crashes) for c in chunks(producer_engine)] == [
        ("pending", True, 0)
    ] * 3


def test_suspect_is_claimed_only_by_a_process_that_is_alone_with_it(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, the next crash hits innocent chunks again, and the poison one is never found."""
    add_job(producer_engine, 1)
    claim_one(producer_engine, store)
    crash(worker_engine)
    (message,) = mark(producer_engine)

    assert store.claim(message, alone=False) is None
    assert store.is_suspect(message)
    claim = store.claim(message, alone=True)

    assert claim is not None
    assert not store.is_suspect(message)


def test_clean_run_clears_a_suspect(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, an innocent chunk remains a suspect."""
    add_job(producer_engine, 1)
    claim_one(producer_engine, store)
    crash(worker_engine)

    store.store(claim_one(producer_engine, store), [(1, POSITIVE)])

    (chunk,) = chunks(producer_engine)
    assert (chunk.state, chunk.suspect) == ("done", False)
    assert state(producer_engine) == "completed"


def test_crash_while_alone_halves_a_chunk_between_documents_without_outcome(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, all documents in the chunk of a poison document fail with it."""
    add_job(producer_engine, 5)
    claim_one(producer_engine, store)
    crash(worker_engine)
    claim_one(producer_engine, store)

    crash(worker_engine)

    assert [
        (c.chunk_no, c.first_seq, c.last_seq, c.state, c.suspect, c.attempt)
        for c in chunks(producer_engine)
    ] == [
        (0, 1, 5, "split", True, 2),
        (1, 1, 2, "pending", True, 0),
        (2, 3, 5, "pending", True, 0),
    ]
    assert failures(producer_engine) == []


def test_document_that_crashed_three_times_alone_fails(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a poison document kills processes for ever, or an innocent one fails."""
    add_job(producer_engine, 1)
    for _ in range(3):  # first as an ordinary chunk, then twice as a suspect, alone
        claim_one(producer_engine, store)
        crash(worker_engine)
    assert failures(producer_engine) == []

    claim_one(producer_engine, store)
    crash(worker_engine)

    assert failures(producer_engine) == [(1, "worker_crashed", "run")]
    assert state(producer_engine) == "completed"


def test_one_deadly_document_among_many_is_found(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, halving fails a neighbour, loses one, or never ends."""
    add_job(producer_engine, 100, chunk=40)
    deadly = 67
    rounds = 0

    while messages := mark(producer_engine):
        rounds += 1
        for message in messages:
            claim = store.claim(message, alone=True)
            assert claim is not None
            seqs = [document.seq for document in store.load(claim)]
            if deadly in seqs:
                crash(worker_engine)
            else:
                store.store(claim, [(seq, POSITIVE) for seq in seqs])

    assert failures(producer_engine) == [(deadly, "worker_crashed", "run")]
    assert state(producer_engine) == "completed"
    assert rounds <= 1 + 6 + 3  # as an ordinary chunk; 40 halved to 1; three times alone


def test_given_back_chunk_is_not_charged(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, every deployment brings innocent chunks closer to being given up."""
    add_job(producer_engine, 1)
    for _ in range(10):
        claim = claim_one(producer_engine, store)
        assert end_attempt(worker_engine, claim, "released") == "pending"

    (chunk,) = chunks(producer_engine)
    assert (chunk.state, chunk.suspect, chunk.crashes, chunk.errors) == ("pending", False, 0, 0)


def test_failed_attempt_waits_and_is_tried_again(
    producer_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a chunk that failed as a whole is lost, or hammers the database."""
    add_job(producer_engine, 2)

    assert store.fail(claim_one(producer_engine, store), OSError()) == "pending"

    (chunk,) = chunks(producer_engine)
    with producer_engine.connect() as connection:
        now = connection.execute(sa.text("select now()")).scalar_one()
    assert chunk.errors == 1
    assert (chunk.not_before - now).total_seconds() <= 1
    assert chunk.not_before > now or (now - chunk.not_before).total_seconds() < 10


def test_chunk_that_fails_as_a_whole_is_halved_down_to_the_one_document(
    producer_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, such a chunk runs for ever, or all its documents fail."""
    add_job(producer_engine, 9)
    poison = 4

    while messages := mark(producer_engine):
        for message in messages:
            claim = store.claim(message, alone=False)  # no suspect: nothing crashed
            assert claim is not None
            seqs = [document.seq for document in store.load(claim)]
            if poison in seqs:
                store.fail(claim, ValueError("a bug"))
            else:
                store.store(claim, [(seq, POSITIVE) for seq in seqs])

    assert failures(producer_engine) == [(poison, "stage_error", "run")]
    assert state(producer_engine) == "completed"


def test_lease_that_ran_out_counts_as_a_crash(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, a document that kills whole hosts is never found."""
    add_job(producer_engine, 2)
    claim_one(producer_engine, store)
    assert rescue_now(producer_engine, worker_engine) == 1
    assert [c.suspect for c in chunks(producer_engine)] == [True]

    claim_one(producer_engine, store)
    rescue_now(producer_engine, worker_engine)

    assert [c.state for c in chunks(producer_engine)] == ["split", "pending", "pending"]


def test_lease_that_a_living_process_let_lapse_does_not_count(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, one lost answer of Postgres makes a chunk a suspect."""
    add_job(producer_engine, 1)
    claim_one(producer_engine, store)
    with worker_engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into textmill.worker (worker, host, pid, device, tasks, threads)"
                " values ('w1', 'here', 1, 'cpu', '{sentiment}', 4)"
            )
        )

    assert rescue_now(producer_engine, worker_engine) == 1

    (chunk,) = chunks(producer_engine)
    assert (chunk.state, chunk.suspect) == ("pending", False)


def test_lease_that_ends_later_than_any_can_is_cut(
    engine: sa.Engine, producer_engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, once the clock has stepped back, chunks of a lost host wait far too long."""
    longest = 3600
    with pytest.raises(ValidationError, match="less than or equal"):
        WorkerSettings(lease=longest + 1)
    add_job(producer_engine, 2, chunk=1)
    for message in mark(producer_engine):
        assert store.claim(message, alone=False) is not None
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "update textmill.chunk set lease_expires_at = now() + interval '1 year'"
            " where chunk_no = 0"
        )

    with producer_engine.begin() as connection:
        assert rescue(connection) == 0
        left = connection.scalars(
            sa.text(
                "select extract(epoch from lease_expires_at - now()) from textmill.chunk"
                " order by chunk_no"
            )
        ).all()

    assert left[0] == longest
    assert left[1] <= 60
    assert [c.state for c in chunks(producer_engine)] == ["running"] * 2


def test_process_that_is_heard_of_as_seldom_as_it_may_lives(engine: sa.Engine) -> None:
    """Without it, one lost heartbeat makes a process with a long interval count as dead."""
    longest = WorkerSettings(lease=3600, heartbeat=10).heartbeat
    with pytest.raises(ValidationError, match="less than or equal"):
        WorkerSettings(lease=3600, heartbeat=longest + 1)

    with engine.connect() as connection:
        lives = connection.scalar(
            sa.text(
                "select textmill.is_alive("
                "now() - make_interval(secs => :silent) + interval '1 millisecond')"
            ),
            {"silent": 3 * longest},
        )

    assert lives


@pytest.mark.parametrize("how", ["released", "retry", "given_up", "crashed"])
def test_late_word_about_an_attempt_changes_nothing(
    producer_engine: sa.Engine, worker_engine: sa.Engine, store: ChunkStore, how: str
) -> None:
    """Without it, a supervisor that was cut off ends the attempt of its successor."""
    add_job(producer_engine, 2)
    late = claim_one(producer_engine, store)
    end_attempt(worker_engine, late, "released")
    claim_one(producer_engine, chunk_store(worker_engine, "w2"))
    before = chunks(producer_engine)

    assert end_attempt(worker_engine, late, how) is None
    crash(worker_engine, "w1")

    assert chunks(producer_engine) == before


@pytest.mark.parametrize(
    "statement",
    [
        "update textmill.chunk set state = 'done'",
        "update textmill.chunk set attempt = attempt + 1",
        "update textmill.chunk set state = 'dispatched', dispatched_at = 'infinity'",
        "update textmill.job set state = 'cancelled', finished_at = now()",
    ],
)
def test_illegal_transition_is_refused_by_the_database(
    producer_engine: sa.Engine, engine: sa.Engine, statement: str
) -> None:
    """Without it, a mistake in any client breaks what all others rely on."""
    add_job(producer_engine, 1)

    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError, match="cannot"):
        connection.exec_driver_sql(statement)


def test_chunk_without_work_leaves_a_job_that_is_over_as_it_is(
    producer_engine: sa.Engine, engine: sa.Engine, store: ChunkStore
) -> None:
    """Without it, ending such a chunk fails, and it is run again in a finished job for ever."""
    add_job(producer_engine, 1)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)"
            " select job_id, 1, 2, 2, 1 from textmill.job"
        )
    whole, empty = (store.claim(message, alone=False) for message in mark(producer_engine))
    assert whole is not None
    assert empty is not None
    store.store(whole, [(1, POSITIVE)])
    with engine.connect() as connection:
        before = connection.execute(sa.text("select * from textmill.job")).one()

    store.store(empty, [])

    with engine.connect() as connection:
        assert connection.execute(sa.text("select * from textmill.job")).one() == before
    assert broken(engine) == {}
