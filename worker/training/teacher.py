"""A pretrained transformer teaches a network of ours.

It is fine-tuned on the labelled rows, and then estimates how likely each label of their texts is:
soft labels, which a network learns beside the labels (Hinton et al. 2015; from a transformer to a
recurrent network, Tang et al. 2019). The transformer itself never serves.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from schema.documents import LABELS, Task
from schema.errors import InputError
from schema.outcomes import MODERATION_LABELS, Language, SentimentLabel
from worker.pipeline.records import IntArray
from worker.training.card import TeacherCard, Use, entry_of
from worker.training.checkpoint import CHECKPOINT, load_checkpoint, train_with_checkpoints
from worker.training.cleaning import clean_text
from worker.training.corpus import (
    Source,
    Split,
    check_rows,
    data_hash,
    identity_of,
    unlabelled_texts,
)
from worker.training.examples import Example, known_labels, label_gold
from worker.training.excerpts import excerpts
from worker.training.loop import EpochReport, StepReport, TrainingConfig, TrainingState
from worker.training.measures import Measures, folded, moderation_measures, sentiment_measures
from worker.training.recipe import Recipe
from worker.training.rows import ModerationRow, Row, SentimentRow, of_type
from worker.training.soft_labels import SoftLabel, SoftLabels, version_of
from worker.training.transformer import Transformer, load, tokenize, weights_hash
from worker.training.validation import score_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEACHING: Final = TrainingConfig(epochs=1, budget=1024, learning_rate=8e-4, encoder_rate=0.1)
"""How a transformer is fine-tuned. After one epoch it has not memorised its rows, so its judgement
of them is worth learning."""
_DIGITS: Final = 4
_THRESHOLDS: Final[dict[str, float]] = dict.fromkeys(MODERATION_LABELS, 0.5)
"""A teacher decides nothing, but measures need thresholds."""


@dataclass(frozen=True, slots=True)
class Teaching:
    """What soft labels are made from; the same inputs give the same soft labels on CPU.

    Attributes:
        recipe: names the task, the rows and the command; its training is the transformer's.
        transformer: folder of an encoder and its tokenizer as the `transformers` library reads
            them, or their name on a hub.
        language: texts in other languages are left out.
        unlabelled: whether it also judges, for sentiment, texts of other tasks and excerpts of the
            labelled ones, which nobody else labels.
    """

    recipe: Recipe
    transformer: str
    language: Language
    unlabelled: bool = False

    def identity(self, weights: str) -> str:
        """Hash over everything that decides the result; `weights` is `TeacherCard.weights_hash`."""
        options = [self.recipe.task, self.recipe.training, self.language, self.unlabelled, weights]
        used = [*self.recipe.original_sources(), *self.recipe.ordinary_sources()]
        return identity_of(options, used)


_Rows = tuple[Source, Use, Sequence[Row]]


class _Part(NamedTuple):
    """Rows of one source that are in the language.

    Attributes:
        source: the source of the rows.
        use: what is taken from the source.
        known: the sentiment labels that the source uses.
        rows: as they are in the source, at least one.
        texts: token ids of each row.
    """

    source: Source
    use: Use
    known: set[SentimentLabel]
    rows: list[Row]
    texts: list[IntArray]


def teach(
    teaching: Teaching, out: Path, *, resume: bool
) -> Iterator[str | StepReport | EpochReport]:
    """Fine-tune the transformer, and write its soft labels and its card.

    Args:
        teaching: what to make, for sentiment or moderation.
        out: folder for them, see `SoftLabels.load`.
        resume: continue from the checkpoint in `out`, which is written after every epoch, instead
            of starting over.

    Raises:
        InputError: the data or the transformer is missing or broken, no text to train or to
            validate on is in the language, there is nothing to resume, or the task learns nothing
            from unlabelled texts.
    """
    recipe = teaching.recipe
    if teaching.unlabelled and recipe.task is not Task.SENTIMENT:
        # It is unknown which labels a source of another task would annotate.
        msg = f"{recipe.task} learns nothing from unlabelled texts; leave --unlabelled out"
        raise InputError(msg)
    yield "reading the rows"
    check_rows(recipe.sources(), "train", "valid")
    encoder, tokenizer = load(teaching.transformer)
    original = weights_hash(encoder)
    training = _parts(teaching, tokenizer, [*_labelled(recipe, "train"), *_ordinary(recipe)])
    valid = _parts(teaching, tokenizer, _labelled(recipe, "valid"))
    for use, parts in (("training", training), ("validation", valid)):
        if not parts:
            folder, language = recipe.data / recipe.task, teaching.language
            msg = f"{folder} holds no {use} text in {language!r}; name another --language"
            raise InputError(msg)
    state = TrainingState.fresh(lambda: Transformer(encoder, recipe.task), recipe.training)

    checkpoint, identity = out / CHECKPOINT, teaching.identity(original)
    if resume:
        load_checkpoint(checkpoint, state, identity)

    def validate(transformer: Transformer) -> float:
        return score_of(_measures(transformer, part) for part in valid)

    examples = [example for part in training for example in _examples(part)]
    yield from train_with_checkpoints(
        state, examples, validate, recipe.training, folder=checkpoint, identity=identity
    )
    state.load_best()
    state.model.eval()
    by_text: dict[str, SoftLabel] = {}
    judged = [*training, *_alone(teaching, tokenizer, training)]
    for part in judged:
        yield f"judging the {part.use} of {part.source.name}"
        by_text |= _soft_labels(state.model, part)
    teacher = TeacherCard(
        task=recipe.task,
        transformer=Path(teaching.transformer).name,
        weights_hash=original,
        command=recipe.command,
        data_hash=data_hash([part.source for part in judged if part.use != "excerpts"]),
        sources=tuple(entry_of(part.source, part.use, part.rows) for part in judged),
        epochs=state.best_epoch,
        validation_score=state.best_score,
        soft_labels=version_of(by_text),
    )
    SoftLabels(by_text, teacher).save(out)
    shutil.rmtree(checkpoint)


def _parts(
    teaching: Teaching, tokenizer: "PreTrainedTokenizerBase", sets: Iterable[_Rows]
) -> list[_Part]:
    """The rows of each set that are in the language, if it has any."""
    parts = []
    for source, use, rows in sets:
        cleaned = [(row, clean_text(row.text)) for row in rows]
        chosen = [
            (row, clean.text)
            for row, clean in cleaned
            if clean is not None and clean.language == teaching.language
        ]
        if chosen:
            texts = tokenize([text for _, text in chosen], tokenizer)
            parts.append(_Part(source, use, known_labels(rows), [row for row, _ in chosen], texts))
    return parts


def _labelled(recipe: Recipe, split: Split) -> list[_Rows]:
    return [(source, "labels", source.rows(split)) for source in recipe.sources()]


def _ordinary(recipe: Recipe) -> list[_Rows]:
    return [(source, "ordinary text", rows) for source, rows in recipe.ordinary_sets("train")]


def _alone(
    teaching: Teaching, tokenizer: "PreTrainedTokenizerBase", training: Sequence[_Part]
) -> list[_Part]:
    """Texts that only the teacher judges: those of other tasks, and excerpts of labelled ones.

    Texts of the validation and test splits of the task are left out.
    """
    if not teaching.unlabelled:
        return []
    recipe = teaching.recipe
    rng = np.random.default_rng(recipe.training.seed)
    left_out = recipe.texts("valid", "test")
    texts: list[tuple[Source, Use, Iterable[str]]] = [
        (source, "unlabelled text", unlabelled_texts(source))
        for source in recipe.unlabelled_sources()
    ]
    texts += [
        (part.source, "excerpts", excerpts((row.text for row in part.rows), rng))
        for part in training
    ]
    return _parts(
        teaching,
        tokenizer,
        [
            (source, use, [Row(text=text) for text in candidates if folded(text) not in left_out])
            for source, use, candidates in texts
        ],
    )


def _examples(part: _Part) -> Iterator[Example]:
    for row, ids in zip(part.rows, part.texts, strict=True):
        if isinstance(row, SentimentRow | ModerationRow):
            yield Example(ids, label_gold(row, part.known))


def _measures(transformer: Transformer, part: _Part) -> Measures:
    probabilities = transformer.probabilities(part.texts)
    if transformer.task is Task.SENTIMENT:
        return sentiment_measures(of_type(SentimentRow, part.rows), probabilities)
    return moderation_measures(of_type(ModerationRow, part.rows), probabilities, _THRESHOLDS)


def _soft_labels(transformer: Transformer, part: _Part) -> dict[str, SoftLabel]:
    labels = LABELS[transformer.task]
    estimates = transformer.probabilities(part.texts).round(_DIGITS).tolist()
    return {
        row.text: dict(zip(labels, probabilities, strict=True))
        for row, probabilities in zip(part.rows, estimates, strict=True)
    }
