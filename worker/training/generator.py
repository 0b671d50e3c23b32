"""Trains the generator on keywords that do not occur in their texts; the encoder is frozen."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from schema.errors import DocumentError
from worker.pipeline.batch import BUDGET, micro_batches, pad
from worker.pipeline.generator import BLANK, END, MOST_TOKENS, SIGNS, Generator
from worker.pipeline.model import Encoder, Network, token_mask
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import Encoded, IntArray
from worker.pipeline.tokenize import Tokenizer
from worker.training.cleaning import cleaned
from worker.training.examples import OVERLAP, WINDOW, Example
from worker.training.loop import TrainingConfig, stack_gold
from worker.training.rows import KeywordsRow

TRAINING: Final = TrainingConfig(epochs=3, budget=2048, learning_rate=3e-3)
"""How the generator that ships is trained."""

MOST_PHRASES: Final = 5
"""Most keywords of a document that are learned."""
DROPOUT: Final = 0.3
"""Share of units that a training step hides."""
MOST_OUTPUTS: Final = 4000
"""Most vocabulary entries that can be generated without copying: the commonest in gold phrases."""
LEAST_SEEN: Final = 2
"""Fewest gold phrases that such an entry occurs in."""


class Generation(Network):
    """A generator over a frozen encoder."""

    def __init__(self, encoder: Encoder, generator: Generator) -> None:
        super().__init__()
        # In a tuple, so that it is not among the weights that are trained.
        self._encoder = (encoder.eval().requires_grad_(requires_grad=False),)
        self.generator = generator

    def loss(self, ids: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:
        """Mean negative log-likelihood of a phrase's token; `gold` is as in `phrase_examples`."""
        return -self._log_likelihoods(ids, lengths, gold).mean()

    @property
    def encoder(self) -> Encoder:
        """The encoder whose states are read."""
        return self._encoder[0]

    @torch.no_grad()
    def mean_token_probability(self, examples: Sequence[Example]) -> float:
        """Geometric mean of the probability of a token of the phrases."""
        lost, count = 0.0, 0
        for rows in micro_batches([len(example.ids) for example in examples], BUDGET):
            ids, lengths = pad([examples[row].ids for row in rows])
            gold = stack_gold([examples[row] for row in rows])
            log_likelihoods = self._log_likelihoods(ids, lengths, gold)
            lost, count = lost - log_likelihoods.sum().item(), count + len(log_likelihoods)
        return float(np.exp(-lost / count))

    def _log_likelihoods(self, ids: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:
        with torch.no_grad():
            states = self.encoder(ids, lengths)
        longest = int((gold > 0).sum(2).max())
        source = Encoded(ids, states, token_mask(ids, lengths))
        return self.generator.log_likelihoods(source, gold[:, :, :longest].long() - 1)


def phrase_examples(rows: Sequence[KeywordsRow], tokenizer: Tokenizer) -> Iterator[Example]:
    """Encode the first window of each row with a keyword that does not occur in the text.

    The gold holds these phrases, (phrases, steps): their ids and `END`, each plus 1, then 0.
    """
    for row in rows:
        try:
            clean = preprocess(row.text)
            document = tokenizer.tokenize(clean, spans=False, window=WINDOW, overlap=OVERLAP)
        except DocumentError:  # nothing is left after cleaning
            continue
        targets = [
            target
            for phrase in dict.fromkeys(map(cleaned, row.all_keywords))
            if phrase and phrase not in clean.text and len(target := _target(phrase, tokenizer))
        ]
        if targets:
            yield Example(document.window_ids()[0], np.stack(targets[:MOST_PHRASES]))


def outputs(examples: Sequence[Example]) -> Tensor:
    """The vocabulary entries that can be generated without copying, ascending."""
    counts = Counter(
        int(token)
        for example in examples
        for target in example.gold
        for token in np.unique(target[target > SIGNS]) - 1
    )
    seen = [token for token, count in counts.most_common(MOST_OUTPUTS) if count >= LEAST_SEEN]
    return torch.tensor(sorted(seen), dtype=torch.int32) - SIGNS


def _target(phrase: str, tokenizer: Tokenizer) -> IntArray:
    """The gold of a phrase, (steps,); empty if the phrase is too long."""
    steps: list[int] = []
    for place, word in enumerate(phrase.split(" ")):
        steps += [BLANK] if place else []
        steps += [SIGNS + token for token in tokenizer.ids_of(word)]
    if len(steps) > MOST_TOKENS - 1:
        return np.empty(0, dtype=np.int32)
    target = np.zeros(MOST_TOKENS, dtype=np.int32)
    target[: len(steps) + 1] = np.array([*steps, END]) + 1
    return target
