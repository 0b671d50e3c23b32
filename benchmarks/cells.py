"""How accurate and how fast each recurrent cell is for sentiment, trained from random weights.

`python -m benchmarks.cells --data DIR` trains one network per cell on the same rows, in the same
order, on one core each, and prints one JSON object per cell: macro F1 on the validation splits,
minutes per epoch, and documents per second through the whole pipeline. Test splits are not used.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import click
import numpy as np
import torch

from benchmarks.documents import make
from schema.documents import Task
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import SHIPPED, TOKENIZER
from worker.pipeline.model import Cell, Model
from worker.pipeline.tokenize import Tokenizer
from worker.training.evaluate import in_memory
from worker.training.loop import EpochReport, TrainingState, train
from worker.training.noisy_examples import make_examples
from worker.training.recipe import TRAINING, Recipe
from worker.training.training_rows import training_rows
from worker.training.validation import Validation

DOCUMENTS = 10_000
AT_ONCE = 1024


@dataclass(frozen=True)
class CellMeasures:
    """The measures of one cell.

    Attributes:
        cell: its kind.
        weights: number of the network's weights.
        macro_f1: on validation after each epoch, mean over the sources.
        minutes: CPU minutes per epoch, including validation and a share of the encoding.
        documents_per_second: of mixed documents through the whole pipeline on one core.
    """

    cell: Cell
    weights: int
    macro_f1: list[float]
    minutes: float
    documents_per_second: float


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True
)
@click.option("--epochs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--cell", "cells", type=click.Choice(get_args(Cell)), multiple=True)
def main(data: Path, epochs: int, cells: tuple[Cell, ...]) -> None:
    """Train, measure, print."""
    torch.set_num_threads(1)
    for cell in cells or get_args(Cell):
        print(json.dumps(asdict(_measure(data, epochs, cell))), flush=True)


def _measure(data: Path, epochs: int, cell: Cell) -> CellMeasures:
    # Nothing was pretrained, so all weights learn at one rate.
    training = replace(TRAINING[Task.SENTIMENT], epochs=epochs, patience=epochs, encoder_rate=1.0)
    recipe = Recipe(Task.SENTIMENT, data, "C", cell, training, command="benchmarks.cells")
    tokenizer = Tokenizer.load(SHIPPED / Task.SENTIMENT / TOKENIZER)
    config = recipe.config(tokenizer)
    state = TrainingState.fresh(lambda: Model(config.model), training)
    began, rng = time.process_time(), np.random.default_rng(training.seed)
    examples = make_examples(recipe.task, training_rows(recipe, {}, rng), tokenizer, rng)
    scores = [
        report.score
        for report in train(state, examples, Validation(recipe, tokenizer), training)
        if isinstance(report, EpochReport)
    ]
    minutes = (time.process_time() - began) / 60 / epochs
    pipeline = in_memory(config, tokenizer, state.model)
    texts = make(DOCUMENTS)
    analyse(pipeline, texts[:AT_ONCE])
    began = time.process_time()
    for first in range(0, DOCUMENTS, AT_ONCE):
        analyse(pipeline, texts[first : first + AT_ONCE])
    speed = DOCUMENTS / (time.process_time() - began)
    weights = sum(value.numel() for value in state.model.parameters())
    return CellMeasures(cell, weights, [round(score, 4) for score in scores], minutes, speed)


if __name__ == "__main__":
    main()
