"""Keywords that do not occur in the text: an attention decoder that may copy (Meng et al. 2017).

It reads the states of the tagger's encoder and shares its token vectors. A phrase is made token by
token; each token is either one of the commonest in training phrases or copied from the text.
"""

from itertools import groupby
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.pipeline.records import Encoded, Generated

END: Final = 0
"""Id that begins and ends a phrase."""
BLANK: Final = 1
"""Id that separates the words of a phrase."""
SIGNS: Final = 2
"""Ids below it are signs; the vocabulary entry `t` has the id `SIGNS + t`."""

MOST_TOKENS: Final = 12
"""Most tokens and blanks of a phrase."""
BEAM: Final = 10
"""Beginnings of phrases that are followed at a time, and most phrases returned for a window."""

MOST_AT_ONCE: Final = 1024
"""Most padded tokens of a micro-batch: each window has many beginnings, followed for many steps."""

_LEAST: Final = 1e-9


class _Memory(NamedTuple):
    """What the decoder knows in each phrase: its state and what it attended to last.

    Both are (windows, phrases, states).
    """

    hidden: Tensor
    context: Tensor


class _Beam(NamedTuple):
    """The beginnings that are followed, all (windows, phrases, …).

    Attributes:
        memory: the decoder's memory.
        tokens: ids made so far, the first one `END`.
        probabilities: probability of each beginning.
    """

    memory: _Memory
    tokens: Tensor
    probabilities: Tensor


