"""Artifacts, as serving reads them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schema.documents import Task
from schema.errors import ArtifactError, DocumentError, NotLoadedError
from schema.outcomes import ErrorCode, Failure, KeywordsResult, SentimentResult
from tests.fixtures.phrases import POSTS
from worker import pipeline as pipeline_module
from worker.pipeline import Pipeline
from worker.pipeline import artifact as artifact_module
from worker.pipeline.analysis import analyse, analyse_stream
from worker.pipeline.artifact import (
    CARD,
    READABLE_CARD,
    SHIPPED,
    model_version,
    read_config,
    read_model,
)
from worker.pipeline.character_ngrams import CharacterNgrams
from worker.pipeline.model import Model, ModelConfig
from worker.pipeline.ranker import Ranker
from worker.pipeline.tokenize import Tokenizer
from worker.training.card import Card
from worker.training.card_page import readable

LONG = "The tea was lovely and warm. " * 80


@pytest.fixture(scope="module")
def sentiment(artifacts: Path) -> Pipeline:
    return Pipeline.load(artifacts / "sentiment", "cpu")


@pytest.mark.parametrize("task", list(Task))
def test_a_written_artifact_is_what_its_card_speaks_of(task: Task, artifacts: Path) -> None:
    """Without it a result's model version would lead to the figures of another model."""
    folder = artifacts / task

    pipeline = Pipeline.load(folder, "cpu")

    card = Card.model_validate_json((folder / "card.json").read_bytes())
    assert (pipeline.task, pipeline.model_version) == (task, card.model_version)
    page = (folder / "CARD.md").read_text(encoding="utf-8")
    assert all(source.name in page for source in card.sources)
    assert card.model_version in page


@pytest.mark.parametrize("task", list(Task))
def test_the_page_of_a_card_that_ships_says_what_the_card_says(task: Task) -> None:
    """Without it people would read other figures than programs do."""
    folder = SHIPPED / task

    card = Card.model_validate_json((folder / CARD).read_bytes())

    assert (folder / READABLE_CARD).read_text(encoding="utf-8") == readable(card)
    assert card.model_version == model_version(folder, read_config(folder))


def test_the_model_version_follows_the_content(artifacts: Path, tmp_path: Path) -> None:
    """Without it two models could stand under one version."""
    shutil.copytree(artifacts / "moderation", tmp_path / "copy")
    same = Pipeline.load(tmp_path / "copy", "cpu").model_version
    config = json.loads((tmp_path / "copy" / "config.json").read_bytes())
    config["thresholds"]["spam"] = 0.123
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config), encoding="utf-8")

    changed = Pipeline.load(tmp_path / "copy", "cpu").model_version

    assert same == Pipeline.load(artifacts / "moderation", "cpu").model_version
    assert changed != same


def _without_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


def _cut_weights(folder: Path) -> None:
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{", encoding="utf-8")


def _other_shape(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"hidden": 128', '"hidden": 64'))


def _broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        (Task.SENTIMENT, {"model": {"vocabulary": 0}}),
        (Task.SENTIMENT, {"model": {"hidden": 0}}),
        (Task.SENTIMENT, {"model": {"output_dropout": 2}}),
        (Task.SENTIMENT, {"window": 0}),
        (Task.SENTIMENT, {"overlap": 256}),
        (Task.MODERATION, {"thresholds": {"abuse": 0.5}}),
        (Task.KEYWORDS, {"thresholds": {"keyword": 60}}),
        (Task.KEYWORDS, {"thresholds": {"keyword": float("nan")}}),
        (Task.KEYWORDS, {"thresholds": {}}),
        (Task.KEYWORDS, {"keywords": 0}),
    ],
)
def test_a_config_that_cannot_serve_is_refused(
    task: Task, changes: dict[str, Any], artifacts: Path, tmp_path: Path
) -> None:
    """Without it every document would fail or lack a label, or workers start again and again."""
    folder = tmp_path / "artifact"
    shutil.copytree(artifacts / task, folder)
    config = json.loads((folder / "config.json").read_bytes())
    for name, value in changes.items():
        config[name] = {**config[name], **value} if name == "model" else value
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")

    with pytest.raises(ArtifactError, match=rf"config\.json is broken \(.*{list(changes)[-1]}"):
        Pipeline.load(folder, "cpu")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_without_weights, r"lacks weights\.safetensors"),
        (_cut_weights, r"weights\.safetensors does not fit"),
        (_broken_config, r"config\.json is broken"),
        (_other_shape, r"weights\.safetensors does not fit"),
        (_broken_tokenizer, r"cannot read the tokenizer .*tokenizer\.json"),
    ],
)
def test_a_broken_artifact_is_refused(
    damage: Callable[[Path], None], reason: str, artifacts: Path, tmp_path: Path
) -> None:
    """Without it a worker would start and fail every document instead of saying what is wrong."""
    folder = tmp_path / "artifact"
    shutil.copytree(artifacts / "sentiment", folder)
    damage(folder)

    with pytest.raises(ArtifactError, match=reason):
        Pipeline.load(folder, "cpu")


