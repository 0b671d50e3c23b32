"""A transformer that knows a language already teaches a network of ours.

It is fine-tuned on the labelled rows, and says of their texts how likely each label holds: soft
labels, which a network learns beside the labels (Hinton et al. 2015; from a transformer to a
recurrent network, Tang et al. 2019). The transformer itself never serves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from schema.documents import Task
from schema.errors import DocumentError, InputError
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS, Language
from worker.pipeline.batch import micro_batches, pad
from worker.pipeline.decoders import sigmoid_loss, softmax_loss
from worker.pipeline.model import Network, token_mask
from worker.pipeline.preprocess import preprocess
from worker.pipeline.records import CleanText, IntArray
from worker.training import metrics
from worker.training.card import TeacherCard, Use, entry_of
from worker.training.corpus import Source, Split, clean_rows, data_hash
from worker.training.evaluate import Measures, moderation_measures, sentiment_measures
from worker.training.examples import Example, known_labels, label_gold
from worker.training.loop import EpochReport, StepReport, TrainingConfig, TrainingState, train
from worker.training.recipe import Recipe, score_of
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow
from worker.training.soft_labels import SoftLabels

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TEACHING: Final = TrainingConfig(epochs=1, budget=1024, learning_rate=8e-4, encoder_rate=0.1)
"""How a transformer is fine-tuned. After one epoch it has not learned its rows by heart: what it
says of them is worth learning."""
LONGEST: Final = 96
"""Tokens that a transformer reads of a text."""
_BUDGET: Final = 4096
"""Padded tokens of a micro-batch that nothing is learned from."""
_DROPOUT: Final = 0.1
_DIGITS: Final = 4
_LABELS: Final[dict[Task, Sequence[str]]] = {
    Task.SENTIMENT: SENTIMENT_LABELS,
    Task.MODERATION: MODERATION_LABELS,
}


@dataclass(frozen=True, slots=True)
class Teaching:
    """What soft labels are made of; the same gives the same ones on CPU.

    Attributes:
        recipe: of the network that will learn them; its training is the transformer's.
        transformer: folder of an encoder and its tokenizer as the `transformers` library reads
            them, or its name on a hub.
        language: texts in another one are left out.
    """

    recipe: Recipe
    transformer: str
    language: Language


class Teacher(Network):
    """A transformer whose first state and the mean of all score each label of a classifier."""

    def __init__(self, transformer: "PreTrainedModel", task: Task) -> None:
        super().__init__()
        self.encoder = transformer
        self.dropout = nn.Dropout(_DROPOUT)
        self.output = nn.Linear(2 * transformer.config.hidden_size, len(_LABELS[task]))
        self.task = task

    def loss(self, ids: Tensor, lengths: Tensor, gold: Tensor) -> Tensor:
        """See `Network`."""
        logits = self._logits(ids, lengths)
        return (softmax_loss if self.task is Task.SENTIMENT else sigmoid_loss)(logits, gold)

    @torch.inference_mode()
    def chances(self, texts: Sequence[IntArray]) -> metrics.Floats:
        """How likely each label holds, (texts, labels); in evaluation mode."""
        found = np.empty((len(texts), len(_LABELS[self.task])))
        for rows in micro_batches([len(ids) for ids in texts], _BUDGET):
            logits = self._logits(*pad([texts[row] for row in rows]))
            softmax = self.task is Task.SENTIMENT
            found[rows] = (torch.softmax(logits, dim=1) if softmax else logits.sigmoid()).numpy()
        return found

    def _logits(self, ids: Tensor, lengths: Tensor) -> Tensor:
        mask = token_mask(ids, lengths)
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        share = mask / lengths[:, None]
        mean = (share[:, None, :] @ states).squeeze(1)
        scores: Tensor = self.output(self.dropout(torch.cat([states[:, 0], mean], dim=1)))
        return scores


class _Part(NamedTuple):
    """Rows of one source that are in the language.

    Attributes:
        source: of the rows.
        use: of the source.
        rows: as they stand there, at least one.
        texts: token ids of each.
    """

    source: Source
    use: Use
    rows: list[LabelledRow]
    texts: list[IntArray]


def teach(teaching: Teaching, out: Path) -> Iterator[str | StepReport | EpochReport]:
    """Fine-tune the transformer, and write its soft labels and what it is.

    Args:
        teaching: what to make; of sentiment or moderation.
        out: folder for them, see `SoftLabels.load`.

    Raises:
        InputError: the data or the transformer is missing or broken, or no text is in the language.
    """
    yield "reading the rows"
    recipe = teaching.recipe
    model, tokenizer = _load(teaching.transformer)
    training = list(_parts(teaching, tokenizer, "train"))
    valid = [part for part in _parts(teaching, tokenizer, "valid") if part.use == "labels"]
    if not training:
        folder, language = recipe.data / recipe.task, teaching.language
        msg = f"{folder} holds no training text in {language!r}; name another --language"
        raise InputError(msg)
    weights_hash = _hash(model)
    state = TrainingState.fresh(lambda: Teacher(model, recipe.task), recipe.training)

    def validate(teacher: Teacher) -> float:
        return score_of(_measures(teacher, part) for part in valid) if valid else 0.0

    examples = [example for part in training for example in _examples(part)]
    yield from train(state, examples, validate, recipe.training)
    yield "writing the soft labels"
    state.model.load_state_dict(state.best_weights)
    state.model.eval()
    by_text = {
        row.text: dict(zip(_LABELS[recipe.task], chances.tolist(), strict=True))
        for part in training
        for row, chances in zip(
            part.rows, state.model.chances(part.texts).round(_DIGITS), strict=True
        )
    }
    card = TeacherCard(
        task=recipe.task,
        transformer=Path(teaching.transformer).name,
        weights_hash=weights_hash,
        command=recipe.command,
        data_hash=data_hash([part.source for part in training]),
        sources=tuple(entry_of(part.source, part.use, part.rows) for part in training),
        epochs=state.epoch - state.stale,
        validation_score=state.best_score,
    )
    SoftLabels(by_text, card).save(out)


def _parts(
    teaching: Teaching, tokenizer: "PreTrainedTokenizerBase", split: Split
) -> Iterator[_Part]:
    """Of each source that has any, the rows in the language."""
    recipe = teaching.recipe
    sets: list[tuple[Source, Use, Sequence[LabelledRow]]] = [
        *((source, "labels", source.rows(split)) for source in recipe.sources()),
        *((one, "ordinary text", clean_rows(one, split)) for one in recipe.ordinary_sources()),
    ]
    for source, use, rows in sets:
        pairs = [
            (row, clean.text)
            for row in rows
            if (clean := _clean(row.text)) and clean.language == teaching.language
        ]
        if pairs:
            encoded = tokenizer([text for _, text in pairs], truncation=True, max_length=LONGEST)
            texts = [np.array(ids, dtype=np.int32) for ids in encoded["input_ids"]]
            yield _Part(source, use, [row for row, _ in pairs], texts)


def _examples(part: _Part) -> Iterator[Example]:
    known = known_labels(part.rows)
    for row, ids in zip(part.rows, part.texts, strict=True):
        if not isinstance(row, KeywordsRow):
            yield Example(ids, label_gold(row, known))


def _measures(teacher: Teacher, part: _Part) -> Measures:
    chances = teacher.chances(part.texts)
    if teacher.task is Task.SENTIMENT:
        return sentiment_measures(cast("list[SentimentRow]", part.rows), chances)
    halves: dict[str, float] = dict.fromkeys(MODERATION_LABELS, 0.5)
    return moderation_measures(cast("list[ModerationRow]", part.rows), chances, halves)


def _clean(text: str) -> CleanText | None:
    try:
        return preprocess(text)
    except DocumentError:  # nothing is left of the text after cleaning
        return None


def _hash(model: nn.Module) -> str:
    """Over the weights, 16 hex digits."""
    digest = sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _load(transformer: str) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    try:
        from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - an extra
    except ImportError as error:
        msg = "a teacher needs transformers; install it with: pip install 'textmill[teacher]'"
        raise InputError(msg) from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(transformer)
        return AutoModel.from_pretrained(transformer), tokenizer
    except (OSError, ValueError) as error:
        msg = f"cannot read the transformer {transformer} ({error}); name its folder"
        raise InputError(msg) from error
