"""Training of the generator on keywords that their texts do not hold; the encoder stays."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from schema.errors import DocumentError
from worker.pipeline.batch import micro_batches, pad
from worker.pipeline.generator import BLANK, END, NEXT, Generator
from worker.pipeline.model import Encoder
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import IntArray
from worker.pipeline.tokenize import Tokenizer
from worker.training.examples import OVERLAP, WINDOW
from worker.training.rows import KeywordsRow

BUDGET: Final = 4096
"""Most padded tokens of a step."""

MOST_PHRASES: Final = 5
"""Keywords of a document that are learned."""


class Task(NamedTuple):
    """A text and the phrases that it should bring to mind.

    Attributes:
        ids: token ids of its first window, (tokens,).
        goal: tokens and signs, ends with END, (steps,).
    """

    ids: IntArray
    goal: IntArray


def tasks(rows: Sequence[KeywordsRow], tokenizer: Tokenizer) -> Iterator[Task]:
    """Encode the rows of which a keyword does not stand in the text."""
    for row in rows:
        try:
            clean = preprocess(row.text)
            document = tokenizer.tokenize(clean, spans=False, window=WINDOW, overlap=OVERLAP)
            phrases = [preprocess(keyword).text for keyword in row.keywords if keyword.strip()]
        except DocumentError:  # nothing is left after cleaning
            continue
        absent = [phrase for phrase in phrases if phrase not in clean.text][:MOST_PHRASES]
        if absent:
            yield Task(document.window_ids()[0], _goal(absent, tokenizer))


def fit_generator(
    generator: Generator,
    encoder: Encoder,
    examples: Sequence[Task],
    *,
    epochs: int,
    rate: float = 2e-3,
    seed: int = 0,
) -> Iterator[float]:
    """Learn from examples, at least one; yields the mean loss of each epoch.

    Args:
        generator: changed in place.
        encoder: whose states it reads; not changed.
        examples: what to learn.
        epochs: passes over them.
        rate: learning rate of Adam.
        seed: decides the order of the steps.
    """
    chance = np.random.default_rng(seed)
    optimizer = torch.optim.Adam(generator.parameters(), lr=rate)
    batches = list(micro_batches([len(example.ids) for example in examples], BUDGET))
    encoder.eval()
    for _ in range(epochs):
        losses = []
        for place in chance.permutation(len(batches)):
            batch = [examples[row] for row in batches[place]]
            loss = _loss(generator, encoder, batch)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        yield float(np.mean(losses))


def _loss(generator: Generator, encoder: Encoder, batch: Sequence[Task]) -> Tensor:
    ids, lengths = pad([example.ids for example in batch])
    with torch.no_grad():
        states = encoder(ids, lengths)
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    goals = [torch.from_numpy(example.goal).long() for example in batch]
    goal = nn.utils.rnn.pad_sequence(goals, batch_first=True, padding_value=-1)
    return generator.loss(states, mask, ids, goal)


def _goal(phrases: Sequence[str], tokenizer: Tokenizer) -> IntArray:
    signs = tokenizer.size
    steps: list[int] = []
    for phrase in phrases:
        steps += [signs + NEXT] if steps else []
        for place, word in enumerate(phrase.split(" ")):
            steps += [signs + BLANK] if place else []
            steps += tokenizer.ids_of(word)
    return np.array([*steps, signs + END], dtype=np.int32)