@pytest.mark.parametrize("load", [Ranker.load, CharacterNgrams.load, Tokenizer.load])
def test_a_file_that_cannot_be_read_is_not_called_broken(
    load: Callable[[Path], object], tmp_path: Path
) -> None:
    """Without it, one bad read of a network drive ends all processes of a host for good."""
    with pytest.raises(OSError, match="No such file"):
        load(tmp_path / "away")


@pytest.mark.parametrize("name", ["generator.safetensors", "ranker.safetensors"])
def test_a_loaded_artifact_is_whole_whatever_becomes_of_its_files(
    name: str, generating: Path, tmp_path: Path
) -> None:
    """Without it results carry the version of a model that did not make them."""
    folder = shutil.copytree(generating / "keywords", tmp_path / "keywords")
    texts = [text for text, _ in POSTS]
    known = analyse(Pipeline.load(folder, "cpu"), texts, generate=True)
    pipeline = Pipeline.load(folder, "cpu")
    (folder / name).write_bytes((folder / name).read_bytes()[:-10])

    later = analyse(pipeline, texts, generate=True)

    assert later == known
    assert any(isinstance(outcome, KeywordsResult) for outcome in later)
    with pytest.raises(ArtifactError, match=name):
        Pipeline.load(folder, "cpu")


def test_an_artifact_that_changes_while_it_is_read_is_refused(
    artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it half of each of two models serves, under the version of one of them."""
    folder = shutil.copytree(artifacts / "moderation", tmp_path / "moderation")

    def read_then_change(given: Path, shape: ModelConfig, device: str) -> Model:
        model = read_model(given, shape, device)
        config = json.loads((folder / "config.json").read_bytes())
        config["thresholds"]["spam"] = 0.123
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        return model

    monkeypatch.setattr(artifact_module, "read_model", read_then_change)

    with pytest.raises(NotLoadedError, match="was changed while it was read"):
        Pipeline.load(folder, "cpu")


def test_a_bad_document_never_sinks_its_neighbours(sentiment: Pipeline) -> None:
    """Without it one blank document would cost a batch."""
    outcomes = analyse(sentiment, ["lovely tea", "", "味道很差"], budget=64)

    assert [type(outcome) for outcome in outcomes] == [SentimentResult, Failure, SentimentResult]
    assert isinstance(outcomes[1], Failure)
    assert outcomes[1].code is ErrorCode.NO_CONTENT


def test_every_document_of_a_stream_has_its_own_outcome(sentiment: Pipeline) -> None:
    """Without it an evaluation would drop documents, or compare them with the gold of others."""
    texts = ["lovely tea", "", "味道很差", "awful tea", "lovely cake"]

    streamed = list(analyse_stream(sentiment, texts, block=2))

    blocks = (texts[:2], texts[2:4], texts[4:])
    assert streamed == [outcome for block in blocks for outcome in analyse(sentiment, block)]


def test_a_result_does_not_depend_on_the_documents_beside_it(sentiment: Pipeline) -> None:
    """Without it a score could not be repeated."""
    texts = ["lovely tea", LONG, "味道很差", "The shop opens at nine"]

    together = analyse(sentiment, texts, budget=2048)

    for text, beside in zip(texts, together, strict=True):
        [alone] = analyse(sentiment, [text])
        assert isinstance(alone, SentimentResult)
        assert isinstance(beside, SentimentResult)
        assert alone.scores == pytest.approx(beside.scores, abs=1e-5)


def test_a_long_document_is_cut_into_windows(sentiment: Pipeline) -> None:
    """Without it memory would grow with the longest document."""
    assert len(sentiment.prepare(LONG).windows) > 1


def test_a_failing_stage_fails_the_document_without_showing_it(sentiment: Pipeline) -> None:
    """Without it an unforeseen error would end the process, or leak the text into logs."""
    document = sentiment.prepare("lovely tea")

    with pytest.raises(DocumentError, match="postprocess failed with") as caught:
        sentiment.finish("lovely tea", document, [])

    assert caught.value.code is ErrorCode.STAGE_ERROR
    assert "tea" not in str(caught.value)


def test_the_fault_of_a_stage_is_logged_once_with_its_place_and_without_the_text(
    sentiment: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it nobody can mend the fault, or the log fills up, or shows documents."""

    def broken(document: object, *_: object) -> SentimentResult:
        raise ValueError(document)

    monkeypatch.setattr(pipeline_module, "sentiment_result", broken)

    outcomes = analyse(sentiment, ["lovely tea", "lovely cake"])

    assert [outcome.code for outcome in outcomes if isinstance(outcome, Failure)] == [
        ErrorCode.STAGE_ERROR,
        ErrorCode.STAGE_ERROR,
    ]
    (logged,) = caplog.messages
    assert "in broken\n    raise ValueError(document)" in logged
    assert "lovely" not in logged
