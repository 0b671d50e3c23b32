"""A chunk from its message to its outcomes, while Postgres goes down and comes back."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import sqlalchemy as sa

from schema.documents import Task
from schema.messages import ChunkMessage
from schema.outcomes import Failure, Result, SentimentResult
from tests.fixtures.chunks import add_job, chunks, mark
from tests.fixtures.invariants import broken, outcomes
from tests.fixtures.postgres import read_only
from tests.fixtures.processors import ends, processor
from tests.fixtures.waiting import PATIENCE, until, until_blocked
from worker.chunks import ChunkStore
from worker.claims import Claim
from worker.engine import Engine
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse

Outcomes = Sequence[tuple[int, Result | Failure]]


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
        return processor(worker_engine, device, pipelines, store=store)[0](message)

    return process


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
    process, _ = processor(worker_engine, device, pipelines)

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
    process, _ = processor(worker_engine, device, pipelines)

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
    process, _ = processor(worker_engine, device, pipelines)

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
    process, _ = processor(worker_engine, device, pipelines, store=store)

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
    process, _ = processor(worker_engine, device, pipelines, store=store)

    assert process(message)

    assert ends(engine) == [("done", 1, 0, 3)]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.fixture
def three_chunks(engine: sa.Engine, producer_engine: sa.Engine) -> list[ChunkMessage]:
    """Messages of three jobs with one document each: one that runs, a suspect, and another."""
    running, suspect, _ = (add_job(producer_engine, 1) for _ in range(3))
    messages = mark(producer_engine)
    with engine.begin() as connection:
        connection.execute(sa.text("select textmill.begin_job(:job)"), {"job": running})
        connection.execute(
            sa.text("update textmill.chunk set suspect = true where job_id = :job"),
            {"job": suspect},
        )
    return messages


def test_stalled_chunk_and_a_suspect_keep_no_chunk_out(
    engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    three_chunks: list[ChunkMessage],
) -> None:
    """Without it, a transaction left open on a job stops a process, interactive jobs included."""
    running, suspect, other = three_chunks
    process, _ = processor(worker_engine, device, pipelines)
    with ThreadPoolExecutor() as pool, engine.connect() as person:
        person.execute(
            sa.text("select from textmill.job where job_id = :job for update"),
            {"job": running.job_id},
        )

        first = pool.submit(process, running)
        until_blocked(engine, first)
        second = pool.submit(process, suspect)
        until(lambda: any(chunk.suspect and chunk.taken_at for chunk in chunks(engine)))
        assert pool.submit(process, other).result(PATIENCE)

        assert not first.done()
        assert not second.done()
        person.rollback()
        assert first.result(PATIENCE)
        assert second.result(PATIENCE)
    assert [chunk.state for chunk in chunks(engine)] == ["done"] * 3


def test_suspect_that_cannot_be_claimed_keeps_no_chunk_out(
    engine: sa.Engine,
    worker_engine: sa.Engine,
    device: Engine,
    pipelines: dict[Task, Pipeline],
    three_chunks: list[ChunkMessage],
) -> None:
    """Without it, a transaction left open on a suspect stops every process that has its message."""
    _, suspect, other = three_chunks
    process, _ = processor(worker_engine, device, pipelines)
    with ThreadPoolExecutor() as pool, engine.connect() as person:
        person.exec_driver_sql("select from textmill.chunk where suspect for update")

        waiting = pool.submit(process, suspect)
        until_blocked(engine, waiting)
        assert pool.submit(process, other).result(PATIENCE)

        assert not waiting.done()
        person.rollback()
        assert waiting.result(PATIENCE)
    assert [chunk.state for chunk in chunks(engine)] == ["dispatched", "done", "done"]


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

    store = Full(worker_engine, "w1", 60, 5)
    process, _ = processor(worker_engine, device, pipelines, store=store)

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
        TooSlow.store(TooSlow(self._database, self._worker, 60, 5))
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
    process, gate = processor(worker_engine, device, pipelines)
    gate.close()

    assert not process(message)

    assert ends(engine) == [("dispatched", 0, 0, 0)]
