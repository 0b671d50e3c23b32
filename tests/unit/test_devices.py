"""Which worker processes run on which devices."""

from pathlib import Path

import pytest

from schema.errors import UsageError
from worker.devices import Device, default_processes, parse_devices


def test_named_devices_are_taken_as_they_are() -> None:
    """Without it a worker would compute on a device that belongs to somebody else."""
    assert parse_devices("cuda:0,cuda:3") == [Device("cuda:0"), Device("cuda:3")]
    assert parse_devices("cpu") == [Device("cpu")]


@pytest.mark.parametrize("text", ["", "gpu", "cuda", "cuda:", "cuda:x", "cpu,", "cuda:0 cuda:1"])
def test_unknown_device_is_refused_with_the_remedy(text: str) -> None:
    """Without it, a typing error makes a worker run on another device than intended."""
    with pytest.raises(UsageError, match="use auto, cpu, or"):
        parse_devices(text)


def test_gpus_are_counted_by_the_installed_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a worker started in a folder of uploads runs a file that is named torch.py."""
    (tmp_path / "torch.py").write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)

    assert parse_devices("auto")


def test_gpu_process_sees_its_own_gpu_only() -> None:
    """Without it, processes share a GPU and leave another idle."""
    device = Device("cuda:3")

    assert device.environment()["CUDA_VISIBLE_DEVICES"] == "3"
    assert device.seen_as() == "cuda:0"
    assert default_processes(device) == 1


def test_cpu_process_sees_no_gpu_and_uses_one_thread() -> None:
    """Without it, the threads of several processes fight for the same cores."""
    device = Device("cpu")

    environment = device.environment()
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["MKL_NUM_THREADS"] == environment["OMP_NUM_THREADS"] == "1"
    assert default_processes(device) >= 1
