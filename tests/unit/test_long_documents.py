"""A document of a megabyte is analysed within bounded memory."""

import subprocess
import sys

import pytest

from schema.documents import Task
from worker.pipeline.artifact import SHIPPED

SIZE = 1024 * 1024
MOST_GROWTH = 400
"""MiB that a process may grow by; one float per token and unit of all windows at once takes 500."""

PROGRAM = """
import resource, sys
from pathlib import Path
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from schema.outcomes import Failure

def peak():
    # Kilobytes, but bytes on macOS.
    unit = 1024 * 1024 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

pipeline = Pipeline.load(Path(sys.argv[1]), "cpu")
english = "The tea was warm, the soup cold, and the staff of room %d friendly. "
chinese = "这家店的服务很好，价格也不贵，第%d次来了。"
piece = "".join(english % n + chinese % n for n in range(2000))
text = (piece * 20).encode()[: int(sys.argv[2])].decode(errors="ignore")
analyse(pipeline, [piece[:2000]])
before = peak()
[result] = analyse(pipeline, [text])
assert not isinstance(result, Failure), result
print(peak() - before)
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("task", list(Task))
def test_a_megabyte_takes_bounded_memory(task: Task) -> None:
    """Without it one long document could take a worker and its neighbours down."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SHIPPED / task), str(SIZE)],
        capture_output=True,
        text=True,
        check=False,
        env={"OMP_NUM_THREADS": "1", "PYTHONPATH": "."},
    )

    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MOST_GROWTH
