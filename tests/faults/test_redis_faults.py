"""Redis that loses its data, dies or stays unreachable."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from producer.jobs import status
from schema.documents import Lane
from tests.fixtures.mill import Mill
from tests.fixtures.proxy import Proxy
from tests.fixtures.recovery import Recovered
from tests.fixtures.servers import OwnServers

TEXTS = ["The tea was lovely and warm", "包装破损，质量太差", "会议在下午三点开始", "lovely staff"]


@pytest.fixture
def own_servers(tmp_path: Path) -> Iterator[OwnServers]:
    """Servers that only this test uses, so that it may kill them."""
    with OwnServers.in_folder(tmp_path / "servers") as servers:
        yield servers


def test_flushall_in_the_middle_of_a_job_costs_time_only(mill: Mill, recovery: Recovered) -> None:
    """Without it, emptying Redis loses the chunks whose messages were in it."""
    mill.dispatch()
    mill.workers(TEXTMILL_LEASE="600")
    mill.hold()
    # More interactive chunks are published than threads can take, so some wait in Redis.
    job_id = mill.submit(TEXTS * 10, lane=Lane.INTERACTIVE)
    mill.until(lambda: len(mill.under_way()) > len(mill.running()) > 3, "messages wait")
    under_way = mill.under_way()

    with redis.Redis.from_url(mill.broker_url) as client:
        client.flushall()
    began = time.monotonic()
    mill.let_go()

    recovery(mill.recovered(under_way, began))
    assert mill.finished(job_id).succeeded == 40
    assert set(mill.attempts(job_id)) == {1}


def test_connection_lost_while_every_thread_works_is_made_again(
    mill: Mill, proxies: Callable[[str], Proxy], recovery: Recovered
) -> None:
    """Without it, a process whose acknowledgements all failed never consumes anything again."""
    wire = proxies(mill.broker_url)
    mill.broker_url = wire.url(mill.broker_url)
    mill.dispatch()
    mill.workers(TEXTMILL_THREADS="2", TEXTMILL_LEASE="600")
    mill.hold()
    job_id = mill.submit(TEXTS * 4, lane=Lane.INTERACTIVE)
    mill.until(lambda: len(mill.running()) == 2, "every thread works")

    wire.stop()
    mill.let_go()
    mill.until(
        # The consumer may find its connection lost before the threads acknowledge.
        lambda: mill.log().count("Couldn't ack") == 2 or "Cannot connect to redis" in mill.log(),
        "no acknowledgement gets through",
    )
    assert "CRITICAL" not in mill.log()
    wire.start()
    began = time.monotonic()

    assert mill.finished(job_id).succeeded == 16
    recovery(time.monotonic() - began)


@pytest.mark.slow
def test_redis_killed_and_restarted_empty_under_load_costs_time_only(
    mill: Mill, own_servers: OwnServers, recovery: Recovered
) -> None:
    """Without it, consumers hang after a reconnect, or the queue's content is lost."""
    own_servers.start_redis()
    mill.broker_url = own_servers.redis_url
    mill.dispatch()
    mill.workers(PLANTED_DELAY="0.05", TEXTMILL_LEASE="600")
    job_id = mill.submit(TEXTS * 200, lane=Lane.INTERACTIVE)
    mill.until(lambda: status(mill.engine, job_id).succeeded > 0, "the job runs")

    own_servers.kill_redis()
    under_way = mill.under_way()
    mill.until(lambda: "does not answer" in mill.log(), "dispatch misses it")
    own_servers.start_redis()
    began = time.monotonic()

    recovery(mill.recovered(under_way, began))
    assert mill.finished(job_id).succeeded == 800
    assert max(mill.attempts(job_id)) == 1


@pytest.mark.slow
def test_submitting_while_redis_is_down_is_accepted_and_runs_later(
    mill: Mill, proxies: Callable[[str], Proxy], recovery: Recovered
) -> None:
    """Without it, producers fail whenever Redis does."""
    wire = proxies(mill.broker_url)
    mill.broker_url = wire.url(mill.broker_url)
    mill.dispatch()
    mill.workers()
    mill.finished(mill.submit(TEXTS))

    wire.stop()
    job_id = mill.submit(TEXTS * 4)
    mill.until(lambda: "does not answer" in mill.log(), "dispatch misses it")
    assert status(mill.engine, job_id).succeeded == 0
    wire.start()
    began = time.monotonic()

    assert mill.finished(job_id).succeeded == 16
    recovery(time.monotonic() - began)
