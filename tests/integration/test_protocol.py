"""The statements of the protocol, run in random order on a real Postgres."""

import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from producer import control, jobs
from producer.rescue import rescue
from schema.errors import LeaseLostError
from schema.messages import ChunkMessage
from tests.fixtures import invariants
from tests.fixtures.chunks import add_job, end_attempt, expire, mark, published
from tests.fixtures.outcomes import FAILURE, POSITIVE
from tests.fixtures.waiting import waiting_for_locks
from worker.chunks import ChunkStore
from worker.claims import Claim
from worker.held_chunks import HeldChunks

if TYPE_CHECKING:
    from schema.outcomes import Failure, Result

DOCUMENTS = 7
WORKERS = 2
ROUNDS = 40
"""Rounds of work after which every job must have ended; halving seven documents takes four."""

which = st.integers(0, 1000)
"""Picks one of the available items."""


class Process:
    """A worker process and the attempts that it believes to hold, rightly or not."""

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self.name = name
        self.store = ChunkStore(engine, name, lease=60, max_attempts=2)
        self.in_postgres = HeldChunks(engine, name, lease=60)
        self.held: list[tuple[Claim, list[int]]] = []
        self.alone = False

    def take(self, message: ChunkMessage) -> None:
        """Claim as `ChunkProcessor` does: beside other chunks, or, for a suspect, alone."""
        if self.alone:
            return
        claim = self.store.claim(message, alone=False)
        if claim is None and not self.held and self.store.is_suspect(message):
            claim = self.store.claim(message, alone=True)
            self.alone = claim is not None
        if claim is not None:
            seqs = [document.seq for document in self.store.load(claim)]
            self.held.append((claim, seqs))

    def drop(self, number: int) -> tuple[Claim, list[int]]:
        """Forget an attempt."""
        self.alone = False
        return self.held.pop(number % len(self.held))


