"""A tiny transformer teaches a tiny network."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from transformers import BertConfig, BertModel, BertTokenizer

from schema.documents import Task
from schema.errors import InputError
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS, Language
from tests.fixtures.corpus import ADVERTS, BLAME, PLAIN, PRAISE, recipe
from worker.pipeline.decoders import UNKNOWN
from worker.pipeline.preprocess import preprocess
from worker.training.checkpoint import CHECKPOINT
from worker.training.examples import SOFT, label_gold
from worker.training.loop import EpochReport, TrainingConfig
from worker.training.recipe import make_examples
from worker.training.rows import (
    SentimentRow,
    TaughtModerationRow,
    TaughtSentimentRow,
    write_rows,
)
from worker.training.run import Finished, train_artifact
from worker.training.soft_labels import SoftLabels, SoftRow
from worker.training.start import Start
from worker.training.teacher import Teaching, teach

ENGLISH: Final = {text for text in [*PRAISE, *BLAME, *PLAIN] if text.isascii()}


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of random weights whose words are those of the sentences."""
    folder = tmp_path_factory.mktemp("transformer")
    words = sorted(
        {word.strip(",").lower() for text in [*ENGLISH, ADVERTS[0]] for word in text.split()}
    )
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def taught(data_folder: Path, transformer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its soft labels of the English sentences."""
    folder = tmp_path_factory.mktemp("taught")
    for _ in teach(teaching(data_folder, transformer), folder, resume=False):
        pass
    return folder


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
    """Without it an hour of fine-tuning would be lost to a stop while texts are judged."""
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


def test_a_network_learns_the_soft_labels(
    data_folder: Path, language_model: Path, artifacts: Path, taught: Path, tmp_path: Path
) -> None:
    """Without it --soft-labels would change a card and no weight."""
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
    """Without it a second teacher would silence the first one, or stay off the card."""
    for _ in teach(
        teaching(data_folder, transformer, language="zh"), tmp_path / "taught", resume=False
    ):
        pass
    english, chinese = (
        SoftLabels.load(folder, Task.SENTIMENT, "C") for folder in (taught, tmp_path / "taught")
    )
    both = (english, chinese)
    chosen = recipe(data_folder, Task.SENTIMENT, start=language_model, soft_labels=both)

    rows = [row for rows in chosen.training_sets() for row in rows]
    *_, done = train_artifact(chosen, tmp_path / "trained", resume=False)

    assert {row.text for row in rows if isinstance(row, TaughtSentimentRow)} == {
        *english.by_text,
        *chinese.by_text,
    }
    assert english.by_text.keys().isdisjoint(chinese.by_text)
    assert isinstance(done, Finished)
    assert done.card.teachers == (english.teacher, chinese.teacher)


def test_soft_labels_count_beside_the_label_and_unmask_what_a_source_lacks() -> None:
    soft = {"negative": 0.1, "neutral": 0.3, "positive": 0.6}
    row = TaughtSentimentRow.model_validate({"text": "warm tea", "label": "neutral", "soft": soft})

    gold = label_gold(row, {"neutral", "positive"})

    expected = [SOFT * 0.1, SOFT * 0.3 + 1 - SOFT, SOFT * 0.6]
    assert gold.tolist() == pytest.approx(expected)


def test_soft_labels_of_moderation_leave_masked_what_a_source_does_not_annotate() -> None:
    """Without it a guess would be taught as if somebody had looked."""
    soft = dict.fromkeys(MODERATION_LABELS, 0.4)
    fields = {"text": "win a prize", "labels": ["spam"], "annotated": ["spam", "fraud"]}
    row = TaughtModerationRow.model_validate({**fields, "soft": soft})

    gold = dict(zip(MODERATION_LABELS, label_gold(row, set()).tolist(), strict=True))

    assert gold.pop("spam") == pytest.approx(SOFT * 0.4 + 1 - SOFT)
    assert gold.pop("fraud") == pytest.approx(SOFT * 0.4)
    assert set(gold.values()) == {UNKNOWN}


def test_a_teacher_of_moderation_judges_ordinary_texts_too(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it what is merely ordinary would be learned without a teacher, and flagged."""
    for _ in teach(
        teaching(data_folder, transformer, task=Task.MODERATION), tmp_path, resume=False
    ):
        pass

    labels = SoftLabels.load(tmp_path, Task.MODERATION, "C")

    assert {ADVERTS[0], PLAIN[0], PRAISE[0]} <= labels.by_text.keys()
    assert labels.by_text[ADVERTS[0]]["spam"] > labels.by_text[PLAIN[0]]["spam"]
    uses = {source.name: source.use for source in labels.teacher.sources}
    assert (uses["mail"], uses["notes"]) == ("labels", "ordinary text")


def test_ordinary_texts_are_learned_with_their_soft_labels(
    data_folder: Path, language_model: Path, transformer: Path, tmp_path: Path
) -> None:
    for _ in teach(
        teaching(data_folder, transformer, task=Task.MODERATION), tmp_path, resume=False
    ):
        pass
    labels = SoftLabels.load(tmp_path, Task.MODERATION, "C")
    tokenizer = Start.load(language_model).tokenizer
    ids = tokenizer.tokenize(preprocess(PRAISE[0]), spans=False, window=256, overlap=0).ids.tolist()

    made = make_examples(recipe(data_folder, Task.MODERATION, soft_labels=(labels,)), tokenizer)

    learned = [example.gold.tolist() for example in made if example.ids.tolist() == ids]
    expected = [SOFT * labels.by_text[PRAISE[0]][label] for label in MODERATION_LABELS]
    assert learned
    assert all(gold == pytest.approx(expected) for gold in learned)


def test_a_teacher_reads_no_text_that_is_held_out_for_it(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it a network would be taught what it is measured on."""
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    held_out = [SentimentRow(text="The harbour is quiet", label="neutral")]
    for split in ("valid", "test"):
        write_rows(folder / "sentiment" / "notes" / f"{split}.jsonl.gz", held_out)

    for _ in teach(teaching(folder, transformer), tmp_path / "taught", resume=False):
        pass

    by_text = SoftLabels.load(tmp_path / "taught", Task.SENTIMENT, "C").by_text
    assert PLAIN[0] in by_text
    assert held_out[0].text not in by_text


def test_a_teacher_may_judge_texts_that_nobody_labelled(
    data_folder: Path, language_model: Path, transformer: Path, tmp_path: Path
) -> None:
    """Without it what a teacher knows of other texts than the labelled ones would go unlearned."""
    folder = tmp_path / "data"
    shutil.copytree(data_folder, folder)
    held_out = [SentimentRow(text=ADVERTS[0], label="neutral")]
    for split in ("valid", "test"):
        write_rows(folder / "sentiment" / "notes" / f"{split}.jsonl.gz", held_out)
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
    made = {tuple(example.ids.tolist()) for example in make_examples(chosen, tokenizer)}
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


def test_soft_labels_of_other_data_are_refused(
    data_folder: Path, language_model: Path, taught: Path, tmp_path: Path
) -> None:
    """Without it a teacher may have seen what is held out today."""
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
    """Without it labels of one licence class would be sold under the card of another."""
    shutil.copytree(taught, tmp_path, dirs_exist_ok=True)
    labels = SoftLabels.load(taught, Task.SENTIMENT, "C")
    others = {**labels.by_text, PLAIN[0]: dict.fromkeys(SENTIMENT_LABELS, 1 / 3)}
    write_rows(
        tmp_path / "soft_labels.jsonl.gz",
        [SoftRow(text=text, soft=soft) for text, soft in others.items()],
    )

    with pytest.raises(InputError, match="is not what"):
        SoftLabels.load(tmp_path, Task.SENTIMENT, "C")


def test_weights_that_are_cut_off_are_refused(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    shutil.copytree(transformer, tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])

    with pytest.raises(InputError, match="name another folder"):
        list(teach(teaching(data_folder, tmp_path), tmp_path / "taught", resume=False))


def test_a_teacher_of_another_task_is_refused(taught: Path) -> None:
    with pytest.raises(InputError, match="not of moderation"):
        SoftLabels.load(taught, Task.MODERATION, "C")


def test_a_teacher_of_less_permissive_sources_is_refused(taught: Path) -> None:
    """Without it a permissive model would hold what nobody licensed."""
    with pytest.raises(InputError, match="beyond class A"):
        SoftLabels.load(taught, Task.SENTIMENT, "A")


def test_a_language_without_texts_is_refused(
    data_folder: Path, transformer: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no training text in 'other'"):
        list(teach(teaching(data_folder, transformer, language="other"), tmp_path, resume=False))


def test_a_folder_without_a_transformer_is_refused(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name another folder"):
        list(teach(teaching(data_folder, tmp_path), tmp_path, resume=False))


def test_soft_labels_of_nobody_are_refused(taught: Path, tmp_path: Path) -> None:
    name = "soft_labels.jsonl.gz"
    (tmp_path / name).write_bytes((taught / name).read_bytes())
    (tmp_path / "teacher.json").write_text(json.dumps({"transformer": "it"}), encoding="utf-8")

    with pytest.raises(InputError, match="does not say who taught"):
        SoftLabels.load(tmp_path, Task.SENTIMENT, "C")


def teaching(
    data: Path, transformer: Path, *, task: Task = Task.SENTIMENT, language: Language = "en"
) -> Teaching:
    """A fine-tuning of seconds."""
    training = TrainingConfig(epochs=3, budget=64, learning_rate=0.01)
    return Teaching(replace(recipe(data, task), training=training), str(transformer), language)
