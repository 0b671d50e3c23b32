"""Learning from several models at once: their mean scores beside the labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, cast

import numpy as np

from schema.documents import Task
from schema.errors import ArtifactError, InputError
from worker.pipeline import Pipeline
from worker.pipeline.artifact import TOKENIZER
from worker.pipeline.batch import micro_batches
from worker.pipeline.decoders import UNKNOWN
from worker.pipeline.records import FloatArray, IntArray
from worker.training.examples import Example
from worker.training.start import Start

TRUST: Final = 0.5
"""Weight of the teachers' scores against a label's that the source annotates."""
_BUDGET: Final = 2048


@dataclass(frozen=True, slots=True)
class Teachers:
    """Models of one task and one vocabulary that teach another.

    An ensemble is better than any of its models and a single one can learn most of that from its
    scores (Hinton et al. 2015).

    Attributes:
        pipelines: the models; none teach nothing.
    """

    pipelines: tuple[Pipeline, ...] = ()

    @classmethod
    def load(cls, folders: Sequence[Path], task: Task, start: Start) -> "Teachers":
        """Read artifacts.

        Raises:
            InputError: the task is not one that can be taught so.
            ArtifactError: one is missing, broken, another task's, or of another vocabulary.
        """
        if folders and task is Task.KEYWORDS:
            msg = "teachers score whole texts, keywords are tagged; train without --teacher"
            raise InputError(msg)
        vocabulary = (start.folder / TOKENIZER).read_bytes()
        for folder in folders:
            if (folder / TOKENIZER).read_bytes() != vocabulary:
                msg = f"{folder} has another vocabulary than {start.folder}; start both from one"
                raise ArtifactError(msg)
        return cls(tuple(Pipeline.load(folder, "cpu", task) for folder in folders))

    @property
    def versions(self) -> tuple[str, ...]:
        """Their model versions."""
        return tuple(pipeline.model_version for pipeline in self.pipelines)

    def teach(self, examples: Sequence[Example]) -> list[Example]:
        """The examples with softened gold: labels where annotated, mixed with mean scores."""
        if not self.pipelines:
            return list(examples)
        scores = self._scores([example.ids for example in examples])
        return [
            replace(example, gold=_mixed(example.gold, score))
            for example, score in zip(examples, scores, strict=True)
        ]

    def _scores(self, windows: Sequence[IntArray]) -> list[FloatArray]:
        scores: list[FloatArray] = [np.empty(0, np.float32)] * len(windows)
        for rows in micro_batches([len(window) for window in windows], _BUDGET):
            batch = [windows[row] for row in rows]
            said = [
                np.stack(cast("list[FloatArray]", each.predict(batch))) for each in self.pipelines
            ]
            for row, score in zip(rows, np.mean(said, axis=0), strict=True):
                scores[row] = score
        return scores


def _mixed(gold: np.ndarray, scores: FloatArray) -> FloatArray:
    mixed = np.where(gold == UNKNOWN, scores, TRUST * scores + (1 - TRUST) * gold)
    return mixed.astype(np.float32)
