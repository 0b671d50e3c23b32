"""A chunk from its message to its outcomes, while Postgres goes down and comes back."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import sqlalchemy as sa

from producer import control
from producer.broker import Broker
from schema.documents import Task
from schema.messages import ChunkMessage
from schema.outcomes import Failure, Result, SentimentResult
from schema.settings import WorkerSettings
from tests.fixtures.chunks import add_job, chunk_store, chunks, mark
from tests.fixtures.dispatch import dispatcher
from tests.fixtures.engines import engine_of
from tests.fixtures.invariants import broken, outcomes
from tests.fixtures.postgres import read_only
from tests.fixtures.waiting import PATIENCE, until
from worker.artifact_folders import ArtifactFolders
from worker.chunk_processor import ChunkProcessor
from worker.chunks import ChunkStore
from worker.claims import Claim
from worker.engine import Engine
from worker.gate import Gate
from worker.heartbeat import Heartbeat
from worker.leases import Leases
from worker.meter import Meter
from worker.models import Models
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import SHIPPED
from worker.schedule import AbandonedError

Outcomes = Sequence[tuple[int, Result | Failure]]


@pytest.fixture(scope="module")
def pipelines() -> dict[Task, Pipeline]:
    return {Task.SENTIMENT: Pipeline.load(SHIPPED / Task.SENTIMENT, "cpu")}


@pytest.fixture
def device(pipelines: dict[Task, Pipeline]) -> Iterator[Engine]:
    with engine_of(dict.fromkeys(pipelines.values(), 4096)) as device:
        yield device


@pytest.fixture
def message(producer_engine: sa.Engine) -> ChunkMessage:
    """The message of the only chunk of a job of three documents."""
    add_job(producer_engine, 3)
    (message,) = mark(producer_engine)
    return message


def heart_of(database: sa.Engine, leases: Leases, settings: WorkerSettings) -> Heartbeat:
    return Heartbeat(database, leases, settings, Meter(), device="cpu", tasks=[Task.SENTIMENT])


def processor(
    store: ChunkStore,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    leases: Leases | None = None,
) -> tuple[ChunkProcessor, Gate]:
    gate, meter = Gate(), Meter()
    leases = leases or Leases(store, WorkerSettings())  # no heartbeat looks after these
    models = Models(pipelines, ArtifactFolders(SHIPPED, SHIPPED), device, "cpu")
    return ChunkProcessor(store, leases, device, models, meter, gate), gate


@pytest.fixture
def attempt(
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    message: ChunkMessage,
) -> Callable[[type[ChunkStore]], bool]:
    """Process the chunk with a store of the given class."""

    def process(kind: type[ChunkStore]) -> bool:
        store = kind(worker_engine, "w1", 60, 5)
        return processor(store, device, pipelines)[0](message)

    return process


def ends(engine: sa.Engine) -> list[tuple[object, ...]]:
    """State, attempt and errors of each chunk, with the number of succeeded documents."""
    with engine.connect() as connection:
        succeeded = connection.scalar(sa.text("select sum(succeeded) from textmill.job"))
    return [(c.state, c.attempt, c.errors, succeeded) for c in chunks(engine)]


@pytest.mark.parametrize("explain", [False, True])
def test_results_are_those_of_the_pipeline(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    explain: bool,  # noqa: FBT001
) -> None:
    """Without it, a worker's results differ from what its model's card says, or explain nothing."""
    add_job(producer_engine, 3, explain=explain)
    (message,) = mark(producer_engine)
    process, _ = processor(chunk_store(worker_engine), device, pipelines)

    assert process(message)

    with engine.connect() as connection:
        stored = connection.execute(
            sa.text(
                "select text, payload from textmill.document join textmill.result"
                " using (job_id, seq) order by seq"
            )
        ).all()
    assert [("explanation" in row.payload) for row in stored] == [explain] * 3
    texts = [row.text for row in stored]
    expected = analyse(pipelines[Task.SENTIMENT], texts, explain=explain)
    for row, result in zip(stored, expected, strict=True):
        assert isinstance(result, SentimentResult)
        assert row.payload["scores"] == pytest.approx(result.scores, abs=1e-5)
        for label, told in (result.explanation or {}).items():
            weights = [item["weight"] for item in row.payload["explanation"][label]]
            assert weights == pytest.approx([item.weight for item in told], abs=1e-3)


@pytest.mark.parametrize("erased", [{2}, {1, 2, 3}], ids=["one", "all"])
def test_document_whose_text_was_erased_fails_and_its_job_ends(
    engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    message: ChunkMessage,
    erased: set[int],
) -> None:
    """Without it, a job waits for ever for a document whose text was erased."""
    with engine.begin() as connection:
        connection.execute(
            sa.text("update textmill.document set text = null where seq = any(:seqs)"),
            {"seqs": list(erased)},
        )
    process, _ = processor(chunk_store(worker_engine), device, pipelines)

    assert process(message)

    assert outcomes(engine, message.job_id) == {
        seq: "erased" if seq in erased else "succeeded" for seq in (1, 2, 3)
    }
    assert broken(engine) == {}
    with engine.connect() as connection:
        assert connection.scalar(sa.text("select state from textmill.job")) == "completed"


@pytest.mark.parametrize("moment", ["insert into textmill.result", "chunk_work", "set state = "])
def test_store_survives_a_lost_connection(  # all parts of a process
    engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    message: ChunkMessage,
    moment: str,
) -> None:
    """Without it, a restart of Postgres discards computed results, or charges the chunk."""
    killed: list[int] = []

    def kill(_c: object, cursor: object, statement: str, *_: object) -> None:
        if moment in statement and not killed:
            pid = cursor.connection.info.backend_pid  # type: ignore[attr-defined]
            with engine.connect() as other:
                other.execute(sa.text("select pg_terminate_backend(:pid, 30000)"), {"pid": pid})
            killed.append(pid)

    sa.event.listen(worker_engine, "before_cursor_execute", kill)
    process, _ = processor(chunk_store(worker_engine), device, pipelines)

    assert process(message)

    assert killed
    assert ends(engine) == [("done", 1, 0, 3)]


def test_store_waits_until_a_standby_takes_writes(  # all parts of a process
    engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    message: ChunkMessage,
) -> None:
    """Without it, a failover discards computed results and fails the chunk."""

    class Failover(ChunkStore):
        stores = 0

        def store(self, claim: Claim, outcomes: Outcomes) -> None:
            self.stores += 1
            with read_only(engine) if self.stores == 1 else nullcontext():
                super().store(claim, outcomes)

    store = Failover(worker_engine, "w1", 60, 5)
    process, _ = processor(store, device, pipelines)

    assert process(message)

    assert store.stores == 2
    assert ends(engine) == [("done", 1, 0, 3)]


def test_store_whose_answer_was_lost_is_not_repeated(  # all parts of a process
    engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    message: ChunkMessage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without it, a commit whose answer was lost counts its documents twice, or not at all."""

    class Unheard(ChunkStore):
        stores = 0

        def store(self, claim: Claim, outcomes: Outcomes) -> None:
            super().store(claim, outcomes)
            self.stores += 1
            if self.stores == 1:
                statement = "commit"
                raise sa.exc.OperationalError(statement, None, ConnectionResetError())

    store = Unheard(worker_engine, "w1", 60, 5)
    process, _ = processor(store, device, pipelines)

    assert process(message)

    assert ends(engine) == [("done", 1, 0, 3)]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