class Generator(nn.Module):
    """Generates phrases from encoder states.

    Args:
        embedding: the encoder's token vectors; shared, and not among this module's own weights.
        states: size of an encoder state.
        outputs: vocabulary entries that it may make itself; any other it may only copy.
        dropout: share of units that a training step hides.
    """

    def __init__(
        self, embedding: nn.Embedding, states: int, outputs: Tensor, dropout: float = 0.0
    ) -> None:
        super().__init__()
        size = embedding.embedding_dim
        self._shared = (embedding,)  # in a tuple, so that it is not registered
        self.register_buffer("outputs", outputs.int())
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))
        self.dropout = nn.Dropout(dropout)
        self.signs = nn.Parameter(torch.randn(SIGNS, size) * 0.1)
        self.start = nn.Linear(states, states)
        self.cell = nn.GRUCell(size + states, states)
        self.attention = nn.Linear(states, states, bias=False)
        self.output = nn.Linear(2 * states, size)
        self.bias = nn.Parameter(torch.zeros(SIGNS + len(outputs)))
        self.copy = nn.Linear(2 * states, 1)

    def log_likelihoods(self, source: Encoded, target: Tensor) -> Tensor:
        """Log-probability of each token of the target phrases, (tokens,).

        Args:
            source: the windows.
            target: ids of the tokens of each phrase, (windows, phrases, steps), -1 after its `END`.
        """
        memory = self._first(source, target.shape[1])
        given = torch.full_like(target[:, :, 0], END)
        both, weights = [], []
        for wanted in target.unbind(2):
            memory, weight = self._step(given, memory, source)
            both.append(torch.cat(memory, dim=2))
            weights.append(weight)
            given = wanted.clamp(min=END)
        inside = target >= 0
        wanted = target[inside]
        copies, generated = self._probabilities(torch.stack(both, 2)[inside])
        index = self._output_index()[wanted]
        generated = generated.gather(1, index.clamp(min=0)[:, None])[:, 0] * (index >= 0)
        ids = (source.ids + SIGNS)[:, None, None].expand(*target.shape, -1)[inside]
        copied = (torch.stack(weights, 2)[inside] * (ids == wanted[:, None])).sum(1)
        return ((1 - copies) * generated + copies * copied).clamp(min=_LEAST).log()

    @torch.inference_mode()
    def generate(self, source: Encoded) -> list[list[Generated]]:
        """The likeliest phrases of each window, at most `BEAM`, best first.

        No window influences another. A phrase's score is its probability among all phrases,
        calibrated to the probability that it is a keyword.
        """
        outputs = self._output_ids()
        # The tokens that can occur here: far fewer than the vocabulary.
        known = torch.unique(torch.cat([outputs, (source.ids + SIGNS).flatten()]))
        generated_at = torch.searchsorted(known, outputs)
        copied_at = torch.searchsorted(known, source.ids + SIGNS)
        beam = self._begin(source)
        ended: list[tuple[Tensor, Tensor]] = []
        best = beam.probabilities.new_zeros(len(source.ids), BEAM)
        for _ in range(MOST_TOKENS):
            memory, weight = self._step(beam.tokens[:, :, -1], beam.memory, source)
            copies, generated = self._probabilities(torch.cat(memory, dim=2))
            probabilities = generated.new_zeros(*generated.shape[:2], len(known))
            probabilities[:, :, generated_at] = (1 - copies)[:, :, None] * generated
            index = copied_at[:, None].expand_as(weight)
            probabilities.scatter_add_(2, index, copies[:, :, None] * weight)
            probabilities *= beam.probabilities[:, :, None]
            closed = probabilities[:, :, END].clone()
            probabilities[:, :, END] = 0
            ended.append((beam.tokens, closed))
            best = torch.cat([best, closed], dim=1).topk(BEAM).values
            beam = _longer(_Beam(memory, beam.tokens, beam.probabilities), probabilities, known)
            # A longer phrase is never likelier than its beginning.
            if bool((beam.probabilities[:, 0] <= best[:, -1]).all()):
                break
        return self._phrases(ended)

    def _output_ids(self) -> Tensor:
        """Ids of all tokens that it can make itself, ascending, (SIGNS + outputs,)."""
        outputs = self.get_buffer("outputs").long()
        return torch.cat([torch.arange(SIGNS, device=outputs.device), outputs + SIGNS])

    def _output_index(self) -> Tensor:
        """Index of each id in `_output_ids`, or -1, (SIGNS + vocabulary,)."""
        ids = self._output_ids()
        index = torch.full((SIGNS + self._shared[0].num_embeddings,), -1, device=ids.device)
        index[ids] = torch.arange(len(ids), device=ids.device)
        return index

    def _first(self, source: Encoded, phrases: int) -> _Memory:
        inside = source.mask[:, :, None]
        mean = (source.states * inside).sum(1) / inside.sum(1)
        hidden = torch.tanh(self.start(mean))[:, None].expand(-1, phrases, -1)
        return _Memory(hidden, torch.zeros_like(hidden))

    def _step(self, given: Tensor, memory: _Memory, source: Encoded) -> tuple[_Memory, Tensor]:
        """Advance by one token: the memory, and the attention weights (windows, phrases, time)."""
        signs = self.signs[given.clamp(max=SIGNS - 1)]
        tokens = self._shared[0]((given - SIGNS).clamp(min=0))
        vectors = torch.where((given < SIGNS)[:, :, None], signs, tokens)
        inputs = torch.cat([self.dropout(vectors), memory.context], dim=2)
        hidden = self.cell(inputs.flatten(0, 1), memory.hidden.flatten(0, 1))
        hidden = hidden.view_as(memory.hidden)
        match = self.attention(hidden) @ source.states.transpose(1, 2)
        weight = functional.softmax(match.masked_fill(~source.mask[:, None], -torch.inf), dim=2)
        return _Memory(hidden, weight @ source.states), weight

    def _probabilities(self, both: Tensor) -> tuple[Tensor, Tensor]:
        """Probability of copying (…,), and of each output if not copied (…, SIGNS + outputs)."""
        both = self.dropout(both)
        guess = torch.tanh(self.output(both))
        vectors = torch.cat([self.signs, self._shared[0](self.get_buffer("outputs"))])
        logits = guess @ vectors.T + self.bias
        return torch.sigmoid(self.copy(both))[..., 0], functional.softmax(logits, dim=-1)

    def _begin(self, source: Encoded) -> _Beam:
        windows = len(source.ids)
        probabilities = source.states.new_zeros(windows, BEAM)
        probabilities[:, 0] = 1  # the others would be the same beginning
        tokens = torch.full((windows, BEAM, 1), END, device=source.ids.device)
        return _Beam(self._first(source, BEAM), tokens, probabilities)

    def _phrases(self, ended: list[tuple[Tensor, Tensor]]) -> list[list[Generated]]:
        """The likeliest of all phrases that ended at any step."""
        closed = torch.cat([one for _, one in ended], dim=1)  # (windows, steps * BEAM)
        best = closed.topk(BEAM)
        slope, shift = self.get_buffer("calibration")
        scores = torch.sigmoid(slope * best.values.clamp(min=_LEAST).log() + shift)
        phrases: list[list[Generated]] = [[] for _ in closed]
        for row, columns in enumerate(
            zip(best.indices.tolist(), best.values.tolist(), scores.tolist(), strict=True)
        ):
            for index, probability, score in zip(*columns, strict=True):
                tokens = ended[index // BEAM][0][row, index % BEAM].tolist()[1:]
                if tokens and probability > 0:
                    phrases[row].append(Generated(_words(tokens), score))
        return phrases


def _longer(beam: _Beam, probabilities: Tensor, known: Tensor) -> _Beam:
    """The likeliest beginnings that are one token longer.

    Args:
        beam: the beginnings.
        probabilities: of each beginning with each next token, (windows, phrases, tokens).
        known: ids of the tokens, (tokens,).
    """
    best = probabilities.flatten(1).topk(BEAM)
    origin = best.indices // len(known)
    tokens = beam.tokens.gather(1, origin[:, :, None].expand_as(beam.tokens))
    added = known[best.indices % len(known)]
    memory = (part.gather(1, origin[:, :, None].expand_as(part)) for part in beam.memory)
    return _Beam(_Memory(*memory), torch.cat([tokens, added[:, :, None]], dim=2), best.values)


def _words(tokens: list[int]) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(token - SIGNS for token in word)
        for is_blank, word in groupby(tokens, lambda token: token == BLANK)
        if not is_blank
    )
