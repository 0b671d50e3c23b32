"""A tiny transformer learns the labels, and judges texts."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from schema.documents import Task
from schema.errors import InputError
from schema.outcomes import SENTIMENT_LABELS
from tests.fixtures.corpus import ADVERTS, BLAME, PLAIN, PRAISE, recipe
from tests.fixtures.teaching import ENGLISH, teaching
from tests.fixtures.training import examples_of
from worker.pipeline.preprocess import preprocess
from worker.training.checkpoint import CHECKPOINT
from worker.training.corpus import sources
from worker.training.loop import EpochReport
from worker.training.rows import SentimentRow, write_rows
from worker.training.run import Finished, train_artifact
from worker.training.soft_labels import SoftLabels
from worker.training.start import Start
from worker.training.teacher import teach


def test_a_teacher_judges_the_training_texts_of_its_language(taught: Path) -> None:
    """Without it a network would learn what an English teacher makes of Chinese."""
    labels = SoftLabels.load(taught, Task.SENTIMENT, "C")

    assert labels.by_text.keys() == ENGLISH
    for soft in labels.by_text.values():
        assert set(soft) == set(SENTIMENT_LABELS)
        assert sum(soft.values()) == pytest.approx(1, abs=0.001)


def test_a_teacher_learns_the_labels(taught: Path) -> None:
    """Without it soft labels could be noise, and nobody would see it."""
    by_text = SoftLabels.load(taught, Task.SENTIMENT, "C").by_text

    held = {text: max(soft, key=soft.__getitem__) for text, soft in by_text.items()}

    assert [held[text] for text in (PRAISE[0], BLAME[0], PLAIN[0])] == [
        "positive",
        "negative",
        "neutral",
    ]


def test_the_same_seed_gives_the_same_soft_labels(
    data_folder: Path, transformer: Path, taught: Path, tmp_path: Path
) -> None:
    """Without it the command on a card would make another artifact."""
    for _ in teach(teaching(data_folder, transformer), tmp_path, resume=False):
        pass

    again = SoftLabels.load(tmp_path, Task.SENTIMENT, "C")
    assert again == SoftLabels.load(taught, Task.SENTIMENT, "C")


def test_a_teaching_resumed_after_its_last_epoch_gives_the_same_soft_labels(
    data_folder: Path, transformer: Path, taught: Path, tmp_path: Path
) -> None:
    """Without it a stop while texts are judged would lose an hour of fine-tuning."""
    for report in teach(teaching(data_folder, transformer), tmp_path, resume=False):
        if isinstance(report, str) and report.startswith("judging"):
            break

    resumed = list(teach(teaching(data_folder, transformer), tmp_path, resume=True))

    assert not any(isinstance(report, EpochReport) for report in resumed)
    again = SoftLabels.load(tmp_path, Task.SENTIMENT, "C")
    assert again == SoftLabels.load(taught, Task.SENTIMENT, "C")
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_teaching_with_other_options_is_not_resumed(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it a teacher of English would judge Chinese."""
    for report in teach(teaching(data_folder, transformer), tmp_path, resume=False):
        if isinstance(report, EpochReport):
            break

    other = teach(teaching(data_folder, transformer, language="zh"), tmp_path, resume=True)

    with pytest.raises(InputError, match="other data or options"):
        list(other)


def test_a_teacher_of_moderation_judges_ordinary_texts_too(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it ordinary texts would be learned without a teacher, and flagged."""
    for _ in teach(
        teaching(data_folder, transformer, task=Task.MODERATION), tmp_path, resume=False
    ):
        pass

    labels = SoftLabels.load(tmp_path, Task.MODERATION, "C")

    assert {ADVERTS[0], PLAIN[0], PRAISE[0]} <= labels.by_text.keys()
    assert labels.by_text[ADVERTS[0]]["spam"] > labels.by_text[PLAIN[0]]["spam"]
    uses = {source.name: source.use for source in labels.teacher.sources}
    assert (uses["mail"], uses["notes"]) == ("labels", "ordinary text")


def test_a_teacher_reads_no_text_of_validation_and_test(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it a network would be taught what it is measured on."""
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    left_out = [SentimentRow(text="The harbour is quiet", label="neutral")]
    for split in ("valid", "test"):
        write_rows(folder / "sentiment" / "notes" / f"{split}.jsonl.gz", left_out)

    for _ in teach(teaching(folder, transformer), tmp_path / "taught", resume=False):
        pass

    by_text = SoftLabels.load(tmp_path / "taught", Task.SENTIMENT, "C").by_text
    assert PLAIN[0] in by_text
    assert left_out[0].text not in by_text


def test_a_teacher_may_judge_texts_that_nobody_labelled(
    data_folder: Path, language_model: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it what a teacher knows of unlabelled texts would not be learned."""
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    left_out = [SentimentRow(text=ADVERTS[0], label="neutral")]
    for split in ("valid", "test"):
        write_rows(folder / "sentiment" / "notes" / f"{split}.jsonl.gz", left_out)
    asked = replace(teaching(folder, transformer), unlabelled=True)

    for _ in teach(asked, tmp_path / "taught", resume=False):
        pass

    labels = SoftLabels.load(tmp_path / "taught", Task.SENTIMENT, "C")
    alone = labels.by_text.keys() - ENGLISH
    excerpts = {text for text in alone if any(text in whole for whole in ENGLISH)}
    assert excerpts
    assert alone - excerpts
    assert ADVERTS[0] not in alone
    chosen = recipe(folder, Task.SENTIMENT, start=language_model, soft_labels=(labels,))
    tokenizer = Start.load(language_model).tokenizer
    made = {tuple(example.ids.tolist()) for example in examples_of(chosen, tokenizer)}
    for text in alone:
        ids = tokenizer.tokenize(preprocess(text), spans=False, window=256, overlap=0).ids
        assert tuple(ids.tolist()) in made
    *_, done = train_artifact(chosen, tmp_path / "trained", resume=False)
    assert isinstance(done, Finished)


def test_unlabelled_texts_teach_sentiment_alone(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it an hour of judging would make soft labels that no training learns."""
    asked = replace(teaching(data_folder, transformer, task=Task.MODERATION), unlabelled=True)

    with pytest.raises(InputError, match="leave --unlabelled out"):
        next(teach(asked, tmp_path, resume=False))


def test_weights_that_are_cut_off_are_refused(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it an incomplete download would cause a traceback."""
    shutil.copytree(transformer, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(InputError, match="name another folder"):
        list(teach(teaching(data_folder, tmp_path), tmp_path / "taught", resume=False))


def test_a_language_without_texts_is_refused(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it a teacher that learned nothing would teach."""
    with pytest.raises(InputError, match="no training text in 'other'"):
        list(teach(teaching(data_folder, transformer, language="other"), tmp_path, resume=False))


def test_a_language_without_validation_texts_is_refused(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it the first epoch would count as the best, whatever it learned."""
    data = shutil.copytree(data_folder, tmp_path / "data")
    for source in sources(data, Task.SENTIMENT):
        write_rows(source.path("valid"), [SentimentRow(text=PRAISE[2], label="positive")])

    with pytest.raises(InputError, match="no validation text in 'en'"):
        list(teach(teaching(data, transformer), tmp_path / "taught", resume=False))


def test_a_folder_without_a_transformer_is_refused(data_folder: Path, tmp_path: Path) -> None:
    """Without it a mistyped path would cause a traceback."""
    with pytest.raises(InputError, match="name another folder"):
        list(teach(teaching(data_folder, tmp_path), tmp_path, resume=False))
