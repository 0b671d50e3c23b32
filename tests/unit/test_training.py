"""Training, on a few sentences."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schema.documents import Task
from schema.errors import ArtifactError, InputError, TextmillError
from tests.fixtures.corpus import SPLITS, broken_off, recipe, write_source
from tests.fixtures.training import examples_of, interrupt, version
from worker.pipeline import Pipeline
from worker.pipeline.artifact import WEIGHTS, model_version, read_config
from worker.pipeline.crf import BEGIN, INSIDE, OUTSIDE
from worker.pipeline.decoders import UNKNOWN
from worker.pipeline.model import Model
from worker.pipeline.preprocess import preprocess
from worker.pipeline.tokenize import Tokenizer
from worker.training.checkpoint import CHECKPOINT
from worker.training.examples import examples
from worker.training.loop import EpochReport, TrainingConfig, TrainingState, train
from worker.training.pretrain import pretrain
from worker.training.rows import KeywordsRow, SentimentRow
from worker.training.run import fresh_state, train_artifact
from worker.training.start import TEMPERATURE, Start
from worker.training.validation import Validation


@pytest.mark.parametrize("task", list(Task))
def test_a_resumed_training_ends_as_an_uninterrupted_one(
    task: Task, data_folder: Path, language_model: Path, artifacts: Path, tmp_path: Path
) -> None:
    """Without it an interruption would change the model that a seed stands for."""
    chosen, out = recipe(data_folder, task, start=language_model), tmp_path / "out"
    interrupt(train_artifact(chosen, out, resume=False))

    resumed = version(train_artifact(chosen, out, resume=True))

    for name in read_config(out).files():
        assert (out / name).read_bytes() == (artifacts / task / name).read_bytes()
    assert resumed in (artifacts / task / "card.json").read_text(encoding="utf-8")
    assert not (out / CHECKPOINT).exists()


def test_a_training_makes_the_language_model_that_it_is_not_given(
    data_folder: Path, artifacts: Path, tmp_path: Path
) -> None:
    """Without it one command would not make the shipped artifact, or not after an interruption."""
    chosen = recipe(data_folder, Task.SENTIMENT)
    interrupt(train_artifact(chosen, tmp_path, resume=False))

    version(train_artifact(chosen, tmp_path, resume=True))

    for name in ("config.json", "tokenizer.json", "weights.safetensors"):
        assert (tmp_path / name).read_bytes() == (artifacts / "sentiment" / name).read_bytes()


def test_a_training_that_is_broken_off_leaves_the_artifact_as_it_was(
    data_folder: Path, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it a model that serves is lost to a training of another, or mixed with it."""
    folder = shutil.copytree(artifacts / "sentiment", tmp_path / "sentiment")
    (folder / "notes.txt").write_text("ours", encoding="utf-8")
    chosen = recipe(data_folder, Task.SENTIMENT, seed=9, start=artifacts / "sentiment", epochs=1)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr("worker.training.finish.write_card", broken_off)
        with pytest.raises(KeyboardInterrupt):
            list(train_artifact(chosen, folder, resume=False))
    between = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    made = version(train_artifact(chosen, folder, resume=True))

    assert between == before
    assert model_version(folder, read_config(folder)) == made
    assert {file.name for file in folder.iterdir()} == before.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["sentiment"]


def test_a_pretraining_that_is_broken_off_leaves_the_language_model_as_it_was(
    data_folder: Path, language_model: Path, tmp_path: Path
) -> None:
    """Without it hours of pretraining are lost to the first minutes of another."""
    folder = shutil.copytree(language_model, tmp_path / "language")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    chosen = recipe(data_folder, Task.SENTIMENT).language_model()
    chosen = replace(chosen, training=replace(chosen.training, seed=9))
    interrupt(pretrain(chosen, folder, resume=False))
    between = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}

    list(pretrain(chosen, folder, resume=True))

    assert between == before
    assert (folder / WEIGHTS).read_bytes() != before[WEIGHTS]
    assert {file.name for file in folder.iterdir()} == before.keys()


