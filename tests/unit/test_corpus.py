"""The sources that a training finds in the data folder, and whether they suffice."""

import gzip
import json
import shutil
from pathlib import Path

import pytest

from schema.documents import Task
from schema.errors import InputError
from tests.fixtures.corpus import recipe
from worker.training.corpus import SPLITS, Split, sources
from worker.training.pretrain import pretrain
from worker.training.rows import SentimentRow, write_rows
from worker.training.run import train_artifact


@pytest.fixture
def data(data_folder: Path, tmp_path: Path) -> Path:
    """A copy of `data_folder` that a test may damage."""
    return shutil.copytree(data_folder, tmp_path / "data")


def test_a_licence_limit_leaves_other_sources_out(data_folder: Path) -> None:
    """Without it a permissively licensed model would learn data without such a licence."""
    permissive = sources(data_folder, Task.SENTIMENT, "A")

    assert [source.name for source in permissive] == ["notes"]
    assert len(sources(data_folder, Task.SENTIMENT)) == 2


@pytest.mark.parametrize("licence_class", [None, "a", "B (share-alike)", ["A"]])
def test_a_class_that_there_is_not_is_refused(data: Path, licence_class: object) -> None:
    """Without it, it counts as permissive, as class C, or fails when the training is over."""
    classes = {"notes": {"klass": licence_class}}
    (data / "counts.json").write_text(json.dumps(classes), encoding="utf-8")

    with pytest.raises(InputError, match=r"counts.json: notes has the class .* A, B or C"):
        sources(data, Task.SENTIMENT)


def test_a_folder_without_sources_is_refused(tmp_path: Path) -> None:
    """Without it a training with a mistyped path would learn from nothing."""
    with pytest.raises(InputError, match="holds no source"):
        sources(tmp_path, Task.KEYWORDS)


def test_a_split_need_not_be_compressed(data: Path) -> None:
    """Without it a folder of plain files is reported as empty."""
    packed = sources(data, Task.SENTIMENT)
    rows = [source.rows(split) for source in packed for split in SPLITS]
    for file in data.glob("sentiment/*/*.jsonl.gz"):
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))
        file.unlink()

    plain = sources(data, Task.SENTIMENT)

    assert plain == packed
    assert [source.rows(split) for source in plain for split in SPLITS] == rows


def test_two_files_of_a_split_are_refused(data: Path) -> None:
    """Without it, rows in the plain file are not learned, and nobody notices."""
    plain = data / "sentiment" / "notes" / "train.jsonl"
    plain.touch()

    with pytest.raises(InputError) as refused:
        sources(data, Task.SENTIMENT)

    assert f"{plain} and {plain}.gz are both there" in str(refused.value)


@pytest.mark.parametrize("split", SPLITS)
def test_a_source_may_have_one_split_alone(data: Path, split: Split) -> None:
    """Without it, validation texts in a folder of their own are ignored without a word."""
    (notes,) = sources(data, Task.SENTIMENT, "A")
    for other in set(SPLITS) - {split}:
        notes.path(other).unlink()

    assert sources(data, Task.SENTIMENT, "A") == [notes]


@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_training_without_rows_for_it_does_not_begin(
    data: Path, language_model: Path, tmp_path: Path, split: Split, *, empty: bool
) -> None:
    """Without it a training runs every epoch and then fails, or makes a model of nothing."""
    for source in sources(data, Task.SENTIMENT):
        source.path(split).unlink()
        if empty:
            write_rows(source.path(split), [])
    reports = train_artifact(
        recipe(data, Task.SENTIMENT, start=language_model), tmp_path / "out", resume=False
    )

    with pytest.raises(InputError) as refused:
        next(reports)

    assert str(data / "sentiment" / "SOURCE" / f"{split}.jsonl.gz") in str(refused.value)


def test_rows_of_which_cleaning_leaves_nothing_are_refused(
    data: Path, language_model: Path, tmp_path: Path
) -> None:
    """Without it the loss is not a number, and an artifact is written all the same."""
    for source in sources(data, Task.SENTIMENT):
        write_rows(source.path("train"), [SentimentRow(text="\u200b", label="neutral")])
    chosen = recipe(data, Task.SENTIMENT, start=language_model)

    with pytest.raises(InputError, match="teach nothing"):
        list(train_artifact(chosen, tmp_path / "out", resume=False))


def test_a_language_model_wants_training_texts(data: Path, tmp_path: Path) -> None:
    """Without it a folder with only test splits would cause a traceback."""
    for file in data.glob("*/*/train.jsonl.gz"):
        file.unlink()
    wanted = recipe(data, Task.SENTIMENT).language_model()

    with pytest.raises(InputError, match="rows to learn from"):
        next(pretrain(wanted, tmp_path / "out", resume=False))
