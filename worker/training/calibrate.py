"""What is chosen on validation after training: temperatures, pool weights and thresholds."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from schema.outcomes import MODERATION_LABELS
from worker.pipeline import Pipeline
from worker.pipeline.character_ngrams import LEAST_PROBABILITY, CharacterNgrams, pool, softmax
from worker.training import metrics
from worker.training.cleaning import cleaned
from worker.training.evaluate import (
    generated_phrases,
    moderation_scores,
    ranked_phrases,
    sentiment_scores,
)
from worker.training.measures import (
    absent_keywords,
    moderation_gold,
    present_keywords,
    sentiment_gold,
)
from worker.training.ordinary import names_identity
from worker.training.rows import KeywordsRow, ModerationRow, SentimentRow
from worker.training.validation import FEWEST_ROWS

_TEMPERATURES: Final = np.geomspace(0.4, 4, 60)
_NETWORK_WEIGHTS: Final = np.linspace(0.3, 1.2, 19)
_NGRAM_WEIGHTS: Final = np.linspace(0, 1, 21)
_FEWEST: Final = 500
"""Fewest validation rows from which pool weights are chosen; with fewer they would be chance."""
_FEWEST_OF_A_CLASS: Final = 20
"""Fewest rows with a label, and fewest without it, from which a temperature or a threshold is
chosen; with fewer, a single row would move recall or false alarms by more than 5 %."""
_THRESHOLDS: Final = np.linspace(0.05, 0.95, 91)
_PHRASE_THRESHOLDS: Final = np.linspace(0, 0.8, 41)
_SLOPES: Final = np.linspace(0.1, 2, 39)
_SHIFTS: Final = np.linspace(-4, 4, 81)
_FALSE_ALARMS: Final = 0.0045
"""Share of ordinary texts that one label may flag."""
_IDENTITY_FALSE_ALARMS: Final = 0.05
"""Share of ordinary texts naming an identity that `hate` may flag; such words attract it."""


def sentiment_temperature(
    pipeline: Pipeline, rows: Sequence[SentimentRow], kept: Sequence[float]
) -> list[float]:
    """The softmax temperature with the least validation loss (Guo et al. 2017).

    Args:
        pipeline: with a temperature of 1.
        rows: validation rows.
        kept: the temperature if fewer than two labels have 20 rows each.
    """
    gold = sentiment_gold(rows)
    if np.count_nonzero(np.bincount(gold.astype(int)) >= _FEWEST_OF_A_CLASS) <= 1:
        return list(kept)
    logits = np.log(np.clip(sentiment_scores(pipeline, rows), LEAST_PROBABILITY, 1))
    losses = [metrics.log_loss(gold, softmax(logits / value)) for value in _TEMPERATURES]
    return [float(_TEMPERATURES[int(np.argmin(losses))])]


def pool_weights(
    pipeline: Pipeline, character_ngrams: CharacterNgrams, rows: Sequence[SentimentRow]
) -> tuple[float, float]:
    """The weights of the network and the character n-grams with the least validation loss.

    Args:
        pipeline: the network alone, calibrated.
        character_ngrams: as trained.
        rows: validation rows; if cleaning leaves fewer than 500, the pool weights that
            `character_ngrams` has are kept.
    """
    clean = [(row, text) for row in rows if (text := cleaned(row.text))]
    if len(clean) < _FEWEST:
        return character_ngrams.pool_weights
    kept = [row for row, _ in clean]
    scores, gold = sentiment_scores(pipeline, kept), sentiment_gold(kept)
    logits = character_ngrams.logits([text for _, text in clean])
    losses = {
        (network, ngrams): metrics.log_loss(gold, pool(scores, logits, (network, ngrams)))
        for network in _NETWORK_WEIGHTS.tolist()
        for ngrams in _NGRAM_WEIGHTS.tolist()
    }
    return min(losses, key=losses.__getitem__)


def moderation_temperatures(
    pipeline: Pipeline,
    rows: Sequence[ModerationRow],
    ordinary: Sequence[ModerationRow],
    kept: Sequence[float],
) -> list[float]:
    """The sigmoid temperature of each label with the least validation loss.

    Args:
        pipeline: with temperatures of 1.
        rows: labelled validation rows; only annotated labels count.
        ordinary: clean validation texts, which count beside them.
        kept: the temperature of each label, for those that have fewer than 20 labelled rows with
            the label or without it.
    """
    both = [*rows, *ordinary]
    logits = _log_odds(moderation_scores(pipeline, both))
    holds, known = moderation_gold(both)
    chosen = list(kept)
    for column in np.flatnonzero(_suffices(*moderation_gold(rows))):
        at = known[:, column]
        signed = np.where(holds[at, column], 1, -1) * logits[at, column]
        losses = [np.logaddexp(0, -signed / value).mean() for value in _TEMPERATURES]
        chosen[column] = float(_TEMPERATURES[int(np.argmin(losses))])
    return chosen


def moderation_thresholds(
    pipeline: Pipeline,
    sets: Sequence[Sequence[ModerationRow]],
    ordinary: Sequence[ModerationRow],
    kept: Mapping[str, float],
) -> dict[str, float]:
    """The threshold of each label with the best F1 among those that spare ordinary text.

    The F1 is a mean over the sources of 20 rows or more that have rows with and without the label,
    with all rows together as one more source. So neither the largest source nor one of a few rows
    decides alone, and sources whose rows all have the label count, too.

    Args:
        pipeline: with its final temperatures.
        sets: validation rows of each source; only annotated labels count.
        ordinary: clean validation texts; each label may flag 0.45 % of those annotated as clean of
            it, and hate at most 5 % of those among them that name an identity.
        kept: the threshold of each label, for those that have fewer than 20 rows in `sets` with the
            label or without it.
    """
    given = [moderation_scores(pipeline, rows) for rows in sets]
    gold = [moderation_gold(rows) for rows in sets]
    calm, (_, clean) = moderation_scores(pipeline, ordinary), moderation_gold(ordinary)
    named = np.array([names_identity(row.text) for row in ordinary], dtype=bool)
    thresholds = dict(kept)
    enough = _suffices(*moderation_gold([row for rows in sets for row in rows]))
    for column in np.flatnonzero(enough):
        label = MODERATION_LABELS[column]
        judged = [
            (holds[known[:, column], column], scores[known[:, column], column])
            for scores, (holds, known) in zip(given, gold, strict=True)
        ]
        together = [np.concatenate(parts) for parts in zip(*judged, strict=True)]
        counted = [
            (holds, scores)
            for holds, scores in judged
            if len(holds) >= FEWEST_ROWS and len(np.unique(holds)) > 1
        ]
        least = _spares(calm[clean[:, column], column], _FALSE_ALARMS)
        if label == "hate":
            of_identity = calm[clean[:, column] & named, column]
            least = max(least, _spares(of_identity, _IDENTITY_FALSE_ALARMS))
        allowed = [value for value in _THRESHOLDS if value > least] or [_THRESHOLDS[-1]]
        f1 = [
            sum(metrics.f1(holds, scores >= value) for holds, scores in [together, *counted])
            for value in allowed
        ]
        thresholds[label] = round(float(allowed[int(np.argmax(f1))]), 2)
    return thresholds


def _suffices(holds: metrics.Bools, known: metrics.Bools) -> metrics.Bools:
    """Whether each label has enough rows with it, and enough without it, to choose values by."""
    held, free = (holds & known).sum(axis=0), (~holds & known).sum(axis=0)
    return np.asarray(np.minimum(held, free) >= _FEWEST_OF_A_CLASS)


def _spares(scores: metrics.Floats, share: float) -> float:
    """A score that at most `share` of `scores` exceed."""
    return float(np.quantile(scores, 1 - share, method="higher")) if len(scores) else 0.0


class ScoredPhrases(NamedTuple):
    """The phrases of a row and its gold keywords.

    Attributes:
        gold: folded keywords.
        phrases: folded, best first.
        scores: of each phrase.
    """

    gold: set[str]
    phrases: Sequence[str]
    scores: metrics.Floats


def keyword_threshold(
    pipeline: Pipeline, sets: Sequence[Sequence[KeywordsRow]], kept: float
) -> float:
    """The score from which a phrase is a keyword, with the best F1@5; all sources count alike.

    Args:
        pipeline: with a threshold of 0.
        sets: validation rows of each source.
        kept: the threshold if fewer than 20 rows have a keyword that occurs in their text.
    """
    scored = [
        [
            ScoredPhrases(gold, phrases, np.array(scores))
            for row, (phrases, scores) in zip(rows, ranked_phrases(pipeline, rows), strict=True)
            if (gold := present_keywords(row))
        ]
        for rows in sets
    ]
    if sum(map(len, scored)) < _FEWEST_OF_A_CLASS:
        return kept
    return _best_threshold(scored)


def generator_calibration(
    pipeline: Pipeline, sets: Sequence[Sequence[KeywordsRow]]
) -> tuple[tuple[float, float], float]:
    """The calibration of generated keywords' scores, and the threshold from which one is given.

    The slope and shift that are applied to the logarithm of a phrase's probability have the least
    loss (Platt 1999); the threshold has the best F1@5, and all sources count alike.

    Args:
        pipeline: with a generator that is not calibrated, and a threshold of 0.
        sets: validation rows of each source; one at least has a keyword that is not in its text.
    """
    scored = [
        [
            # Before calibration, the log-odds of a score are the log of its phrase's probability.
            ScoredPhrases(absent_keywords(row), phrases, _log_odds(scores))
            for row, (phrases, scores) in zip(rows, generated_phrases(pipeline, rows), strict=True)
        ]
        for rows in sets
    ]
    items = [item for rows in scored for item in rows]
    logits = np.concatenate([item.scores for item in items])
    gold = np.array([phrase in item.gold for item in items for phrase in item.phrases])
    slope, shift = _line(logits, gold)
    calibrated = [
        [
            item._replace(scores=1 / (1 + np.exp(-slope * item.scores - shift)))
            for item in rows
            if item.gold
        ]
        for rows in scored
    ]
    return (slope, shift), _best_threshold(calibrated)


def _line(logits: metrics.Floats, gold: metrics.Bools) -> tuple[float, float]:
    """Slope and shift of `logits` with the least log loss."""
    sign = np.where(gold, 1, -1)
    losses = {
        (slope, shift): np.logaddexp(0, -sign * (slope * logits + shift)).mean()
        for slope in _SLOPES.tolist()
        for shift in _SHIFTS.tolist()
    }
    return min(losses, key=losses.__getitem__)


def _log_odds(scores: Sequence[float] | metrics.Floats) -> metrics.Floats:
    probability = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(probability / (1 - probability)))


def _best_threshold(sets: Sequence[Sequence[ScoredPhrases]]) -> float:
    gains = np.mean([_gains(rows) for rows in sets if rows], axis=0)
    return round(float(_PHRASE_THRESHOLDS[int(np.argmax(gains))]), 2)


def _gains(scored: Sequence[ScoredPhrases]) -> list[float]:
    """Mean F1@5 at each candidate threshold."""
    return [
        float(
            np.mean(
                [
                    metrics.f1_at(gold, phrases[: sum(score >= value for score in scores)], 5)
                    for gold, phrases, scores in scored
                ]
            )
        )
        for value in _PHRASE_THRESHOLDS
    ]
