"""Clocks that jump."""

from pathlib import Path

import pytest

from producer.jobs import status
from tests.fixtures.mill import Mill

LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]
TEXTS = ["The tea was lovely and warm", "味道很差，不会再来", "The shop opens at nine", "物流很快"]


@pytest.mark.slow
@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed (apt install libfaketime)")
def test_clock_jumps_of_worker_and_dispatch_change_nothing(mill: Mill, tmp_path: Path) -> None:
    """Without it, changing a host's clock loses its leases, or keeps dead workers' leases alive."""
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    variables = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "PLANTED_DELAY": "0.05",
    }
    mill.dispatch(**variables)
    mill.workers(1, **variables)

    job_ids = []
    for jump in ("+7200", "-7200", "+400d", "-1"):
        job_ids.append(mill.submit(TEXTS * 50))
        mill.until(lambda: status(mill.engine, job_ids[-1]).succeeded > 0, "the job runs")
        clock.write_text(f"{jump}\n")

    for job_id in job_ids:
        assert mill.finished(job_id).succeeded == 200
