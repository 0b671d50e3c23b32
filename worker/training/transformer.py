"""A pretrained transformer with a decoder for one of our classifiers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor, nn

from schema.documents import LABELS, Task
from schema.errors import InputError
from worker.pipeline.batch import BUDGET, micro_batches, pad
from worker.pipeline.decoders import sigmoid_loss, softmax_loss
from worker.pipeline.model import Network, token_mask
from worker.pipeline.records import IntArray
from worker.training import metrics
from worker.training.hashing import content_hash

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LONGEST: Final = 96
"""Most tokens that it reads of a text."""
_DROPOUT: Final = 0.1


class Transformer(Network):
    """Scores each label from the transformer's first state and the mean of all its states."""

    def __init__(self, encoder: "PreTrainedModel", task: Task) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(_DROPOUT)
        self.output = nn.Linear(2 * encoder.config.hidden_size, len(LABELS[task]))
        self.task = task

    def loss(self, ids: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:
        """See `Network`; the gold is that of the task's decoder."""
        logits = self._logits(ids, lengths)
        return (softmax_loss if self.task is Task.SENTIMENT else sigmoid_loss)(logits, gold)

    @torch.inference_mode()
    def probabilities(self, texts: Sequence[IntArray]) -> metrics.Floats:
        """The probability of each label, (texts, labels); call it in evaluation mode.

        Args:
            texts: token ids of each text, at least one.
        """
        estimates = np.empty((len(texts), len(LABELS[self.task])))
        for rows in micro_batches([len(ids) for ids in texts], BUDGET):
            logits = self._logits(*pad([texts[row] for row in rows]))
            softmax = self.task is Task.SENTIMENT
            estimates[rows] = (
                torch.softmax(logits, dim=1) if softmax else logits.sigmoid()
            ).numpy()
        return estimates

    def _logits(self, ids: Tensor, lengths: Tensor) -> Tensor:
        mask = token_mask(ids, lengths)
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        share = mask / lengths[:, None]
        mean = (share[:, None, :] @ states).squeeze(1)
        scores: Tensor = self.output(self.dropout(torch.cat([states[:, 0], mean], dim=1)))
        return scores


def load(transformer: str) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load an encoder in float32 and its tokenizer.

    Args:
        transformer: their folder, or their name on a hub.

    Raises:
        InputError: they cannot be read, or the `transformers` library is not installed.
    """
    try:
        from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - an extra
    except ImportError as error:
        msg = "a teacher needs transformers: install Textmill with its extra `teacher`"
        raise InputError(msg) from error
    torch.manual_seed(0)  # decides weights that the folder does not hold
    try:
        tokenizer = AutoTokenizer.from_pretrained(transformer)
        return AutoModel.from_pretrained(transformer, dtype=torch.float32), tokenizer
    except Exception as error:  # the library raises nothing more specific
        msg = f"cannot read the transformer {transformer} ({error}); name another folder"
        raise InputError(msg) from error


def tokenize(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase") -> list[IntArray]:
    """Token ids of each text; of a long one, those of its beginning."""
    ids = tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
    return [np.array(text_ids, dtype=np.int32) for text_ids in ids]


def weights_hash(encoder: "PreTrainedModel") -> str:
    """Content hash of the weights, 16 hex digits."""
    return content_hash(
        part
        for name, value in encoder.state_dict().items()
        for part in (name.encode(), value.contiguous().numpy().tobytes())
    )
