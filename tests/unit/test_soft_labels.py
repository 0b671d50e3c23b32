"""A tiny network learns soft labels; those that do not fit it are refused."""

import json
import shutil
from pathlib import Path

import pytest

from schema.documents import Task
from schema.errors import InputError
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS
from tests.fixtures.corpus import PLAIN, PRAISE, recipe
from tests.fixtures.teaching import teaching
from tests.fixtures.training import examples_of, rows_of
from worker.pipeline.decoders import UNKNOWN
from worker.pipeline.preprocess import preprocess
from worker.training.examples import SOFT_SHARE, label_gold
from worker.training.rows import SentimentRow, TaughtModerationRow, TaughtSentimentRow, write_rows
from worker.training.run import Finished, train_artifact
from worker.training.soft_labels import SoftLabels, SoftRow
from worker.training.start import Start
from worker.training.teacher import teach


def test_a_network_learns_the_soft_labels(
    data_folder: Path, language_model: Path, artifacts: Path, taught: Path, tmp_path: Path
) -> None:
    """Without it --soft-labels would change the card but no weights."""
    labels = SoftLabels.load(taught, Task.SENTIMENT, "C")
    chosen = recipe(data_folder, Task.SENTIMENT, start=language_model, soft_labels=(labels,))

    *_, done = train_artifact(chosen, tmp_path, resume=False)

    assert isinstance(done, Finished)
    assert done.card.teachers == (labels.teacher,)
    assert labels.teacher.weights_hash in (tmp_path / "CARD.md").read_text(encoding="utf-8")
    for name in ("weights.safetensors", "character_ngrams.safetensors"):
        unlike = (artifacts / Task.SENTIMENT / name).read_bytes()
        assert (tmp_path / name).read_bytes() != unlike


def test_each_language_may_have_a_teacher_of_its_own(
    data_folder: Path, language_model: Path, transformer: Path, taught: Path, tmp_path: Path
) -> None:
    """Without it a second teacher would replace the first one, or be missing from the card."""
    for _ in teach(
        teaching(data_folder, transformer, language="zh"), tmp_path / "taught", resume=False
    ):
        pass
    english, chinese = (
        SoftLabels.load(folder, Task.SENTIMENT, "C") for folder in (taught, tmp_path / "taught")
    )
    both = (english, chinese)
    chosen = recipe(data_folder, Task.SENTIMENT, start=language_model, soft_labels=both)

    rows = [row for rows in rows_of(chosen).sets for row in rows]
    *_, done = train_artifact(chosen, tmp_path / "trained", resume=False)

    assert {row.text for row in rows if isinstance(row, TaughtSentimentRow)} == {
        *english.by_text,
        *chinese.by_text,
    }
    assert english.by_text.keys().isdisjoint(chinese.by_text)
    assert isinstance(done, Finished)
    assert done.card.teachers == (english.teacher, chinese.teacher)


def test_soft_labels_count_beside_the_label_and_for_what_a_source_lacks() -> None:
    """Without it the label, or what the teacher knows beyond it, would be lost."""
    soft = {"negative": 0.1, "neutral": 0.3, "positive": 0.6}
    row = TaughtSentimentRow.model_validate({"text": "warm tea", "label": "neutral", "soft": soft})

    gold = label_gold(row, {"neutral", "positive"})

    expected = [SOFT_SHARE * 0.1, SOFT_SHARE * 0.3 + 1 - SOFT_SHARE, SOFT_SHARE * 0.6]
    assert gold.tolist() == pytest.approx(expected)


