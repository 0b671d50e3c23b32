"""Keyword training: taggers that each leave out a fold, and the ranker that learns from them."""

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from schema.documents import Task
from tests.fixtures.corpus import recipe
from tests.fixtures.training import interrupt, rows_of, version
from worker.pipeline.artifact import RANKER
from worker.pipeline.ranker import Ranker
from worker.training.loop import EpochReport
from worker.training.ranker import RankerRows
from worker.training.recipe import FOLDS
from worker.training.rows import Row
from worker.training.run import FOLD, train_artifact
from worker.training.training_rows import TrainingRows
from worker.training.written import WRITTEN

FILES = len(WRITTEN[Task.KEYWORDS])


def test_a_training_resumed_in_a_fold_ends_as_an_uninterrupted_one(
    data_folder: Path, language_model: Path, artifacts: Path, tmp_path: Path
) -> None:
    """Without it the taggers that teach the ranker would start over, or the ranker would differ."""
    chosen = recipe(data_folder, Task.KEYWORDS, start=language_model)
    reports = train_artifact(chosen, tmp_path, resume=False)
    next(report for report in reports if report == FOLD.format(FOLDS - 1))
    interrupt(reports)

    resumed = list(train_artifact(chosen, tmp_path, resume=True))

    ranker = artifacts / Task.KEYWORDS / RANKER
    assert (tmp_path / RANKER).read_bytes() == ranker.read_bytes()
    assert not any(isinstance(report, EpochReport) and report.epoch == 1 for report in resumed)


def test_a_fold_holds_no_text_that_its_tagger_learned(data_folder: Path) -> None:
    """Without it the ranker would judge a tagger by texts that the tagger knows by heart."""
    chosen = recipe(data_folder, Task.KEYWORDS)
    texts = {row.text for source in chosen.sources() for row in source.rows("train")}

    parted = [rows_of(part) for part in chosen.folds()]

    new = [texts_of(ranked(rows).new[:-FILES]) for rows in parted]
    assert set[str]().union(*new) == texts
    for unknown, rows in zip(new, parted, strict=True):
        assert unknown
        assert texts_of(rows.sets) == texts - unknown
        assert texts_of([ranked(rows).counted]) & texts == texts - unknown


def test_a_text_written_for_training_is_of_one_fold(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a tagger would have learned texts that count as new to it, or half as many."""
    for name in WRITTEN[Task.KEYWORDS]:
        monkeypatch.setitem(WRITTEN[Task.KEYWORDS], name, 1000)
    chosen = recipe(data_folder, Task.KEYWORDS)

    everything = texts_of([rows_of(chosen).written])
    parted = [rows_of(part) for part in chosen.folds()]

    assert len(everything) > 2_000
    for rows in parted:
        unknown = texts_of(ranked(rows).new[-FILES:])
        assert unknown
        assert texts_of([rows.written]) == everything - unknown
        assert everything & texts_of([ranked(rows).counted]) == everything - unknown


def ranked(rows: TrainingRows) -> RankerRows:
    assert rows.ranker is not None
    return rows.ranker


def texts_of(sets: Iterable[Iterable[Row]]) -> set[str]:
    return {row.text for rows in sets for row in rows}


@pytest.mark.parametrize(("started", "trainings"), [("keywords", 1), ("sentiment", 1 + FOLDS)])
def test_only_a_tagger_that_has_the_labels_to_learn_is_trained_in_folds(
    started: str, trainings: int, data_folder: Path, artifacts: Path, tmp_path: Path
) -> None:
    """Without it texts would count as new to taggers that had learned their keywords before."""
    chosen = recipe(data_folder, Task.KEYWORDS, start=artifacts / started, epochs=1)

    reports = list(train_artifact(chosen, tmp_path, resume=False))

    assert sum(isinstance(report, EpochReport) for report in reports) == trainings


def test_a_model_that_is_trained_on_keeps_the_weights_of_its_ranker(
    data_folder: Path, artifacts: Path, tmp_path: Path
) -> None:
    """Without it a retrained model would learn to rank from few new texts, and rank worse."""
    start = artifacts / "keywords"
    chosen = recipe(data_folder, Task.KEYWORDS, start=start, epochs=1)

    version(train_artifact(chosen, tmp_path, resume=False))

    before, after = Ranker.load(start / RANKER).weights, Ranker.load(tmp_path / RANKER).weights
    assert all(
        (getattr(before, item.name) == getattr(after, item.name)).all() for item in fields(before)
    )


def test_a_training_begun_anew_forgets_another_in_the_same_folder(
    data_folder: Path, language_model: Path, tmp_path: Path
) -> None:
    """Without it the folds of the other training would keep this one from being resumed."""
    other = recipe(data_folder, Task.KEYWORDS, start=language_model, seed=1)
    reports = train_artifact(other, tmp_path, resume=False)
    next(report for report in reports if report == FOLD.format(FOLDS - 1))
    interrupt(reports)
    chosen = recipe(data_folder, Task.KEYWORDS, start=language_model)
    interrupt(train_artifact(chosen, tmp_path, resume=False))

    assert version(train_artifact(chosen, tmp_path, resume=True))
