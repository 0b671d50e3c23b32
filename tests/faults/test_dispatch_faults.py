"""Dispatchers that die, freeze, or publish everything three times."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable

import pytest
import sqlalchemy as sa

from producer.broker import Broker
from producer.dispatch import Dispatcher
from schema.documents import Lane
from schema.messages import ChunkMessage
from schema.settings import DispatchSettings, IntakeSettings
from tests.fixtures.mill import Mill
from tests.fixtures.proxy import Proxy
from tests.fixtures.recovery import Recovered

TEXTS = ["The soup was cold and awful", "味道很好，下次还来", "The train leaves from platform two"]


def test_dispatch_killed_before_it_published_delays_and_loses_nothing(
    mill: Mill, proxies: Callable[[str], Proxy], recovery: Recovered
) -> None:
    """Without it, chunks marked as dispatched but never published wait for ever."""
    redis = proxies(mill.broker_url)
    mill.workers(TEXTMILL_LEASE="600")
    victim = mill.dispatch(TEXTMILL_BROKER_URL=redis.url(mill.broker_url))
    first = mill.submit(TEXTS)
    mill.finished(first)
    redis.black_hole()
    job_id = mill.submit(TEXTS * 4)
    mill.until(lambda: bool(mill.under_way()), "chunks are marked as dispatched")
    marked = mill.under_way()
    assert mill.running() == []

    victim.kill()
    began = time.monotonic()
    mill.dispatch()

    recovery(mill.recovered(marked, began))
    assert mill.finished(job_id).succeeded == 12
    assert set(mill.attempts(job_id)) == {1}


def test_messages_delivered_three_times_run_once(
    mill: Mill, broker_url: str, key_prefix: str
) -> None:
    """Without it, a chunk is processed again whenever Redis delivers its message again."""
    stop = threading.Event()
    broker = _Thrice(broker_url, key_prefix)
    settings = DispatchSettings(poll_interval=0.2)
    dispatcher = Dispatcher(mill.engine, broker, settings, IntakeSettings().abandoned_after)
    thread = threading.Thread(target=dispatcher.run, args=[stop])
    mill.workers(PLANTED_DELAY="0.02", TEXTMILL_LEASE="600")
    thread.start()
    try:
        job_id = mill.submit(TEXTS * 40)
        seen = mill.finished(job_id)
        mill.until(lambda: not any(broker.queued().values()), "every message was taken")
    finally:
        stop.set()
        thread.join()
        broker.close()

    mill.check()
    assert seen.succeeded == 120
    assert broker.published >= 3 * len(mill.attempts(job_id))
    assert set(mill.attempts(job_id)) == {1}


@pytest.mark.slow
def test_frozen_dispatcher_holds_nobody_up(
    mill: Mill, proxies: Callable[[str], Proxy], recovery: Recovered
) -> None:
    """Without it, one suspended virtual machine stops every job of the company."""
    wire = proxies(mill.database.producer)
    wire.delay(0.3)  # makes its transactions long enough to freeze it inside one
    frozen = mill.dispatch(TEXTMILL_DATABASE_URL=wire.url(mill.database.producer))
    mill.workers()
    mill.until(lambda: _freeze_inside_a_step(mill.engine, frozen.pid), "it has the turn")

    began = time.monotonic()
    mill.dispatch()
    job_id = mill.submit(TEXTS * 4)

    assert mill.finished(job_id).succeeded == 12
    recovery(time.monotonic() - began)
    os.kill(frozen.pid, signal.SIGCONT)
    wire.heal()
    mill.finished(mill.submit(TEXTS * 4))
    mill.until(lambda: "does not answer" in mill.log(), "it finds that its transaction was ended")
    assert frozen.poll() is None


class _Thrice(Broker):
    """Publishes every message three times."""

    published = 0

    def publish(self, messages: Iterable[tuple[ChunkMessage, Lane]]) -> None:
        all_of_them = list(messages)
        for _ in range(3):
            super().publish(all_of_them)
        self.published += 3 * len(all_of_them)


def _freeze_inside_a_step(engine: sa.Engine, pid: int) -> bool:
    """Freeze the dispatcher if it holds `textmill.turn`; return whether it is frozen."""
    if not _turn_is_taken(engine):
        return False
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.5)  # everything that it sent before it froze arrives meanwhile
    if _turn_is_taken(engine):
        return True
    os.kill(pid, signal.SIGCONT)
    return False


def _turn_is_taken(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return bool(
            connection.scalar(
                sa.text(
                    "select exists (select from pg_locks l join pg_stat_activity a using (pid)"
                    " where l.relation = 'textmill.turn'::regclass"
                    " and a.datname = current_database() and a.state = 'idle in transaction')"
                )
            )
        )
