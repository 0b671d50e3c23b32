"""The recipe of the shipped models: from a data folder to a trained, measured artifact."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final, cast

import torch

from schema.documents import Task
from schema.errors import DocumentError
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS
from worker.pipeline import Pipeline
from worker.pipeline.artifact import ArtifactConfig
from worker.pipeline.model import Cell, Model, ModelConfig
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import CleanText
from worker.pipeline.tokenize import Tokenizer
from worker.training.artifact import in_memory, round_weights, write_artifact, write_card
from worker.training.calibrate import (
    keyword_threshold,
    moderation_temperatures,
    moderation_thresholds,
    sentiment_temperature,
)
from worker.training.card import LIMITS, Card, SetFigures, SourceEntry
from worker.training.corpus import (
    LicenceClass,
    Source,
    Split,
    all_texts,
    clean_rows,
    data_hash,
    sources,
)
from worker.training.evaluate import (
    KeywordsMeasures,
    ModerationMeasures,
    SentimentMeasures,
    evaluate,
    fold,
    keywords_measures,
    majority,
    moderation_scores,
)
from worker.training.examples import OVERLAP, WINDOW, Example, examples
from worker.training.loop import TrainingConfig, TrainingState
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow

_LABELS: Final[dict[Task, tuple[str, ...]]] = {
    Task.SENTIMENT: SENTIMENT_LABELS,
    Task.MODERATION: MODERATION_LABELS,
    Task.KEYWORDS: (),
}

TRAINING: Final[dict[Task, TrainingConfig]] = {
    Task.SENTIMENT: TrainingConfig(epochs=2),
    Task.MODERATION: TrainingConfig(epochs=3),
    Task.KEYWORDS: TrainingConfig(epochs=3, budget=8192, learning_rate=3e-3),
}
"""How each shipped model is trained."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a training is made of; the same recipe gives the same artifact on CPU.

    Attributes:
        task: what is learned.
        data: the data folder.
        licence_class: sources beyond this class are left out, of the vocabulary too.
        cell: kind of recurrent cell.
        vocabulary: number of token ids.
        training: how the network is trained.
        command: written to the card.
    """

    task: Task
    data: Path
    licence_class: LicenceClass
    cell: Cell
    training: TrainingConfig
    command: str
    vocabulary: int = 24_000

    def identity(self) -> str:
        """Hash over all that decides the outcome, for checkpoints."""
        used = [self.task, self.licence_class, self.cell, self.vocabulary, self.training]
        return sha256(f"{used} {data_hash(self.sources())}".encode()).hexdigest()[:16]

    def sources(self) -> list[Source]:
        """The labelled sources it learns from."""
        return sources(self.data, self.task, self.licence_class)

    def ordinary(self, split: Split) -> list[ModerationRow]:
        """Ordinary text of the other tasks, as weak negatives; empty but for moderation."""
        if self.task is not Task.MODERATION:
            return []
        others = [
            source
            for task in Task
            if task is not Task.MODERATION
            for source in sources(self.data, task, self.licence_class)
        ]
        return [row for source in others for row in clean_rows(source, split)]


def make_tokenizer(recipe: Recipe) -> Tokenizer:
    """Learn the vocabulary, from all tasks' training texts."""
    return Tokenizer.train(_clean_texts(recipe), recipe.vocabulary)


def make_examples(recipe: Recipe, tokenizer: Tokenizer) -> list[Example]:
    """Encode the training rows of all sources."""
    sets: list[Sequence[LabelledRow]] = [source.rows("train") for source in recipe.sources()]
    sets.append(recipe.ordinary("train"))
    return [example for rows in sets for example in examples(rows, tokenizer)]


def fresh_state(recipe: Recipe, tokenizer: Tokenizer) -> TrainingState:
    """A network before its first step."""
    config = _artifact_config(recipe, tokenizer).model
    return TrainingState.fresh(lambda: Model(config), recipe.training)


class Validation:
    """Scores a network on the validation splits, higher is better.

    Sentiment by macro F1, moderation by the mean AUC of its labels, keywords by F1@5; the mean
    over the sources, each alike.
    """

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer) -> None:
        self._config = _artifact_config(recipe, tokenizer)
        self._tokenizer = tokenizer
        self._sets = [rows for source in recipe.sources() if (rows := source.rows("valid"))]

    def __call__(self, model: Model) -> float:
        """Score `model`, which is left in evaluation mode."""
        pipeline = in_memory(self._config, self._tokenizer, model)
        scores = [score for rows in self._sets for score in _scores(pipeline, rows)]
        return sum(scores) / len(scores)


def finish(recipe: Recipe, tokenizer: Tokenizer, state: TrainingState, out: Path) -> Card:
    """Calibrate the best weights on validation, write the artifact, measure it on test.

    Returns:
        The card, which is also written.
    """
    config = _artifact_config(recipe, tokenizer)
    state.model.load_state_dict(state.best_weights)
    config = _calibrated(recipe, config, tokenizer, state.model)
    write_artifact(out, config, tokenizer, state.model)
    card = _measured(recipe, state, Pipeline.load(out, "cpu"))
    write_card(out, card)
    return card