def test_soft_labels_of_moderation_leave_unknown_what_a_source_does_not_annotate() -> None:
    """Without it a guess would be taught as if somebody had annotated the label."""
    soft = dict.fromkeys(MODERATION_LABELS, 0.4)
    fields = {"text": "win a prize", "labels": ["spam"], "annotated": ["spam", "fraud"]}
    row = TaughtModerationRow.model_validate({**fields, "soft": soft})

    gold = dict(zip(MODERATION_LABELS, label_gold(row, set()).tolist(), strict=True))

    assert gold.pop("spam") == pytest.approx(SOFT_SHARE * 0.4 + 1 - SOFT_SHARE)
    assert gold.pop("fraud") == pytest.approx(SOFT_SHARE * 0.4)
    assert set(gold.values()) == {UNKNOWN}


def test_ordinary_texts_are_learned_with_their_soft_labels(
    data_folder: Path, language_model: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it a teacher would judge ordinary texts, and its scores would be thrown away."""
    for _ in teach(
        teaching(data_folder, transformer, task=Task.MODERATION), tmp_path, resume=False
    ):
        pass
    labels = SoftLabels.load(tmp_path, Task.MODERATION, "C")
    tokenizer = Start.load(language_model).tokenizer
    ids = tokenizer.tokenize(preprocess(PRAISE[0]), spans=False, window=256, overlap=0).ids.tolist()

    made = examples_of(recipe(data_folder, Task.MODERATION, soft_labels=(labels,)), tokenizer)

    learned = [example.gold.tolist() for example in made if example.ids.tolist() == ids]
    expected = [SOFT_SHARE * labels.by_text[PRAISE[0]][label] for label in MODERATION_LABELS]
    assert learned
    assert all(gold == pytest.approx(expected) for gold in learned)


def test_soft_labels_of_other_data_are_refused(
    data_folder: Path, language_model: Path, taught: Path, tmp_path: Path
) -> None:
    """Without it a teacher may have seen texts that this data uses for validation or test."""
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    rows = [SentimentRow(text="The harbour is quiet", label="neutral")]
    write_rows(folder / "sentiment" / "notes" / "valid.jsonl.gz", rows)
    labels = SoftLabels.load(taught, Task.SENTIMENT, "C")
    chosen = recipe(folder, Task.SENTIMENT, start=language_model, soft_labels=(labels,))

    with pytest.raises(InputError, match="made from other data"):
        next(train_artifact(chosen, tmp_path / "out", resume=False))


def test_soft_labels_that_their_teacher_did_not_make_are_refused(
    taught: Path, tmp_path: Path
) -> None:
    """Without it labels of one licence class would pass under the card of another."""
    shutil.copytree(taught, tmp_path, dirs_exist_ok=True)
    labels = SoftLabels.load(taught, Task.SENTIMENT, "C")
    others = {**labels.by_text, PLAIN[0]: dict.fromkeys(SENTIMENT_LABELS, 1 / 3)}
    write_rows(
        tmp_path / "soft_labels.jsonl.gz",
        [SoftRow(text=text, soft=soft) for text, soft in others.items()],
    )

    with pytest.raises(InputError, match="is not what"):
        SoftLabels.load(tmp_path, Task.SENTIMENT, "C")


def test_a_teacher_of_another_task_is_refused(taught: Path) -> None:
    """Without it a model would learn another task's answers."""
    with pytest.raises(InputError, match="not of moderation"):
        SoftLabels.load(taught, Task.MODERATION, "C")


def test_a_teacher_of_less_permissive_sources_is_refused(taught: Path) -> None:
    """Without it a permissively licensed model would learn data without such a licence."""
    with pytest.raises(InputError, match="beyond class A"):
        SoftLabels.load(taught, Task.SENTIMENT, "A")


def test_soft_labels_of_nobody_are_refused(taught: Path, tmp_path: Path) -> None:
    """Without it a card could not say where an artifact's knowledge comes from."""
    name = "soft_labels.jsonl.gz"
    (tmp_path / name).write_bytes((taught / name).read_bytes())
    (tmp_path / "teacher.json").write_text(json.dumps({"transformer": "it"}), encoding="utf-8")

    with pytest.raises(InputError, match="does not say who taught"):
        SoftLabels.load(tmp_path, Task.SENTIMENT, "C")
