"""Postgres restarts, a full disk, and connections that break at the worst moment."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from producer.jobs import status
from producer.submit import Submission, submit
from schema.database import create_engine
from schema.documents import Document, JobOptions, Task
from schema.errors import ServiceUnavailableError
from schema.settings import IntakeSettings
from tests.fixtures.mill import Mill
from tests.fixtures.proxy import Proxy
from tests.fixtures.recovery import Recovered
from tests.fixtures.servers import OwnServers

TEXTS = ["The tea was lovely and warm", "包装破损，质量太差", "会议在下午三点开始", "lovely staff"]


@pytest.fixture
def own_servers(mill: Mill, tmp_path: Path) -> Iterator[OwnServers]:
    """A Postgres that only this test uses; the mill is connected to it."""
    with OwnServers.in_folder(tmp_path / "servers") as servers:
        servers.start_postgres()
        mill.database = servers.database
        mill.engine = create_engine(servers.database.producer, application="tests")
        yield servers
        mill.close()
        mill.engine.dispose()


@pytest.mark.slow
def test_postgres_restarted_in_the_middle_of_a_job_costs_time_only(
    mill: Mill, own_servers: OwnServers, recovery: Recovered
) -> None:
    """Without it, a database failover loses running chunks, or runs them twice."""
    mill.dispatch()
    mill.workers()
    mill.hold()
    job_id = mill.submit(TEXTS * 50)
    mill.until(lambda: len(mill.running()) > 1, "chunks are in work")
    under_way = mill.under_way()

    own_servers.kill_postgres()
    mill.let_go()
    mill.until(lambda: "does not answer" in mill.log(), "somebody misses it")
    own_servers.start_postgres()
    began = time.monotonic()

    recovery(mill.recovered(under_way, began))
    assert mill.finished(job_id).succeeded == 200


@pytest.mark.parametrize(
    "pattern", [b"copy textmill.document", b"copy textmill.chunk", b"commit\0"]
)
@pytest.mark.parametrize("answered", [False, True], ids=["unseen", "unanswered"])
def test_connection_cut_during_submit_leaves_one_whole_job_or_none(
    mill: Mill, proxies: Callable[[str], Proxy], pattern: bytes, *, answered: bool
) -> None:
    """Without it, a producer that retries has its documents analysed twice or only in part."""
    wire = proxies(mill.database.producer)
    engine = create_engine(wire.url(mill.database.producer), application="tests")
    _submit(engine, "earlier")

    wire.cut_at(pattern, answered=answered)
    with pytest.raises(ServiceUnavailableError, match="does not answer"):
        _submit(engine, "nightly")
    mill.check()
    again = _submit(engine, "nightly")

    assert wire.cuts == 1
    assert again.repeated == (answered and pattern == b"commit\0")
    jobs = mill.scalars("select accepted from textmill.job_status order by created_at")
    assert list(jobs) == [20, 20]
    mill.check()
    engine.dispose()


@pytest.mark.slow
def test_connections_cut_during_a_chunk_cost_time_only(
    mill: Mill, proxies: Callable[[str], Proxy], recovery: Recovered
) -> None:
    """Without it, a worker that loses a connection loses its chunk, or writes outcomes twice."""
    wire = proxies(mill.database.worker)
    mill.dispatch()
    mill.workers(TEXTMILL_DATABASE_URL=wire.url(mill.database.worker))
    longest = 0.0

    for pattern in (b"update textmill.chunk", b"insert into textmill.result", b"commit\0"):
        for answered in (False, True):
            before = wire.cuts
            wire.cut_at(pattern, answered=answered, times=2)
            began = time.monotonic()
            job_id = mill.submit(TEXTS * 4)

            assert mill.finished(job_id).succeeded == 16
            longest = max(longest, time.monotonic() - began)
            assert wire.cuts > before
            wire.heal()
    recovery(longest)


def test_connection_cut_while_a_worker_starts_costs_a_second_start(
    mill: Mill, proxies: Callable[[str], Proxy]
) -> None:
    """Without it, a Postgres restart during a deployment causes a traceback nobody can explain."""
    wire = proxies(mill.database.worker)
    wire.cut_at(b"insert into textmill.worker", answered=False)

    mill.workers(TEXTMILL_DATABASE_URL=wire.url(mill.database.worker))

    assert wire.cuts == 1
    assert "ended with exit code 3\n" in mill.log()
    assert "Traceback" not in mill.log()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_full_disk_of_postgres_costs_time_only(
    mill: Mill, own_servers: OwnServers, tmp_path: Path, recovery: Recovered
) -> None:
    """Without it, documents fail because a disk was full for a while."""
    own_servers.kill_postgres()
    with _small_disk(tmp_path / "servers" / "postgres" / "data" / "base") as disk:
        own_servers.start_postgres()
        mill.dispatch()
        mill.workers()
        mill.hold()
        job_id = mill.submit([f"{text} {number}" for number in range(500) for text in TEXTS])
        mill.until(lambda: len(mill.running()) > 1, "chunks are in work")
        under_way = mill.under_way()

        filler = disk / "filler"
        _fill(filler)
        mill.let_go()
        mill.until(lambda: "No space left" in mill.log(), "somebody hears of it")
        assert not status(mill.engine, job_id).finished
        filler.unlink()
        began = time.monotonic()

        recovery(mill.recovered(under_way, began))
        assert mill.finished(job_id).succeeded == 2000
        mill.close()
        own_servers.kill_postgres()


def _submit(engine: sa.Engine, key: str) -> Submission:
    return submit(
        engine,
        Task.SENTIMENT,
        [Document(text=text) for text in TEXTS * 5],
        JobOptions(idempotency_key=key),
        submitter="tester",
        limits=IntakeSettings(),
    )


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """Move the contents of `folder` to a disk with only a few megabytes to spare."""
    folder = folder.resolve()
    used = int(subprocess.check_output(["du", "-sm", folder]).split()[0])  # noqa: S607
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.mkdir(mode=0o700)
    owner = aside.stat()
    options = f"size={used + 8}m,uid={owner.st_uid},gid={owner.st_gid},mode=0700"
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],  # noqa: S607
        check=False,
        capture_output=True,
        text=True,
    )
    if mount.returncode:
        pytest.skip(f"no disk can be mounted here: {mount.stderr.strip()}")
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", folder], check=True)  # noqa: S607
        shutil.rmtree(aside)
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)  # noqa: S607


def _fill(path: Path) -> None:
    """Fill the rest of the disk."""
    block = b"\0" * 4096
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(block)
            except OSError:
                return
