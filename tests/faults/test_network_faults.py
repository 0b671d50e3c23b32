"""A network that is slow, or that silently swallows everything."""

import time
from collections.abc import Callable

import pytest

from producer.jobs import status
from tests.fixtures.mill import Mill
from tests.fixtures.proxy import Proxy
from tests.fixtures.recovery import Recovered

TEXTS = ["The tea was lovely and warm", "包装破损，质量太差", "会议在下午三点开始", "lovely staff"]

pytestmark = pytest.mark.slow


def test_worker_cut_off_from_postgres_is_replaced_by_the_others(
    mill: Mill, proxies: Callable[[str], Proxy], recovery: Recovered
) -> None:
    """Without it, chunks claimed by a host behind a dead switch wait for its repair."""
    wire = proxies(mill.database.worker)
    mill.dispatch()
    mill.workers(TEXTMILL_DATABASE_URL=wire.url(mill.database.worker))
    mill.hold()
    job_id = mill.submit(TEXTS * 4)
    mill.until(lambda: len(mill.running()) > 1, "chunks are in work")
    held = mill.running()

    wire.black_hole()
    began = time.monotonic()
    mill.let_go()
    mill.workers()
    recovery(mill.recovered(held, began))
    assert mill.finished(job_id).succeeded == 16

    wire.heal()
    assert mill.finished(mill.submit(TEXTS * 100)).succeeded == 400
    mill.check()


def test_redis_behind_a_black_hole_costs_time_only(
    mill: Mill, proxies: Callable[[str], Proxy], recovery: Recovered
) -> None:
    """Without it, a program that waits for an answer from Redis waits for ever."""
    wire = proxies(mill.broker_url)
    mill.broker_url = wire.url(mill.broker_url)
    mill.dispatch()
    mill.workers()
    mill.finished(mill.submit(TEXTS))

    wire.black_hole()
    job_id = mill.submit(TEXTS * 4)
    mill.until(lambda: "does not answer" in mill.log(), "dispatch misses it")
    assert not status(mill.engine, job_id).finished
    wire.cut()  # everything swallowed so far is lost for good
    wire.heal()
    began = time.monotonic()

    assert mill.finished(job_id).succeeded == 16
    recovery(time.monotonic() - began)


def test_slow_network_costs_time_only(mill: Mill, proxies: Callable[[str], Proxy]) -> None:
    """Without it, workers in another city's data centre lose work to time-outs."""
    to_postgres, to_redis = proxies(mill.database.worker), proxies(mill.broker_url)
    mill.database = mill.database.through(to_postgres)
    mill.broker_url = to_redis.url(mill.broker_url)
    to_postgres.delay(0.1)
    to_redis.delay(0.1)
    mill.dispatch()
    mill.workers(TEXTMILL_LEASE="600")

    job_id = mill.submit(TEXTS * 8)

    assert mill.finished(job_id).succeeded == 32
    assert set(mill.attempts(job_id)) == {1}
