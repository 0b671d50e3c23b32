"""Plots of an evaluation."""

import builtins
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from schema.documents import Task
from schema.errors import InputError
from schema.outcomes import SENTIMENT_LABELS
from worker.pipeline import Pipeline
from worker.training.corpus import sources
from worker.training.plots import findings, plot
from worker.training.rows import SentimentRow


@pytest.mark.parametrize("task", list(Task))
def test_a_picture_is_drawn_for_every_task(
    task: Task, artifacts: Path, data_folder: Path, tmp_path: Path
) -> None:
    """Without it `evaluate --plots` would fail after it has measured."""
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    [source, *_] = sources(data_folder, task)

    plot(Pipeline.load(artifacts / task, "cpu"), source.rows("test"), tmp_path / "out.png")

    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_every_analysed_row_is_counted_once(artifacts: Path, data_folder: Path) -> None:
    """Without it a matrix could show other rows than the measures beside it."""
    [source, *_] = sources(data_folder, Task.SENTIMENT)
    rows = source.rows("test")

    [matrix], claims = findings(Pipeline.load(artifacts / "sentiment", "cpu"), rows)

    assert matrix.counts.sum() == len(rows) == len(claims.scores)
    assert np.trace(matrix.counts) == claims.hits.sum()


def test_a_document_that_cannot_be_analysed_has_no_decision(artifacts: Path) -> None:
    """Without it a plot would count such documents as right that the measures count as wrong."""
    rows = [SentimentRow(text="\u200b", label=label) for label in SENTIMENT_LABELS]

    [matrix], claims = findings(Pipeline.load(artifacts / "sentiment", "cpu"), rows)

    assert matrix.counts.sum() == 0
    assert not claims.hits.any()


def test_only_annotated_labels_have_a_matrix(artifacts: Path, data_folder: Path) -> None:
    """Without it a plot would count errors for labels that nobody annotated."""
    [source] = sources(data_folder, Task.MODERATION)
    rows = source.rows("test")

    matrices, _ = findings(Pipeline.load(artifacts / "moderation", "cpu"), rows)

    assert {matrix.title: int(matrix.counts.sum()) for matrix in matrices} == {
        "spam": len(rows),
        "fraud": sum("fraud" in row.annotated for row in rows if hasattr(row, "annotated")),
    }


def test_missing_matplotlib_is_said(
    artifacts: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a missing extra would cause a traceback."""
    real = builtins.__import__

    def absent(name: str, *rest: object) -> ModuleType:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", absent)
    [source, *_] = sources(data_folder, Task.SENTIMENT)

    with pytest.raises(InputError, match="its extra `plots`"):
        plot(Pipeline.load(artifacts / "sentiment", "cpu"), source.rows("test"), tmp_path / "a.png")