def test_chunk_that_fails_as_a_whole_is_retried(
    engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    message: ChunkMessage,
) -> None:
    """Without it, a fault of the machine makes documents fail."""

    class Full(ChunkStore):
        def load(self, claim: Claim) -> list[object]:  # type: ignore[override]
            raise OSError(28, "no space left on device", claim.chunk_no)

    process, _ = processor(Full(worker_engine, "w1", 60, 5), device, pipelines)

    assert process(message)

    assert ends(engine) == [("pending", 1, 1, 0)]


class Refused(ChunkStore):
    """A store that gets an error from Postgres.

    Attributes:
        statement: what it runs instead of storing.
    """

    statement = "select cast('a secret' as integer)"

    def store(self, *_: object) -> None:
        """Run the statement."""
        with self._database.begin() as connection:
            connection.exec_driver_sql(self.statement)


class TooSlow(Refused):
    """A store whose statement exceeds its timeout."""

    statement = "set local statement_timeout = 1; select pg_sleep(9)"


class Unheeded(Refused):
    """A store that cannot even report its failure."""

    def fail(self, *_: object) -> str | None:
        """Get another error."""
        TooSlow.store(TooSlow(self._database, self.worker, 60, 5))
        return None


@pytest.mark.parametrize(
    ("kind", "ended", "told"),
    [
        (TooSlow, ("pending", 1, 1, 0), "57014"),
        (Refused, ("split", 1, 0, 0), "22P02"),
        (Unheeded, ("running", 1, 0, 0), "waits for its lease to run out: 57014"),
    ],
)
def test_error_of_a_store_counts_and_is_told_without_its_text(
    engine: sa.Engine,
    attempt: Callable[[type[ChunkStore]], bool],
    caplog: pytest.LogCaptureFixture,
    kind: type[ChunkStore],
    ended: tuple[object, ...],
    told: str,
) -> None:
    """Without it, a chunk is tried for ever, or a log shows what its documents contain."""
    assert attempt(kind)

    assert ends(engine)[0] == ended
    assert told in caplog.text
    assert "secret" not in caplog.text


