"""A training from an artifact also learns the scores that it gives its own training texts."""

import shutil
from pathlib import Path

import pytest

from schema.documents import LABELS, Task
from tests.fixtures.corpus import BLAME, PLAIN, PRAISE, recipe, write_source
from worker.pipeline import Pipeline
from worker.training.evaluate import sentiment_scores
from worker.training.rows import SentimentRow
from worker.training.run import train_artifact
from worker.training.self_distillation import own_soft_labels
from worker.training.start import Start


def test_what_it_says_are_its_scores(data_folder: Path, artifacts: Path) -> None:
    """Without it a model would be taught scores that its parent never gave."""
    start = artifacts / Task.SENTIMENT
    rows = [SentimentRow(text=text, label="neutral") for text in (*PRAISE, *BLAME, *PLAIN)]

    known = own_soft_labels(recipe(data_folder, Task.SENTIMENT), Start.load(start))

    assert known.keys() == {row.text for row in rows}
    scores = sentiment_scores(Pipeline.load(start, "cpu"), rows)
    for row, row_scores in zip(rows, scores.tolist(), strict=True):
        assert known[row.text] == pytest.approx(
            dict(zip(LABELS[Task.SENTIMENT], row_scores, strict=True)), abs=1e-5
        )


def test_of_new_labels_it_says_nothing(data_folder: Path, artifacts: Path, tmp_path: Path) -> None:
    """Without it a model could hardly learn that its parent was wrong."""
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    own = [{"text": "The lamp hums", "label": "negative"}]
    write_source(folder / "sentiment" / "own", own)

    known = own_soft_labels(recipe(folder, Task.SENTIMENT), Start.load(artifacts / Task.SENTIMENT))

    assert "The lamp hums" not in known
    assert PRAISE[0] in known


def test_moderation_also_remembers_ordinary_text(data_folder: Path, artifacts: Path) -> None:
    """Without it the false alarms that a teacher removed could come back."""
    known = own_soft_labels(
        recipe(data_folder, Task.MODERATION), Start.load(artifacts / Task.MODERATION)
    )

    assert {PLAIN[0], PRAISE[0]} <= known.keys()
    assert known[PLAIN[0]].keys() == set(LABELS[Task.MODERATION])


@pytest.mark.parametrize("task", LABELS)
def test_a_training_learns_what_it_remembers(
    task: Task,
    data_folder: Path,
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without it the scores would be computed and thrown away."""
    chosen = recipe(data_folder, task, start=artifacts / task, epochs=1)
    told = [*train_artifact(chosen, tmp_path / "remembers", resume=False)]
    monkeypatch.setattr("worker.training.run.own_soft_labels", lambda *_: {})
    for out in ("forgets", "forgets again"):
        for _ in train_artifact(chosen, tmp_path / out, resume=False):
            pass

    assert "asking the model that it starts from" in told
    remembers, forgets, again = (
        (tmp_path / out / "weights.safetensors").read_bytes()
        for out in ("remembers", "forgets", "forgets again")
    )
    assert remembers != forgets
    assert forgets == again
