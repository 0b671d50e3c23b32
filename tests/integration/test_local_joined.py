"""A stack that several processes share lasts until the last of them leaves."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from producer import Textmill
from producer.local import Stack, find, joined, remove, servers
from schema.errors import ServiceUnavailableError, SettingsError
from schema.settings import ServiceSettings

ROOT = Path(__file__).parents[2]

USE_UNTIL_TOLD = """
import sys
import psycopg
from pathlib import Path
from producer.local import joined, servers
from schema.settings import ServiceSettings

with joined(ServiceSettings(data_dir=Path(sys.argv[1])), servers) as stack:
    print("joined", flush=True)
    sys.stdin.readline()
    with psycopg.connect(stack.urls.producer) as connection:
        print(connection.execute("select 'answered'").fetchone()[0], flush=True)
    sys.stdin.readline()
"""

FORK_AND_STAY = """
import os
import sys
from pathlib import Path
from producer.local import find, joined, servers
from schema.settings import ServiceSettings

services = ServiceSettings(data_dir=Path(sys.argv[1]))
with joined(services, servers):
    if (forked := os.fork()) == 0:
        sys.exit()
    os.waitpid(forked, 0)
    print("found" if find(services) else "lost", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def services() -> Iterator[ServiceSettings]:
    with tempfile.TemporaryDirectory(prefix="textmill-test-") as folder:
        data_dir = Path(folder) / "data"
        yield ServiceSettings(database_url=None, broker_url=None, data_dir=data_dir)
        remove(data_dir)


def test_a_stack_ends_after_the_last_process_that_joined_it(services: ServiceSettings) -> None:
    """Without it, the first of two overlapping scripts to end takes the servers from the other."""
    started, leaves = threading.Event(), threading.Event()

    def own() -> Stack:
        with joined(services, lambda given: servers(given, durable=False)) as stack:
            started.set()
            leaves.wait()
            return stack

    with ThreadPoolExecutor() as threads:
        owner = threads.submit(own)
        started.wait()
        with other_process(services) as (say, hear):
            assert hear() == "joined"
            leaves.set()
            with pytest.raises(TimeoutError):
                owner.result(timeout=1)

            say()
            answer = hear()
            found = find(services)
            say()
            stack = owner.result()

    assert answer == "answered"
    assert found == stack
    assert find(services) is None


def test_processes_that_start_at_once_use_one_stack(services: ServiceSettings) -> None:
    """Without it, when two scripts start in the same minute, the second one cannot submit."""
    together = threading.Barrier(3, timeout=60)

    def use(_: int) -> Stack:
        with joined(services, lambda given: servers(given, durable=False)) as stack:
            together.wait()
            return stack

    with ThreadPoolExecutor() as threads:
        stacks = list(threads.map(use, range(3)))

    assert stacks[0] == stacks[1] == stacks[2]
    assert find(services) is None


def test_a_start_that_cannot_succeed_is_tried_once(services: ServiceSettings) -> None:
    """Without it, a command hangs for a minute before it says that no server is installed."""
    tries: list[ServiceSettings] = []

    def start(given: ServiceSettings) -> AbstractContextManager[Stack]:
        tries.append(given)
        msg = "no server is at hand"
        raise SettingsError(msg)

    with pytest.raises(SettingsError, match="at hand"), joined(services, start):
        pass

    assert tries == [services]


def test_a_job_that_joined_servers_without_workers_is_worked_off(
    services: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a script waits for ever for workers if the stack's owner started none."""
    monkeypatch.setenv("TEXTMILL_DATA_DIR", str(services.data_dir))

    with Textmill(), Textmill() as textmill:
        job = textmill.submit("sentiment", [{"id": "a", "text": "Works like a charm."}])
        seen = textmill.wait(job.job_id, timeout=60)

    assert seen.succeeded == 1


def test_a_wait_ends_with_the_workers_that_it_started(
    services: ServiceSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without it, a script whose workers cannot start waits for ever, and nobody is told why."""
    monkeypatch.setenv("TEXTMILL_DATA_DIR", str(services.data_dir))
    monkeypatch.setenv("TEXTMILL_ARTIFACTS", str(tmp_path))

    with Textmill() as textmill:
        job = textmill.submit("sentiment", [{"id": "a", "text": "Works like a charm."}])
        with pytest.raises(ServiceUnavailableError, match="ended with code 78") as ended:
            textmill.wait(job.job_id, timeout=100)
        textmill.cancel(job.job_id)
        finished = textmill.wait(job.job_id, timeout=100)

    assert str(tmp_path) in str(ended.value)
    assert finished.cancelled == 1


def test_forked_process_that_leaves_the_block_leaves_the_stack_to_its_parent(
    services: ServiceSettings,
) -> None:
    """Without it, nobody finds the stack any more, and it outlives its owner's kill for good."""
    with program(FORK_AND_STAY, services) as owner:
        assert owner.stdout
        said = heard(owner.stdout)
        owner.kill()

    assert said == "found"
    with servers(services, durable=False):
        pass  # an owner waits until the servers of earlier owners are gone


@contextmanager
def other_process(
    services: ServiceSettings,
) -> Iterator[tuple[Callable[[], int], Callable[[], str]]]:
    """A process that has joined: one function lets it continue, the other reads its next line."""
    with program(USE_UNTIL_TOLD, services) as other:
        assert other.stdin
        assert other.stdout
        yield partial(other.stdin.write, "\n"), partial(heard, other.stdout)


def program(source: str, services: ServiceSettings) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", source, services.data_dir],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def heard(lines: IO[str]) -> str:
    return lines.readline().strip()
