"""Faults that can be injected into a running mill at any moment, one at a time."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import redis
import sqlalchemy as sa

from producer.broker import Broker
from schema.documents import Lane, Task
from schema.messages import ChunkMessage
from tests.fixtures.mill import Mill
from tests.fixtures.servers import OwnServers

ALL_TASKS = ",".join(Task)

FROZEN = 6.0
"""Seconds that a process stays frozen: longer than a lease."""

AWAY = 4.0
"""Seconds that a server or the network stays unavailable."""


class Done(NamedTuple):
    """An injected fault, and the seconds from its end to the next outcome."""

    fault: str
    recovery: float


class Monkey:
    """Injects faults into `mill` and `servers`, chosen by `chance`.

    Attributes:
        done: the faults injected so far.
    """

    def __init__(self, mill: Mill, servers: OwnServers, chance: random.Random) -> None:
        self.done: list[Done] = []
        self._mill = mill
        self._servers = servers
        self._chance = chance
        # Two can take over from each other; with only one, a hang cannot go unnoticed.
        self._dispatchers = [mill.dispatch() for _ in range(chance.choice([1, 2]))]
        self._supervisors = [mill.workers(tasks=ALL_TASKS) for _ in range(chance.choice([1, 2]))]

    @property
    def processes(self) -> str:
        """How many of each run, for example `1 dispatcher(s), 2 worker(s)`."""
        return f"{len(self._dispatchers)} dispatcher(s), {len(self._supervisors)} worker(s)"

    def act(self) -> None:
        """Inject one fault, and wait for the next outcome or until no job is unfinished."""
        fault = self._chance.choice(list(FAULTS))
        FAULTS[fault](self)
        ended, before = time.monotonic(), self._outcomes()

        def goes_on() -> bool:
            self._start_ended_workers()
            return self._outcomes() > before or not self._unfinished()

        self._mill.until(goes_on, f"outcomes after: {fault}", 300)
        self.done.append(Done(fault, time.monotonic() - ended))

    def _start_ended_workers(self) -> None:
        """Start workers anew that found no server when they started, as a service manager would."""
        for place, supervisor in enumerate(self._supervisors):
            if supervisor.poll() is not None:
                self._supervisors[place] = self._mill.start_workers(tasks=ALL_TASKS)

    def heal(self) -> None:
        """Restore the network, and continue stopped dispatchers and supervisors."""
        self._servers.proxy("postgres").heal()
        self._servers.proxy("redis").heal()
        for process in (*self._dispatchers, *self._supervisors):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)

    def kill_worker(self) -> None:
        """SIGKILL a worker process."""
        self._signal_worker(signal.SIGKILL)

    def freeze_worker(self) -> None:
        """SIGSTOP a worker process for longer than its leases."""
        pid = self._signal_worker(signal.SIGSTOP)
        if pid is not None:
            time.sleep(FROZEN)
            with suppress(ProcessLookupError):  # it was about to end when it was to freeze
                os.kill(pid, signal.SIGCONT)

    def kill_supervisor(self) -> None:
        """SIGKILL a supervisor, which orphans its processes, and start another."""
        place = self._chance.randrange(len(self._supervisors))
        self._supervisors[place].kill()
        self._supervisors[place].wait()
        self._supervisors[place] = self._mill.start_workers(tasks=ALL_TASKS)

    def restart_workers(self) -> None:
        """SIGTERM a supervisor, and start a successor once it has drained."""
        place = self._chance.randrange(len(self._supervisors))
        self._supervisors[place].terminate()
        self._supervisors[place].wait(120)
        self._supervisors[place] = self._mill.start_workers(tasks=ALL_TASKS)

    def kill_dispatch(self) -> None:
        """SIGKILL a dispatcher."""
        place = self._chance.randrange(len(self._dispatchers))
        self._dispatchers[place].kill()
        self._dispatchers[place].wait()
        self._dispatchers[place] = self._mill.dispatch()

    def freeze_dispatch(self) -> None:
        """SIGSTOP a dispatcher for a while, whatever it is doing."""
        frozen = self._chance.choice(self._dispatchers)
        frozen.send_signal(signal.SIGSTOP)
        time.sleep(FROZEN)
        frozen.send_signal(signal.SIGCONT)

    def flush_redis(self) -> None:
        """Empty Redis with FLUSHALL."""
        with redis.Redis.from_url(self._servers.redis_url) as client:
            client.flushall()

    def restart_redis(self) -> None:
        """SIGKILL Redis, and restart it empty."""
        self._servers.kill_redis()
        self._servers.start_redis()

    def restart_postgres(self) -> None:
        """Shut Postgres down immediately, and restart it with crash recovery."""
        self._servers.kill_postgres()
        self._servers.start_postgres()

    def repeat_messages(self) -> None:
        """Publish the messages of up to 100 chunks twice, even if they are done."""
        with self._mill.engine.connect() as connection:
            rows = connection.execute(
                sa.text(
                    "select c.job_id, c.chunk_no, j.task, j.lane from textmill.chunk c"
                    " join textmill.job j using (job_id) order by random() limit 100"
                )
            ).all()
        broker = Broker(self._servers.redis_url, self._mill.key_prefix)
        messages = [
            (ChunkMessage(job_id=row.job_id, chunk_no=row.chunk_no, task=row.task), Lane(row.lane))
            for row in rows
        ]
        broker.publish([*messages, *messages])
        broker.close()

    def cut_postgres(self) -> None:
        """Cut every connection to Postgres."""
        self._servers.proxy("postgres").cut()

    def cut_commits(self) -> None:
        """Cut connections at their commits, before Postgres sees or answers them."""
        wire = self._servers.proxy("postgres")
        wire.cut_at(b"commit\0", answered=self._chance.random() < 1 / 2, times=5)
        time.sleep(AWAY)
        wire.heal()

    def cut_redis(self) -> None:
        """Cut every connection to Redis."""
        self._servers.proxy("redis").cut()

    def lose_network(self, server: str) -> None:
        """Swallow all traffic to and from a server for a while."""
        wire = self._servers.proxy(server)
        wire.black_hole()
        time.sleep(AWAY)
        wire.heal()

    def refuse_connections(self, server: str) -> None:
        """Make a server look down for a while."""
        wire = self._servers.proxy(server)
        wire.stop()
        time.sleep(AWAY)
        wire.heal()

    def slow_network(self) -> None:
        """Delay all traffic to Postgres and Redis for a while."""
        for server in ("postgres", "redis"):
            self._servers.proxy(server).delay(0.05)
        time.sleep(AWAY)
        for server in ("postgres", "redis"):
            self._servers.proxy(server).heal()

    def pause_jobs(self) -> None:
        """Pause every unfinished job, then resume them."""
        self._to_all_jobs("pause")
        time.sleep(1)
        self._to_all_jobs("resume")

    def _to_all_jobs(self, function: str) -> None:
        with self._mill.engine.begin() as connection:
            connection.execute(
                sa.text(
                    f"select textmill.{function}(job_id) from textmill.job_status"
                    " where finished_at is null"
                )
            )

    def _outcomes(self) -> int:
        (count,) = self._mill.scalars(
            "select coalesce(sum(succeeded + failed), 0) from textmill.job"
        )
        return int(count)

    def _unfinished(self) -> int:
        (count,) = self._mill.scalars(
            "select count(*) from textmill.job_status where finished_at is null"
        )
        return int(count)

    def _signal_worker(self, number: signal.Signals) -> int | None:
        """Signal a random worker process of our supervisors; None if there is none."""
        pids = [
            pid
            for supervisor in self._supervisors
            if supervisor.poll() is None
            for pid in _children(supervisor.pid)
        ]
        if not pids:
            return None
        pid = self._chance.choice(sorted(pids))
        os.kill(pid, number)
        return pid


FAULTS: dict[str, Callable[[Monkey], None]] = {
    "worker killed": Monkey.kill_worker,
    "worker frozen past its leases": Monkey.freeze_worker,
    "supervisor killed": Monkey.kill_supervisor,
    "workers restarted by SIGTERM": Monkey.restart_workers,
    "dispatch killed": Monkey.kill_dispatch,
    "dispatch frozen": Monkey.freeze_dispatch,
    "Redis flushed": Monkey.flush_redis,
    "Redis killed, back empty": Monkey.restart_redis,
    "Redis down": lambda monkey: monkey.refuse_connections("redis"),
    "Redis in a black hole": lambda monkey: monkey.lose_network("redis"),
    "Redis connections cut": Monkey.cut_redis,
    "messages delivered again": Monkey.repeat_messages,
    "Postgres shut down and restarted": Monkey.restart_postgres,
    "Postgres down": lambda monkey: monkey.refuse_connections("postgres"),
    "Postgres in a black hole": lambda monkey: monkey.lose_network("postgres"),
    "Postgres connections cut": Monkey.cut_postgres,
    "connections cut at commit": Monkey.cut_commits,
    "slow network": Monkey.slow_network,
    "jobs paused and resumed": Monkey.pause_jobs,
}


def _children(pid: int) -> list[int]:
    table = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid="], text=True)  # noqa: S607
    rows = (line.split() for line in table.splitlines())
    return [int(child) for child, parent in rows if int(parent) == pid]