def test_two_pretrainings_do_not_write_to_one_folder(data_folder: Path, tmp_path: Path) -> None:
    """Without it, the second one deletes the checkpoint of the first."""
    chosen = recipe(data_folder, Task.SENTIMENT).language_model()
    first = pretrain(chosen, tmp_path, resume=False)
    next(report for report in first if isinstance(report, EpochReport))

    for resume in (False, True):
        with pytest.raises(InputError, match="another training writes to"):
            next(pretrain(chosen, tmp_path, resume=resume))

    list(first)
    assert (tmp_path / WEIGHTS).is_file()


def test_data_that_changes_during_a_pretraining_makes_no_language_model(
    data_folder: Path, tmp_path: Path
) -> None:
    """Without it, a card would name texts that the language model did not read."""
    data, out = shutil.copytree(data_folder, tmp_path / "data"), tmp_path / "out"
    reports = pretrain(recipe(data, Task.SENTIMENT).language_model(), out, resume=False)
    next(report for report in reports if isinstance(report, EpochReport))
    train_file = data / "moderation" / "mail" / "train.jsonl.gz"
    shutil.copy(train_file.with_name("test.jsonl.gz"), train_file)

    with pytest.raises(InputError, match="changed during the training"):
        list(reports)

    assert [path.name for path in out.iterdir()] == [CHECKPOINT]


def test_a_language_model_is_for_every_login(language_model: Path) -> None:
    """Without it, only the login that made it can start a training from it."""
    modes = {file.name: file.stat().st_mode for file in language_model.iterdir()}

    assert len(set(modes.values())) == 1, modes


def test_a_small_source_is_seen_more_often_than_it_has_rows(tmp_path: Path) -> None:
    """Without it a set of a few thousand reviews drowns among tens of thousands of tweets."""
    plain = [{"text": f"The train {n} leaves at nine", "label": "neutral"} for n in range(200)]
    praise = [{"text": "The tea was lovely and warm", "label": "positive"}] * 4
    write_source(tmp_path / "sentiment" / "large", plain + praise)
    write_source(tmp_path / "sentiment" / "small", praise)
    tokenizer = Tokenizer.train((preprocess(row["text"]) for row in plain), 300)

    made = examples_of(recipe(tmp_path, Task.SENTIMENT), tokenizer)

    small = sum(UNKNOWN in example.gold for example in made)
    rows = 4 * SPLITS["train"]
    assert small > 3 * rows
    assert len(made) - small < 2 * 204 * SPLITS["train"]


def test_another_seed_gives_another_model(
    data_folder: Path, language_model: Path, artifacts: Path, tmp_path: Path
) -> None:
    """Without it the spread over seeds would be measured on one model."""
    other = recipe(data_folder, Task.SENTIMENT, seed=1, epochs=1, start=language_model)

    made = version(train_artifact(other, tmp_path, resume=False))

    assert made not in (artifacts / "sentiment" / "card.json").read_text(encoding="utf-8")


def test_nothing_to_resume_is_said(data_folder: Path, tmp_path: Path) -> None:
    """Without it a mistyped folder would begin hours of training anew."""
    with pytest.raises(InputError, match="no training to resume"):
        version(train_artifact(recipe(data_folder, Task.SENTIMENT), tmp_path, resume=True))


def test_two_trainings_do_not_write_to_one_folder(
    data_folder: Path, language_model: Path, tmp_path: Path
) -> None:
    """Without it, the second one deletes the checkpoint of the first."""
    chosen = recipe(data_folder, Task.SENTIMENT, epochs=1, start=language_model)
    first = train_artifact(chosen, tmp_path, resume=False)
    next(report for report in first if isinstance(report, EpochReport))

    for resume in (False, True):
        with pytest.raises(InputError, match="another training writes to"):
            next(train_artifact(chosen, tmp_path, resume=resume))

    list(first)
    assert {path.name for path in tmp_path.iterdir()}.isdisjoint({CHECKPOINT, ".lock"})
    assert model_version(tmp_path, read_config(tmp_path))


