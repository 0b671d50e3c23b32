"""The supervisor: one or more processes for each device, restarted when they die.

It never imports torch. Each process starts with its device pinned in the environment, and with a
pipe as standard input that closes when the supervisor ends, so that no process is left behind.
"""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from schema.documents import Task
from schema.states import AttemptEnd
from worker.attempt_ends import AttemptEnds
from worker.devices import Device, default_processes
from worker.exit_codes import EXIT_CANNOT_START, EXIT_DEVICE_LOST, EXIT_NO_HEARTBEAT
from worker.pulse import SILENT, Pulse

logger = logging.getLogger(__name__)

RESTART_DELAYS = (1, 2, 5, 10, 30)
"""Seconds to wait before the first, second … consecutive restart of a process."""

SETTLED = 60
"""Seconds that a process must live for its restart delays to start over."""


@dataclass(slots=True)
class _ProcessSlot:
    """One process, which is replaced when it dies; `crashes` counts those in a row."""

    device: Device
    metrics_port: int | None = None
    name: str = ""
    process: subprocess.Popen[bytes] | None = None
    pulse: Pulse | None = None
    started: float = 0.0
    crashes: int = 0
    due: float = 0.0

    def wait(self, delay: float | None = None) -> None:
        """Put off the next start; by default for longer, the more crashes were in a row."""
        if delay is None:
            delay = RESTART_DELAYS[min(self.crashes, len(RESTART_DELAYS) - 1)]
        self.due = time.monotonic() + delay
        self.crashes += 1


class Supervisor:
    """Keeps the processes of all devices running until it is told to stop.

    Args:
        devices: the devices to run on.
        processes: how many for each device; None for `default_processes`.
        tasks: the tasks whose chunks are processed.
        database: used to end the leases of a process that died.
        drain: seconds that running chunks get after SIGTERM.
        metrics_port: port where the first process serves Prometheus, the next one on the next
            port, and so on; None for nowhere.
    """

    def __init__(
        self,
        devices: Sequence[Device],
        *,
        processes: int | None,
        tasks: Sequence[Task],
        database: sa.Engine,
        drain: float,
        metrics_port: int | None = None,
    ) -> None:
        self._slots = [
            _ProcessSlot(device)
            for device in devices
            for _ in range(processes or default_processes(device))
        ]
        if metrics_port is not None:
            for number, slot in enumerate(self._slots):
                slot.metrics_port = metrics_port + number
        self._tasks = tasks
        self._attempts = AttemptEnds(database)
        self._drain = drain
        self._signals = 0

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; a second signal kills the processes at once.

        Returns:
            The exit code: 0, or `EXIT_CANNOT_START` if a process cannot start.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        while not self._signals:
            self._attempts.end_late()
            for slot in self._slots:
                if self._tend(slot) == EXIT_CANNOT_START:
                    logger.error("a process cannot start; see its message above")
                    self._stop()
                    return EXIT_CANNOT_START
            time.sleep(0.2)
        self._stop()
        return 0

    def _on_signal(self, *_: object) -> None:
        # Take no lock here: the signal may arrive while this very thread holds it.
        self._signals += 1

    def _tend(self, slot: _ProcessSlot) -> int | None:
        """Start the slot's process, or return its exit code if it died."""
        if slot.process is None:
            if time.monotonic() >= slot.due:
                self._start_or_wait(slot)
            return None
        code = slot.process.poll()
        if code is None:
            self._kill_if_silent(slot)
            return None
        why = " (the device failed)" if code == EXIT_DEVICE_LOST else ""
        logger.error("%s ended with exit code %d%s", slot.name, code, why)
        slot.process = None
        if code == EXIT_CANNOT_START:
            return code  # it claimed nothing
        how = _how_attempts_ended(code)
        ended_work = self._attempts.end(slot.name, how) and how is AttemptEnd.CRASHED
        if ended_work or time.monotonic() - slot.started > SETTLED:
            slot.crashes = 0
        # A process that died over chunks is replaced at once: each such death narrows down the
        # poison document, so they come to an end.
        slot.wait(0 if ended_work else None)
        return code

    def _kill_if_silent(self, slot: _ProcessSlot) -> None:
        """Kill a process that hangs as a whole; a chunk in work may have caused it."""
        if slot.process is not None and slot.pulse is not None and slot.pulse.is_silent():
            logger.error("%s has not run for %d s; killing it", slot.name, SILENT)
            slot.process.kill()

    def _start_or_wait(self, slot: _ProcessSlot) -> None:
        """Start the slot's process, or try again later: the others run on without it."""
        try:
            self._start(slot)
        except OSError as error:  # no memory, or too many processes or open files
            slot.wait()
            logger.error("a process on %s cannot be started: %s", slot.device.name, error)  # noqa: TRY400

    def _start(self, slot: _ProcessSlot) -> None:
        # Each process has a unique name: a successor never owns its predecessor's chunks.
        slot.name = f"{socket.gethostname()}:{slot.device.name}:{secrets.token_hex(4)}"
        if slot.pulse is not None:
            slot.pulse.close()
            slot.pulse = None
        slot.pulse = Pulse()
        try:
            slot.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",  # a file named torch.py in the working directory is not ours
                    "-m",
                    "worker.process",
                    "--name",
                    slot.name,
                    "--device",
                    slot.device.seen_as(),
                    "--tasks",
                    ",".join(self._tasks),
                    "--pulse",
                    str(slot.pulse.sender),
                    *_option("--metrics-port", slot.metrics_port),
                ],
                env={**os.environ, **slot.device.environment()},
                stdin=subprocess.PIPE,
                # Ctrl-C in the terminal reaches only the supervisor, which decides when to stop.
                start_new_session=True,
                pass_fds=[slot.pulse.sender],
            )
        finally:
            os.close(slot.pulse.sender)
        slot.started = time.monotonic()
        logger.info("started %s, process %d", slot.name, slot.process.pid)

    def _stop(self) -> None:
        """Send SIGTERM to all; SIGKILL those that outlast the drain time or a second signal.

        Chunks that these did not finish are released: no attempt is charged.
        """
        running = [slot for slot in self._slots if slot.process is not None]
        for slot in running:
            if slot.process is not None:
                slot.process.terminate()
        deadline = time.monotonic() + self._drain
        for slot in running:
            if slot.process is None:
                continue
            while (
                slot.process.poll() is None and time.monotonic() < deadline and self._signals <= 1
            ):
                time.sleep(0.1)
            if slot.process.poll() is None:
                logger.warning("killing %s: it did not drain in time", slot.name)
                slot.process.kill()
                slot.process.wait()
                self._attempts.end(slot.name, AttemptEnd.RELEASED)
            elif slot.process.returncode:
                self._attempts.end(slot.name, _how_attempts_ended(slot.process.returncode))
        self._attempts.end_late(at_once=True)


def _how_attempts_ended(code: int) -> AttemptEnd:
    """A process that ended itself for want of a heartbeat is no chunk's fault."""
    return AttemptEnd.RELEASED if code == EXIT_NO_HEARTBEAT else AttemptEnd.CRASHED


def _option(name: str, value: int | None) -> list[str]:
    return [] if value is None else [name, str(value)]