def test_closed_gate_sends_messages_back(
    engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    message: ChunkMessage,
) -> None:
    """Without it, a draining process claims chunks, or throws their messages away."""
    process, gate = processor(chunk_store(worker_engine), device, pipelines)
    gate.close()

    assert not process(message)

    assert ends(engine) == [("dispatched", 0, 0, 0)]


@pytest.mark.parametrize("beats", [True, False])
def test_message_that_waits_for_the_gate_is_not_taken_for_lost(  # noqa: PLR0913, PLR0917  # all parts of a process
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    broker: Broker,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    beats: bool,  # noqa: FBT001
) -> None:
    """Without it, a suspect that waits to be alone is published again and again.

    Every other process that takes it then waits as well, and lets nothing else in meanwhile. The
    innocent chunk behind it is published, since another process may begin it at once. If the
    process has no heartbeat, the suspect's message counts as taken at first, and later as lost.
    """
    job_id = add_job(producer_engine, 4, chunk=2)
    suspect, innocent = mark(producer_engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("update textmill.chunk set suspect = chunk_no = 0")
    store, settings = chunk_store(worker_engine), WorkerSettings(lease=3, heartbeat=0.1)
    dispatch = dispatcher(producer_engine, broker, republish_after=5)

    def pass_time() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "update textmill.chunk set dispatched_at = dispatched_at - interval '1 hour',"
                " taken_at = taken_at - interval '1 hour'"
            )

    def taken() -> list[bool]:
        """Whether a worker recently reported a chunk as taken, for each chunk."""
        query = "select taken_at > now() - interval '1 minute' from textmill.chunk order by 1"
        with engine.connect() as connection:
            return [bool(row[0]) for row in connection.exec_driver_sql(query)]

    leases = Leases(store, settings)
    heart = heart_of(worker_engine, leases, settings)
    process, gate = processor(store, device, pipelines, leases)
    with ThreadPoolExecutor(2) as pool, heart if beats else nullcontext():
        with gate.together():
            first = pool.submit(process, suspect)
            until(lambda: True in taken())
            pass_time()
            second = pool.submit(process, innocent)
            if beats:
                until(lambda: True in taken())
            published = dispatch.step()
        assert first.result()
        assert second.result()

    assert published == (1 if beats else 2)
    assert set(outcomes(engine, job_id).values()) == {"succeeded"}


def test_work_on_a_cancelled_job_stops(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
) -> None:
    """Without it, the device works for a job that nobody wants."""
    job_id = add_job(producer_engine, 3)
    (message,) = mark(producer_engine)
    store = chunk_store(worker_engine)
    settings = WorkerSettings(lease=3, heartbeat=0.1)
    leases = Leases(store, settings)
    with heart_of(worker_engine, leases, settings):
        claim = store.claim(message, alone=False)
        assert claim is not None
        with leases.renewing(claim) as lease:
            control.cancel(producer_engine, job_id)
            assert lease.lost.wait(PATIENCE)
            pipeline = pipelines[Task.SENTIMENT]
            ids = pipeline.prepare("a text").window_ids()
            with pytest.raises(AbandonedError):
                device.predict(pipeline, claim.lane, ids, lease.lost)