@pytest.mark.parametrize("mistake", ["no artifact", "another cell"])
def test_a_wrong_start_leaves_an_interrupted_training_as_it_is(
    data_folder: Path, language_model: Path, tmp_path: Path, mistake: str
) -> None:
    """Without it, a mistyped option costs the hours that can be resumed."""
    chosen = recipe(data_folder, Task.SENTIMENT, start=language_model)
    interrupt(train_artifact(chosen, tmp_path, resume=False))

    wrong = (
        replace(chosen, start=data_folder)
        if mistake == "no artifact"
        else replace(chosen, cell="lstm")
    )

    with pytest.raises(ArtifactError):
        list(train_artifact(wrong, tmp_path, resume=False))

    assert version(train_artifact(chosen, tmp_path, resume=True))


def test_a_training_is_not_resumed_with_other_options(data_folder: Path, tmp_path: Path) -> None:
    """Without it weights of one recipe would be sold under the card of another."""
    interrupt(train_artifact(recipe(data_folder, Task.SENTIMENT), tmp_path, resume=False))

    with pytest.raises(InputError, match="other data or options"):
        version(train_artifact(recipe(data_folder, Task.SENTIMENT, seed=9), tmp_path, resume=True))


def test_data_that_changes_during_a_training_makes_no_artifact(
    data_folder: Path, language_model: Path, tmp_path: Path
) -> None:
    """Without it, a card would name data that the model did not learn."""
    data, out = shutil.copytree(data_folder, tmp_path / "data"), tmp_path / "out"
    reports = train_artifact(
        recipe(data, Task.SENTIMENT, epochs=1, start=language_model), out, resume=False
    )
    next(report for report in reports if isinstance(report, EpochReport))
    train_file = data / "sentiment" / "notes" / "train.jsonl.gz"
    shutil.copy(train_file.with_name("test.jsonl.gz"), train_file)

    with pytest.raises(InputError, match="changed during the training"):
        list(reports)

    assert [path.name for path in out.iterdir()] == [CHECKPOINT]


def test_training_halves_the_loss(data_folder: Path, artifacts: Path) -> None:
    """Without it a training that learns nothing would pass."""
    chosen = recipe(data_folder, Task.SENTIMENT, epochs=6)
    calm = replace(chosen.training, learning_rate=0.003)
    tokenizer = Start.load(artifacts / Task.SENTIMENT).tokenizer
    state = TrainingState.fresh(lambda: Model(chosen.config(tokenizer).model), calm)
    validate = Validation(chosen, tokenizer)

    reports = list(train(state, examples_of(chosen, tokenizer), validate, calm))

    losses = [report.loss for report in reports if isinstance(report, EpochReport)]
    assert losses[-1] < losses[0] / 2


def test_a_start_does_not_bring_its_calibration_along(data_folder: Path, artifacts: Path) -> None:
    """Without it a refined model would be calibrated on top of another's temperature."""
    start = Start.load(artifacts / Task.SENTIMENT)
    start.weights[TEMPERATURE].fill_(2)

    state = fresh_state(recipe(data_folder, Task.SENTIMENT), start)

    assert state.model.decoder.get_buffer("temperature").item() == 1


@pytest.mark.parametrize("task", Task)
def test_a_start_is_known_by_its_model_version(task: Task, artifacts: Path) -> None:
    """Without it a card would name a start that no other place knows."""
    start = Start.load(artifacts / task)

    assert start.version == Pipeline.load(artifacts / task, "cpu").model_version


