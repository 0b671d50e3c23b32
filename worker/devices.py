"""Devices that processes are pinned to, as `--devices` names them.

Nothing here imports torch: a process reads only once, on that import, which devices it may see.
"""

import os
import subprocess
import sys
from dataclasses import dataclass

from schema.errors import UsageError

KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(256 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024 * 1024),
}
"""By default glibc returns the memory of each micro-batch to the system, and the next one pays for
the page faults again. Keeping it shortens a forward pass by a tenth."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that processes are pinned to.

    Attributes:
        name: `cpu` or `cuda:N`, with N as the driver numbers GPUs.
    """

    name: str

    def environment(self) -> dict[str, str]:
        """Variables that pin a process to this device before it imports torch."""
        if self.name == "cpu":
            return {
                "CUDA_VISIBLE_DEVICES": "",
                "OMP_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
            } | KEEP_MEMORY
        return {"CUDA_VISIBLE_DEVICES": self.name.removeprefix("cuda:")}

    def seen_as(self) -> str:
        """The device's name inside a pinned process."""
        return "cpu" if self.name == "cpu" else "cuda:0"


def parse_devices(text: str) -> list[Device]:
    """Read `auto`, or names such as `cpu` and `cuda:0,cuda:1`.

    Raises:
        UsageError: a name is not one of these.
    """
    if text == "auto":
        gpus = _count_gpus()
        return [Device(f"cuda:{number}") for number in range(gpus)] or [Device("cpu")]
    names = text.split(",")
    for name in names:
        if name != "cpu" and not (name.startswith("cuda:") and name[5:].isdigit()):
            msg = f"{name!r} is not a device; use auto, cpu, or a list such as cuda:0,cuda:1"
            raise UsageError(msg)
    return [Device(name) for name in names]


def default_processes(device: Device) -> int:
    """The default number of processes: one for each CPU core, or one for a GPU."""
    if device.name != "cpu":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _count_gpus() -> int:
    """Ask torch in a separate process: importing it in this one would claim a device."""
    counted = subprocess.run(
        [sys.executable, "-P", "-c", "import torch; print(torch.cuda.device_count())"],
        capture_output=True,
        check=True,
        text=True,
    )
    return int(counted.stdout)