def _clean_texts(recipe: Recipe) -> Iterator[CleanText]:
    for text in all_texts(recipe.data, recipe.licence_class):
        try:
            yield preprocess(text)
        except DocumentError:  # nothing is left of the text after cleaning
            continue


def _artifact_config(recipe: Recipe, tokenizer: Tokenizer) -> ArtifactConfig:
    labels = _LABELS[recipe.task]
    thresholds = {
        Task.SENTIMENT: {},
        Task.MODERATION: dict.fromkeys(labels, 0.5),
        Task.KEYWORDS: {"keyword": 0.0},
    }[recipe.task]
    model = ModelConfig(recipe.task, tokenizer.size, labels, recipe.cell)
    return ArtifactConfig(model, thresholds, window=WINDOW, overlap=OVERLAP)


def _calibrated(
    recipe: Recipe, config: ArtifactConfig, tokenizer: Tokenizer, model: Model
) -> ArtifactConfig:
    """Set the model's temperatures in place; returns the config with its thresholds."""
    round_weights(model)
    pipeline = in_memory(config, tokenizer, model)
    sets = [source.rows("valid") for source in recipe.sources()]
    rows = [row for rows in sets for row in rows]
    match recipe.task:
        case Task.SENTIMENT:
            sentiment = cast("list[SentimentRow]", rows)
            _set_temperature(model, sentiment_temperature(pipeline, sentiment))
            return config
        case Task.MODERATION:
            moderation, ordinary = cast("list[ModerationRow]", rows), recipe.ordinary("valid")
            _set_temperature(model, moderation_temperatures(pipeline, [*moderation, *ordinary]))
            return replace(config, thresholds=moderation_thresholds(pipeline, moderation, ordinary))
        case Task.KEYWORDS:
            threshold = keyword_threshold(pipeline, cast("list[list[KeywordsRow]]", sets))
            return replace(config, thresholds={"keyword": threshold})


def _set_temperature(model: Model, values: list[float]) -> None:
    model.decoder.get_buffer("temperature").copy_(torch.tensor(values))
    round_weights(model)


def _measured(recipe: Recipe, state: TrainingState, pipeline: Pipeline) -> Card:
    used = recipe.sources()
    ordinary = recipe.ordinary("test")
    return Card(
        task=recipe.task,
        model_version=pipeline.model_version,
        command=recipe.command,
        seed=recipe.training.seed,
        cell=recipe.cell,
        parameters=sum(value.numel() for value in state.model.parameters()),
        data_hash=data_hash(used),
        sources=tuple(
            SourceEntry(
                name=source.name,
                licence_class=source.licence_class,
                rows=len(source.rows("train")),
            )
            for source in used
        ),
        epochs=state.epoch - state.stale,
        validation_score=state.best_score,
        tests=tuple(_test(pipeline, source, rows) for source, rows in _test_sets(used)),
        ordinary_flagged=_flagged(pipeline, ordinary) if ordinary else None,
        limits=LIMITS[recipe.task],
    )


def _test_sets(used: Sequence[Source]) -> Iterator[tuple[Source, list[LabelledRow]]]:
    for source in used:
        rows = source.rows("test")
        if rows:
            yield source, rows


def _test(pipeline: Pipeline, source: Source, rows: Sequence[LabelledRow]) -> SetFigures:
    baseline = (
        _commonest(source, cast("Sequence[KeywordsRow]", rows))
        if pipeline.task is Task.KEYWORDS
        else majority(rows)
    )
    return SetFigures(name=source.name, majority=baseline, measures=evaluate(pipeline, rows))


def _commonest(source: Source, rows: Sequence[KeywordsRow]) -> float:
    """F1@5 of the training keywords that occur in a text, commonest first."""
    training = cast("list[KeywordsRow]", source.rows("train"))
    counts = Counter(fold(keyword) for row in training for keyword in row.keywords)
    common = [keyword for keyword, _ in counts.most_common(2000)]
    ranked = []
    for row in rows:
        text = fold(row.text)
        ranked.append([keyword for keyword in common if keyword in text][:5])
    return keywords_measures(rows, ranked).f1_at_5


def _flagged(pipeline: Pipeline, rows: Sequence[ModerationRow]) -> float:
    """Share of texts on which any label reaches its threshold."""
    thresholds = [pipeline.thresholds[label] for label in MODERATION_LABELS]
    return float((moderation_scores(pipeline, rows) >= thresholds).any(axis=1).mean())


def _scores(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> list[float]:
    match measures := evaluate(pipeline, rows):
        case SentimentMeasures():
            return [measures.macro_f1]
        case KeywordsMeasures():
            return [measures.f1_at_5]
        case ModerationMeasures():
            return [label.auc for label in measures.labels.values() if label.auc is not None]
