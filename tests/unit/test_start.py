"""The entry points of both programs."""

import pytest

from schema import start


def test_installation_without_a_worker_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it, `textmill-worker --help` in a producer's installation ends in a traceback."""
    monkeypatch.setattr(start, "has_worker", lambda: False)

    with pytest.raises(SystemExit) as ended:
        start.textmill_worker()

    assert ended.value.code == 2
    assert "this installation has no worker" in capsys.readouterr().err
