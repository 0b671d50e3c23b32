"""Processes that we start and end, and that never outlive us."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from producer.local.account import Account
from schema.errors import ServiceUnavailableError

_LOG_TAIL = 2000  # bytes shown of a log when its process failed


@dataclass(frozen=True)
class Program:
    """What to run, and how to end it.

    Attributes:
        name: for people, and for the log's name.
        arguments: the program and its arguments; without secrets, since anyone can list them.
        folder: its working directory.
        environment: all variables that it sees; None passes ours on.
        config: written to its stdin.
        account: the account it runs under, if not ours.
        stop: the signal that asks it to end.
        grace: seconds that it gets to end before SIGKILL.
    """

    name: str
    arguments: Sequence[str | Path]
    folder: Path
    environment: Mapping[str, str] | None = None
    config: str = ""
    account: Account | None = None
    stop: signal.Signals = signal.SIGTERM
    grace: float = 10.0


class Child:
    """A started program.

    Args:
        program: what was started.
        process: the process that runs it.
        log: holds its output, after that of earlier runs.
        begin: where its own output begins in the log, in bytes.
    """

    def __init__(
        self, program: Program, process: subprocess.Popen[bytes], log: Path, begin: int
    ) -> None:
        self.name = program.name
        self.pid = process.pid
        self._program = program
        self._process = process
        self._log = log
        self._begin = begin

    def check(self) -> None:
        """Check that the process is still running.

        Raises:
            ServiceUnavailableError: it ended; the text holds the end of its log.
        """
        code = self._process.poll()
        if code is not None:
            msg = f"{self.name} ended with code {code}; the end of {self._log}:\n{self._tail()}"
            raise ServiceUnavailableError(msg)

    def finish(self) -> None:
        """Wait until the process ends by itself.

        Raises:
            ServiceUnavailableError: it failed; the text holds the end of its log.
        """
        if self._process.wait() != 0:
            self.check()

    def end(self) -> None:
        """Ask the process to end, wait for it, and kill its group when its grace is over."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(self._program.stop)
        try:
            self._process.wait(self._program.grace)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def _tail(self) -> str:
        with self._log.open("rb") as log:
            start = log.seek(0, os.SEEK_END) - _LOG_TAIL
            log.seek(max(self._begin, start))
            end = log.read()
        if start > self._begin:
            end = end.partition(b"\n")[2] or end  # drop the incomplete first line
        return end.decode(errors="replace").strip()


class Children:
    """The running programs, in the order of their start.

    Args:
        logs: folder of their logs.
        lock: file descriptor that each inherits.
        guard: stdin of the guard, which ends them if we die first.
    """

    def __init__(self, logs: Path, lock: int, guard: IO[str]) -> None:
        self._logs = logs
        self._lock = lock
        self._guard = guard
        self._parent = os.getpid()
        self._running: list[Child] = []

    def start(self, program: Program) -> Child:
        """Start `program`, with its output going to its log.

        Raises:
            ServiceUnavailableError: the system refuses to start it.
        """
        path = self._logs / f"{program.name}.log"
        with path.open("ab") as log:
            begin = log.tell()
            process = self._spawn(program, log)
        child = Child(program, process, path, begin)
        self._running.append(child)
        self._tell(f"{child.pid} {program.stop.value} {program.grace}")
        if process.stdin:
            # If the process is already dead, its `check` says so.
            with suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(program.config.encode())
        return child

    def run(self, program: Program) -> None:
        """Run `program` to its end.

        Raises:
            ServiceUnavailableError: the system refuses to start it, or it failed.
        """
        child = self.start(program)
        child.finish()
        self.end(child)

    def end(self, child: Child) -> None:
        """End `child` and forget it."""
        child.end()
        self._running.remove(child)
        self._tell(f"{child.pid}")

    def end_all(self) -> None:
        """End every program, last started first: each may need those started before it.

        A process that this one forked leaves them to it.
        """
        if os.getpid() != self._parent:
            return
        for child in reversed(tuple(self._running)):
            self.end(child)

    def running(self) -> tuple[Child, ...]:
        """Every program that was started and not ended."""
        return tuple(self._running)

    def _spawn(self, program: Program, log: IO[bytes]) -> subprocess.Popen[bytes]:
        account = program.account
        try:
            return subprocess.Popen(
                program.arguments,
                stdin=subprocess.PIPE if program.config else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=program.folder,
                env=program.environment,
                user=account.user if account else None,
                group=account.group if account else None,
                extra_groups=[] if account else None,
                pass_fds=[self._lock],
                # Ctrl-C and a closed terminal reach only us; we end the programs in order.
                start_new_session=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            msg = f"{program.name} cannot be started: {error}"
            raise ServiceUnavailableError(msg) from error

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # a stack runs and ends properly without its guard, too
            self._guard.write(f"{line}\n")
            self._guard.flush()


@contextmanager
def children(logs: Path, lock: int) -> Iterator[Children]:
    """Programs that end with the block, or with this process if that comes first.

    Args:
        logs: folder of their logs.
        lock: file descriptor that each inherits.
    """
    program = Path(__file__).with_name("guard.py")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as guard:
        # Leaving the outer block closes the guard's stdin and waits until the guard has ended.
        started = Children(logs, lock, cast("IO[str]", guard.stdin))
        try:
            yield started
        finally:
            started.end_all()