def test_training_ends_when_validation_stops_improving(data_folder: Path, artifacts: Path) -> None:
    """Without it a network would go on to learn its training texts by heart."""
    chosen = recipe(data_folder, Task.SENTIMENT)
    start = Start.load(artifacts / Task.KEYWORDS)
    state = fresh_state(chosen, start)
    examples = examples_of(chosen, start.tokenizer)
    scores = iter([0.5, 0.7, 0.6, 0.7, 0.9])
    config = TrainingConfig(epochs=5, patience=2)

    reports = list(train(state, examples, lambda _: next(scores), config))

    epochs = [report for report in reports if isinstance(report, EpochReport)]
    assert [report.best for report in epochs] == [True, True, False, False]
    assert state.best_score == 0.7


def test_a_training_that_diverges_is_an_error(data_folder: Path, artifacts: Path) -> None:
    """Without it hours end in an artifact of weights that are no numbers, or of none."""
    chosen = recipe(data_folder, Task.SENTIMENT)
    start = Start.load(artifacts / Task.KEYWORDS)
    examples = examples_of(chosen, start.tokenizer)
    state = fresh_state(chosen, start)

    with pytest.raises(TextmillError, match=r"diverged: after epoch 1 .* score nan"):
        list(train(state, examples, lambda _: float("nan"), TrainingConfig(epochs=2)))


def test_a_class_that_a_source_lacks_is_unknown() -> None:
    """Without it reviews would teach that nothing is ever neutral."""
    rows = [SentimentRow(text="good", label="positive"), SentimentRow(text="bad", label="negative")]

    encoded = list(examples(rows, tokenizer()))

    assert [example.gold.tolist() for example in encoded] == [[0, UNKNOWN, 1], [1, UNKNOWN, 0]]


def test_keywords_are_tagged_at_whole_words_and_the_longest_wins() -> None:
    """Without it "art" would be learned from "party"."""
    row = KeywordsRow(text="art party, modern art", keywords=("Art", "modern  art", "absent"))

    [example] = examples([row], tokenizer())

    phrases = np.flatnonzero(example.gold == BEGIN)
    assert phrases[0] == 0
    assert len(phrases) == 2
    assert example.gold[-1] == INSIDE
    assert (example.gold[1 : phrases[1]] == OUTSIDE).all()


@pytest.mark.parametrize(("word", "part"), [("caf\u00e9", "caf"), ("котик", "кот")])
def test_keyword_within_a_longer_word_of_any_letters_is_not_tagged(word: str, part: str) -> None:
    """Without it, a tagger would learn to end words where serving says that they go on."""
    [example] = examples([KeywordsRow(text=f"{part}, {word}", keywords=(part,))], tokenizer())

    assert (example.gold == BEGIN).sum() == 1


def test_of_keywords_as_long_as_each_other_always_the_same_wins() -> None:
    """Without it a training would depend on the order of a set, which differs in every process."""
    letters = "abcdefghijklmnopqrst"
    keywords = [words for one in letters for words in (f"a{one} b{one}", f"b{one} c{one}")]
    text = ", ".join(f"a{one} b{one} c{one}" for one in letters)
    tokens = tokenizer()

    [example] = examples([KeywordsRow(text=text, keywords=tuple(keywords))], tokens)

    document = tokens.tokenize(preprocess(text), spans=True, window=256, overlap=32)
    begun = document.starts[example.gold == BEGIN].tolist()
    assert [text[start : start + 2] for start in begun] == [f"a{one}" for one in letters]


def test_a_text_without_its_keywords_teaches_nothing() -> None:
    """Without it a tagger would learn to stay silent: most sources list but a few of many."""
    rows = [KeywordsRow(text="art party", keywords=("absent",))]

    assert list(examples(rows, tokenizer())) == []


def tokenizer() -> Tokenizer:
    texts = ["art party, modern art", "good", "bad"]
    return Tokenizer.train([preprocess(text) for text in texts], 300)
