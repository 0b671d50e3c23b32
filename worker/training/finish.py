"""From trained weights to an artifact: calibrate on validation, write, measure once on test."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from schema.documents import Task
from schema.outcomes import MODERATION_LABELS
from worker.pipeline import Pipeline
from worker.pipeline.artifact import Additions
from worker.pipeline.character_ngrams import CharacterNgrams
from worker.pipeline.model import Model
from worker.pipeline.ranker import Ranker
from worker.training.artifact import round_weights, write_artifact, write_card
from worker.training.averaging import mean_of, take_mean
from worker.training.calibrate import (
    keyword_threshold,
    moderation_temperatures,
    moderation_thresholds,
    pool_weights,
    sentiment_temperature,
)
from worker.training.card import Card, SetFigures, entry_of, limits_of
from worker.training.character_ngrams import fit_character_ngrams
from worker.training.corpus import Source, data_hash
from worker.training.data_sets import LIMITS
from worker.training.evaluate import evaluate, in_memory, moderation_scores
from worker.training.evasion import Evasion
from worker.training.loop import TrainingState
from worker.training.measures import decided, folded, keywords_measures, majority
from worker.training.ranker import RankerRows, Tagger, count, fit_ranker
from worker.training.recipe import Recipe
from worker.training.robustness import evasion_kept
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow, of_type
from worker.training.start import TEMPERATURE, Start
from worker.training.training_rows import TrainingRows
from worker.training.validation import Validation
from worker.training.written import written_entries

_COMMON_KEYWORDS: Final = 2000


def finish(
    recipe: Recipe,
    start: Start,
    state: TrainingState[Model],
    rows: TrainingRows,
    fold_taggers: Sequence[Tagger],
    out: Path,
) -> Card:
    """Make an artifact from the best weights.

    Args:
        recipe: what was trained.
        start: what the training started from.
        state: after the last epoch; its network is changed to the weights that are stored.
        rows: what it learned from.
        fold_taggers: for keywords, the taggers from which the ranker learns beside the one that
            ships.
        out: folder of the artifact.

    Returns:
        The card, which is also written to `out`.
    """
    averaged = start.has_decoder_of(state.model) and take_mean(
        state, start, Validation(recipe, start.tokenizer)
    )
    state.load_best()
    round_weights(state.model)
    tokenizer = start.tokenizer
    ranker = _ranker(recipe, start, rows.ranker, state.model, fold_taggers)
    config = replace(recipe.config(tokenizer), ranker=ranker is not None)
    uncalibrated = in_memory(config, tokenizer, state.model, ranker)
    thresholds = _calibrate(recipe, start, uncalibrated, state.model)
    config = replace(config, thresholds=thresholds)
    pipeline = in_memory(config, tokenizer, state.model)
    ngrams = _character_ngrams(recipe, start, rows, pipeline, averaged=averaged)
    config = replace(config, character_ngrams=ngrams is not None)
    additions = Additions(character_ngrams=ngrams, ranker=ranker)
    write_artifact(out, config, tokenizer, state.model, additions)
    card = _card(recipe, start, state, Pipeline.load(out, "cpu"), ngrams, averaged=averaged)
    write_card(out, card)
    return card


def _character_ngrams(
    recipe: Recipe, start: Start, rows: TrainingRows, pipeline: Pipeline, *, averaged: bool
) -> CharacterNgrams | None:
    """For sentiment, the linear model beside the network; `pipeline` holds the network alone."""
    if recipe.task is not Task.SENTIMENT:
        return None
    ngrams = fit_character_ngrams(
        [*rows.sets, rows.written], rows.judged, start.character_ngrams, recipe.training.seed
    )
    if averaged and start.character_ngrams is not None:
        ngrams = mean_of(start.character_ngrams, ngrams)
    valid = [row for _, rows in recipe.sets("valid") for row in rows]
    weights = pool_weights(pipeline, ngrams, of_type(SentimentRow, valid))
    return replace(ngrams, pool_weights=weights)


def _ranker(
    recipe: Recipe,
    start: Start,
    rows: RankerRows | None,
    model: Model,
    fold_taggers: Sequence[Tagger],
) -> Ranker | None:
    """For keywords, the ranker of the tagger's phrases.

    The ranker of `start` keeps its weights if there is one: a model that has learned most texts
    already leaves too few new ones to learn weights from.
    """
    if rows is None:
        return None
    if start.ranker is not None:
        return Ranker(count(rows.counted), start.ranker.weights)
    pipeline = in_memory(recipe.config(start.tokenizer), start.tokenizer, model)
    return fit_ranker([Tagger(pipeline, rows), *fold_taggers], recipe.training.seed)


def _calibrate(recipe: Recipe, start: Start, pipeline: Pipeline, model: Model) -> dict[str, float]:
    """Set the model's temperatures in place, and return its thresholds.

    A value that too few rows would decide stays as it is in `start`, or uncalibrated if `start` has
    not learned the labels.
    """
    sets = [rows for _, rows in recipe.sets("valid")]
    rows = [row for rows in sets for row in rows]
    known = start.has_decoder_of(model)
    kept = start.thresholds if known else pipeline.thresholds
    weights = start.weights if known else model.state_dict()
    match recipe.task:
        case Task.SENTIMENT:
            temperature = sentiment_temperature(
                pipeline, of_type(SentimentRow, rows), weights[TEMPERATURE].tolist()
            )
            _set_temperature(model, temperature)
            return {}
        case Task.MODERATION:
            moderation, ordinary = of_type(ModerationRow, rows), recipe.ordinary("valid")
            temperatures = moderation_temperatures(
                pipeline, moderation, ordinary, weights[TEMPERATURE].tolist()
            )
            _set_temperature(model, temperatures)
            parted = [of_type(ModerationRow, rows) for rows in sets]
            return moderation_thresholds(pipeline, parted, ordinary, kept)
        case Task.KEYWORDS:
            parts = [of_type(KeywordsRow, rows) for rows in sets]
            return {"keyword": keyword_threshold(pipeline, parts, kept["keyword"])}


def _set_temperature(model: Model, values: list[float]) -> None:
    model.decoder.get_buffer("temperature").copy_(torch.tensor(values))
    round_weights(model)


def _card(
    recipe: Recipe,
    start: Start,
    state: TrainingState[Model],
    pipeline: Pipeline,
    ngrams: CharacterNgrams | None,
    *,
    averaged: bool,
) -> Card:
    labelled, ordinary = recipe.sources(), recipe.ordinary("test")
    tests = [(source, rows) for source, rows in recipe.sets("test") if rows]
    own = [
        *(entry_of(source, "labels", source.rows("train")) for source in labelled),
        *(
            entry_of(source, "ordinary text", texts)
            for source, texts in recipe.ordinary_sets("train")
            if texts
        ),
        *written_entries(recipe.task),
    ]
    names = {entry.name for entry in own}
    known = (*own, *(entry for entry in start.sources if entry.name not in names))
    return Card(
        task=recipe.task,
        model_version=pipeline.model_version,
        command=recipe.command,
        seed=recipe.training.seed,
        cell=recipe.cell,
        parameters=sum(value.numel() for value in state.model.parameters()),
        pool_weights=None if ngrams is None else ngrams.pool_weights,
        data_hash=data_hash([*labelled, *recipe.ordinary_sources()]),
        sources=known,
        start=start.version,
        averaged=averaged,
        teachers=tuple(taught.teacher for taught in recipe.soft_labels) or start.teachers,
        epochs=state.best_epoch,
        validation_score=state.best_score,
        stored_score=Validation(recipe, start.tokenizer)(state.model),
        tests=tuple(figures(pipeline, source, rows) for source, rows in tests),
        ordinary_flagged=_flagged(pipeline, ordinary),
        evasion_kept=_kept(pipeline, tests) if recipe.task is Task.MODERATION else {},
        limits=limits_of(LIMITS[recipe.task], known),
    )


def _kept(
    pipeline: Pipeline, tests: Sequence[tuple[Source, list[LabelledRow]]]
) -> dict[str, dict[Evasion, float]]:
    return {source.name: evasion_kept(pipeline, rows) for source, rows in tests}


def figures(pipeline: Pipeline, source: Source, rows: Sequence[LabelledRow]) -> SetFigures:
    """A card's figures for a source's test rows, at least one."""
    baseline = (
        _commonest(source, of_type(KeywordsRow, rows))
        if pipeline.task is Task.KEYWORDS
        else majority(rows)
    )
    return SetFigures(name=source.name, majority=baseline, measures=evaluate(pipeline, rows))


def _commonest(source: Source, rows: Sequence[KeywordsRow]) -> float:
    """F1@5 of answering the training keywords that occur in a text, commonest first."""
    training = of_type(KeywordsRow, source.rows("train"))
    counts = Counter(folded(keyword) for row in training for keyword in row.keywords)
    common = [keyword for keyword, _ in counts.most_common(_COMMON_KEYWORDS)]
    ranked = []
    for row in rows:
        text = folded(row.text)
        ranked.append([keyword for keyword in common if keyword in text][:5])
    return keywords_measures(rows, ranked).f1_at_5


def _flagged(pipeline: Pipeline, ordinary: Sequence[ModerationRow]) -> float | None:
    """Share flagged by any label, of the texts known to be clean of every label."""
    rows = [row for row in ordinary if row.annotated.issuperset(MODERATION_LABELS)]
    if not rows:
        return None
    decisions = decided(moderation_scores(pipeline, rows), pipeline.thresholds)
    return float(decisions.any(axis=1).mean())
