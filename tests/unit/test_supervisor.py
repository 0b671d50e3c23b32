"""The supervisor of worker processes, told to stop."""

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


def test_two_signals_at_once_kill_as_a_second_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it who presses Ctrl-C twice in a hurry waits for the whole drain time."""
    url = "postgresql://mill:secret@127.0.0.1:1/textmill"
    database = create_engine(url, application="test", connect_timeout=2)
    supervisor = Supervisor([Device("cpu")], processes=1, tasks=[], database=database, drain=DRAIN)
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
        if started.exists() and not supervisor._signals:  # noqa: SLF001
            told.append(time.monotonic())
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(time, "sleep", signal_twice)
    told: list[float] = []
    try:
        assert supervisor.run() == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

    assert time.monotonic() - told[0] < DRAIN / 2
