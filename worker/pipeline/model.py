"""The network: embedding, bidirectional recurrent encoder, decoder of the task."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from schema.documents import Task
from worker.pipeline.decoders import CrfDecoder, Decoder, SigmoidDecoder, SoftmaxDecoder
from worker.pipeline.records import PAD, Encoded, Prediction

Cell = Literal["rnn", "lstm", "gru"]
Share = Annotated[float, Field(ge=0, lt=1)]
Recurrent = nn.RNN | nn.LSTM | nn.GRU
_CELLS: dict[Cell, type[Recurrent]] = {
    "rnn": nn.RNN,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What decides the shape of a network.

    Attributes:
        task: chooses the decoder.
        vocabulary: number of token ids; 0 is padding.
        labels: names of the output labels, in order; empty for keywords.
        cell: kind of recurrent cell.
        embedding: size of a token's vector.
        hidden: size of the recurrent state, per direction.
        word_dropout: share of word types that a training step hides.
        input_dropout: share of embedding units that a training step hides.
        output_dropout: share of state units that a training step hides.
    """

    task: Task
    vocabulary: PositiveInt
    labels: tuple[str, ...]
    cell: Cell = "gru"
    embedding: PositiveInt = 192
    hidden: PositiveInt = 128
    word_dropout: Share = 0.05
    input_dropout: Share = 0.3
    output_dropout: Share = 0.4


class Network(nn.Module):
    """A network that can be trained."""

    def loss(self, ids: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:
        """Mean loss of a micro-batch, a scalar.

        Args:
            ids: token ids, (batch, time), padded at the end.
            lengths: tokens of each row, (batch,), at least 1, the longest equal to time.
            gold: the gold of each row, in the form that the network expects.
        """
        raise NotImplementedError


class Model(Network):
    """Encoder and decoder of one task.

    No row influences another: padding is masked everywhere, and the backward direction starts at
    each row's own last token.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = _decoder(config)

    def loss(self, ids: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:
        """See `Network`; the decoder of the task says what `gold` holds."""
        return self.decoder.loss(self._encoded(ids, lengths), gold)

    def predict(self, ids: Tensor, lengths: Tensor) -> list[Prediction]:
        """One prediction per row of `ids`; the model must be in evaluation mode."""
        return self.decoder.predict(self._encoded(ids, lengths))

    def _encoded(self, ids: Tensor, lengths: Tensor) -> Encoded:
        return Encoded(ids, self.encoder(ids, lengths), token_mask(ids, lengths))


class Encoder(nn.Module):
    """Turns token ids into a state per token: `(batch, time)` to `(batch, time, 2 * hidden)`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, config.embedding, padding_idx=PAD)
        self.ahead = _CELLS[config.cell](config.embedding, config.hidden, batch_first=True)
        self.back = _CELLS[config.cell](config.embedding, config.hidden, batch_first=True)
        self.word_dropout = config.word_dropout
        self.input_dropout = VariationalDropout(config.input_dropout)
        self.output_dropout = VariationalDropout(config.output_dropout)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Encode a micro-batch; states of the padding are arbitrary but finite."""
        vectors = self.input_dropout(self._embed(ids))
        # Each row is reversed within its own length instead of packing the sequences: this is
        # several times faster on CPU, and padding still never precedes a token.
        turn = _reversal(lengths, ids.shape[1])[:, :, None]
        turned = vectors.gather(1, turn.expand_as(vectors))
        ahead, _ = self.ahead(vectors)
        back, _ = self.back(turned)
        back = back.gather(1, turn.expand_as(back))
        states: Tensor = self.output_dropout(torch.cat([ahead, back], dim=2))
        return states

    def _embed(self, ids: Tensor) -> Tensor:
        vectors: Tensor = self.embedding(ids)
        if not self.training or not self.word_dropout:
            return vectors
        # A hidden word type is hidden wherever it occurs (Gal & Ghahramani 2016, section 4.2).
        kept = torch.rand(self.embedding.num_embeddings, device=ids.device) >= self.word_dropout
        return vectors * kept[ids][:, :, None] / (1 - self.word_dropout)


class VariationalDropout(nn.Module):
    """Dropout with one mask per row for all time steps (Gal & Ghahramani 2016)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, values: Tensor) -> Tensor:
        """Hide units of `values` (batch, time, units) while training."""
        if not self.training or not self.share:
            return values
        mask = torch.rand(values.shape[0], 1, values.shape[2], device=values.device)
        return values * (mask >= self.share) / (1 - self.share)


def _decoder(config: ModelConfig) -> Decoder:
    states, dropout = 2 * config.hidden, config.output_dropout
    match config.task:
        case Task.SENTIMENT:
            return SoftmaxDecoder(config.vocabulary, states, len(config.labels), dropout)
        case Task.MODERATION:
            return SigmoidDecoder(config.vocabulary, states, len(config.labels), dropout)
        case Task.KEYWORDS:
            return CrfDecoder(states, dropout)


def token_mask(ids: Tensor, lengths: Tensor) -> Tensor:
    """True for tokens, False for padding, (batch, time)."""
    return torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]


def _reversal(lengths: Tensor, time: int) -> Tensor:
    """Index that reverses the first `length` positions of each row, (batch, time)."""
    position = torch.arange(time, device=lengths.device).expand(len(lengths), time)
    return torch.where(position < lengths[:, None], lengths[:, None] - 1 - position, position)
