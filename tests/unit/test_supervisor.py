"""The supervisor of worker processes, told to stop."""

import errno
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schema.database import create_engine
from worker.devices import Device
from worker.supervisor import Supervisor

DRAIN = 20

DEAF = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


OBEDIENT = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
time.sleep(600)
"""


def run(processes: int) -> int:
    """Run a supervisor, whose database does not answer, until it is told to stop."""
    url = "postgresql://mill:secret@127.0.0.1:1/textmill"
    database = create_engine(url, application="test", connect_timeout=2)
    supervisor = Supervisor(
        [Device("cpu")], processes=processes, tasks=[], database=database, drain=DRAIN
    )
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return supervisor.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_two_signals_at_once_kill_as_a_second_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it who presses Ctrl-C twice in a hurry waits for the whole drain time."""
    started = tmp_path / "started"
    popen = subprocess.Popen
    monkeypatch.setattr(
        subprocess,
        "Popen",
        lambda *_, **__: popen(
            [sys.executable, "-c", DEAF, str(started)], stdin=subprocess.DEVNULL
        ),
    )

    def signal_twice(_: float) -> None:
        if started.exists() and not told:
            told.append(time.monotonic())
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(time, "sleep", signal_twice)
    told: list[float] = []

    assert run(processes=1) == 0

    assert time.monotonic() - told[0] < DRAIN / 2


def test_process_that_cannot_be_started_ends_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it a host that is short of memory for a moment loses all its workers."""
    started = tmp_path / "started"
    popen = subprocess.Popen
    tries: list[int] = []

    def start(*_: object, **__: object) -> subprocess.Popen[bytes]:
        tries.append(1)
        if len(tries) == 1:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return popen([sys.executable, "-c", OBEDIENT, str(started)], stdin=subprocess.DEVNULL)

    def stop_once_both_run(_: float) -> None:
        if len(tries) > 2 and started.exists():
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(time, "sleep", stop_once_both_run)

    assert run(processes=2) == 0

    assert len(tries) == 3
    assert "a process on cpu cannot be started" in caplog.text
