"""What a heartbeat does for the chunks of a process: those in work, and those that wait."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import sqlalchemy as sa

from producer import control
from producer.broker import Broker
from schema.documents import Task
from schema.settings import WorkerSettings
from tests.fixtures.chunks import add_job, chunk_store, held_chunks, mark
from tests.fixtures.dispatch import dispatcher
from tests.fixtures.invariants import outcomes
from tests.fixtures.processors import heartbeat, processor
from tests.fixtures.waiting import PATIENCE, until
from worker.engine import Engine
from worker.leases import Leases
from worker.pipeline import Pipeline
from worker.schedule import AbandonedError


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
    settings = WorkerSettings(lease=3, heartbeat=0.1)
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

    leases = Leases(held_chunks(worker_engine), settings)
    process, gate = processor(worker_engine, device, pipelines, leases=leases)
    beating = heartbeat(worker_engine, leases, settings) if beats else nullcontext()
    with ThreadPoolExecutor(2) as pool, beating:
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
    leases = Leases(held_chunks(worker_engine), settings)
    with heartbeat(worker_engine, leases, settings):
        claim = store.claim(message, alone=False)
        assert claim is not None
        with leases.renewing(claim) as lease:
            control.cancel(producer_engine, job_id)
            assert lease.lost.wait(PATIENCE)
            pipeline = pipelines[Task.SENTIMENT]
            ids = pipeline.prepare("a text").window_ids()
            with pytest.raises(AbandonedError):
                device.predict(pipeline, claim.lane, ids, lease.lost, generates=False)
