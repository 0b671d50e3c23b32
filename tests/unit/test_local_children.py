"""The error about a program of the embedded stack that has exited."""

import sys
from pathlib import Path

import pytest

from producer.local.children import Program, children
from schema.errors import ServiceUnavailableError


@pytest.mark.parametrize("count", [1, 1000])
def test_end_of_a_log_is_whole_lines_of_this_run(tmp_path: Path, count: int) -> None:
    """Without it, last week's fault is taken for the reason why the stack stopped."""
    (tmp_path / "talker.log").write_text("a line of an earlier run\n" * 3)
    talk = f"for number in range({count}): print('line', number, 'of', 'this', 'run')\nexit(1)"
    talker = Program("talker", [sys.executable, "-c", talk], tmp_path)

    with (
        (tmp_path / "lock").open("w") as lock,
        children(tmp_path, lock.fileno()) as started,
        pytest.raises(ServiceUnavailableError) as raised,
    ):
        started.start(talker).finish()

    head, *lines = str(raised.value).splitlines()
    assert head == f"talker ended with code 1; the end of {tmp_path / 'talker.log'}:"
    first = count - len(lines)
    assert lines == [f"line {number} of this run" for number in range(first, count)]
    assert len(lines) >= min(count, 50)