class Protocol(RuleBasedStateMachine):
    """The laws of `invariants` hold after every step, whatever happens in whatever order."""

    producer: sa.Engine
    worker: sa.Engine
    serial = 0

    @initialize()
    def begin(self) -> None:
        """A job of three chunks, and two processes."""
        self.job_id = add_job(self.producer, DOCUMENTS, chunk=3)
        self.messages: list[ChunkMessage] = []
        self.processes = [self.process() for _ in range(WORKERS)]

    def process(self) -> Process:
        """A process with a name that none had before."""
        Protocol.serial += 1
        return Process(self.worker, f"process {Protocol.serial}")

    def pick(self, number: int) -> Process:
        """A process that holds an attempt."""
        holding = [process for process in self.processes if process.held]
        return holding[number % len(holding)]

    def anyone_holds(self) -> bool:
        """Whether any process holds an attempt."""
        return any(process.held for process in self.processes)

    @rule()
    def dispatch(self) -> None:
        """Messages are published; they may arrive late, twice, or never."""
        self.messages += mark(self.producer)

    @precondition(lambda self: self.messages)
    @rule(worker=which, message=which)
    def message_arrives(self, worker: int, message: int) -> None:
        """Any message that was ever published arrives at any process."""
        process = self.processes[worker % WORKERS]
        process.take(self.messages[message % len(self.messages)])

    @precondition(lambda self: self.messages)
    @rule(worker=which, message=which)
    def pause_meets_claim(self, worker: int, message: int) -> None:
        """A pause is under way when a message arrives, and is committed while the claim waits."""
        claiming = threading.Thread(target=self.message_arrives, args=(worker, message))
        with self.producer.begin() as connection:
            connection.execute(sa.text("select textmill.pause(:job)"), {"job": self.job_id})
            claiming.start()
            while claiming.is_alive() and not waiting_for_locks(self.producer):
                claiming.join(0.01)
        claiming.join()

    @precondition(anyone_holds)
    @rule(worker=which, held=which, failing=st.booleans(), heard=st.booleans())
    def store(self, worker: int, held: int, *, failing: bool, heard: bool) -> None:
        """An attempt stores in time or late; its answer may be lost, so that it stores again."""
        process = self.pick(worker)
        claim, seqs = process.held[held % len(process.held)]
        outcome: Result | Failure = FAILURE if failing else POSITIVE
        lost = claim.fence not in process.in_postgres.owned()
        try:
            process.store.store(claim, [(seq, outcome) for seq in seqs])
            assert not lost, "a late attempt wrote"
        except LeaseLostError:
            assert lost, "an attempt in time was refused"
            heard = True
        if heard:
            process.drop(held)

    @precondition(anyone_holds)
    @rule(worker=which, held=which, error=st.sampled_from([OSError(), ValueError()]))
    def fail(self, worker: int, held: int, error: Exception) -> None:
        """A chunk fails as a whole, with an error that is retried or one that is not."""
        process = self.pick(worker)
        claim, _ = process.drop(held)
        process.store.fail(claim, error)

    @precondition(anyone_holds)
    @rule(worker=which, held=which)
    def release(self, worker: int, held: int) -> None:
        """A process drains."""
        process = self.pick(worker)
        claim, _ = process.drop(held)
        end_attempt(self.worker, claim, "released")

    @rule(worker=which, told=st.booleans())
    def die(self, worker: int, *, told: bool) -> None:
        """A process dies; if its host dies too, nobody reports it."""
        dead = self.processes[worker % WORKERS]
        self.processes[worker % WORKERS] = self.process()
        if told:
            with self.worker.begin() as connection:
                connection.execute(
                    sa.text("select textmill.end_attempts(:worker, 'crashed')"),
                    {"worker": dead.name},
                )

    @rule()
    def leases_run_out(self) -> None:
        """All leases run out, while the processes still believe to hold their attempts."""
        expire(self.worker)
        with self.producer.begin() as connection:
            rescue(connection)

    @precondition(anyone_holds)
    @rule()
    def take_over(self) -> None:
        """Frozen processes lose their leases, and another one claims their chunks."""
        self.leases_run_out()
        self.dispatch()
        successor = min(self.processes, key=lambda process: len(process.held))
        for message in published(self.producer):
            successor.take(message)

    @rule(function=st.sampled_from(["pause", "resume", "retry", "resume", "retry"]))
    def control(self, function: str) -> None:
        """People pause, resume and retry the job."""
        getattr(control, function)(self.producer, self.job_id)

    @rule(really=which)
    def cancel(self, really: int) -> None:
        """People cancel the job, but seldom, since little happens after that."""
        if really % 8 == 0:
            control.cancel(self.producer, self.job_id)

    @rule(really=which)
    def deadline_passes(self, really: int) -> None:
        """The deadline passes, and dispatch ends the job in a separate transaction."""
        if really % 8:
            return
        with self.producer.begin() as connection:
            connection.execute(
                sa.text("update textmill.job set deadline_at = now() where job_id = :job_id"),
                {"job_id": self.job_id},
            )
        with self.producer.begin() as connection:
            connection.execute(sa.text("select textmill.expire_jobs()"))

    @invariant()
    def laws_hold(self) -> None:
        """`accepted = succeeded + failed + cancelled + pending`, and all the other rules."""
        assert invariants.broken(self.producer) == {}

    def teardown(self) -> None:
        """From any state, the job ends if nothing else goes wrong."""
        if not hasattr(self, "job_id"):
            return
        control.resume(self.producer, self.job_id)
        control.close_chunks(self.producer, self.job_id)
        for _ in range(ROUNDS):
            if jobs.status(self.producer, self.job_id).finished:
                break
            self.leases_run_out()
            honest = self.process()
            mark(self.producer)
            for message in published(self.producer):
                honest.take(message)
                while honest.held:
                    claim, seqs = honest.drop(0)
                    honest.store.store(claim, [(seq, POSITIVE) for seq in seqs])
        assert jobs.status(self.producer, self.job_id).finished
        self.laws_hold()


@pytest.mark.parametrize(
    "examples",
    [8, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])],
)
def test_laws_hold_after_every_step(
    producer_engine: sa.Engine, worker_engine: sa.Engine, examples: int
) -> None:
    """Without it, an order of events that nobody thought of loses or doubles a document."""
    engines: dict[str, Any] = {"producer": producer_engine, "worker": worker_engine}
    machine = type("TestProtocol", (Protocol,), engines)

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
