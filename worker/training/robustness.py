"""How much of a moderation model's quality remains when words are disguised."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from worker.pipeline import Pipeline
from worker.training.evaluate import evaluate
from worker.training.evasion import EVASIONS, Evasion, evade
from worker.training.measures import ModerationMeasures
from worker.training.rows import LabelledRow
from worker.training.sampling import sample

ROWS: Final = 1000
"""Most rows of a set that are disguised."""
SEED: Final = 20261123


def disguised(rows: Sequence[LabelledRow], evasion: Evasion) -> list[LabelledRow]:
    """The rows with three in ten words disguised, the same at every call."""
    rng = np.random.default_rng(SEED)
    return [row.model_copy(update={"text": evade(row.text, evasion, rng)}) for row in rows]


def evasion_kept(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> dict[Evasion, float]:
    """For each evasion, the F1 of "any label holds" on disguised rows as a share of the plain F1.

    Args:
        pipeline: a moderation pipeline.
        rows: rows of one set; a sample of them is measured.

    Returns:
        Only the evasions that change any row; none if the plain F1 is 0.
    """
    chosen = sample(rows, ROWS)
    plain = flag_f1(pipeline, chosen)
    changed = {evasion: disguised(chosen, evasion) for evasion in EVASIONS}
    return {
        evasion: flag_f1(pipeline, texts) / plain
        for evasion, texts in changed.items()
        if plain and texts != chosen
    }


def flag_f1(pipeline: Pipeline, rows: Sequence[LabelledRow]) -> float:
    """F1 of "any annotated label holds" on moderation rows, at least one."""
    measures = evaluate(pipeline, rows)
    if not isinstance(measures, ModerationMeasures):
        msg = f"robustness is measured of moderation, not of {pipeline.task}"
        raise TypeError(msg)
    return measures.flag_f1
