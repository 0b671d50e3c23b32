"""The card of an artifact: what it was made from, how good it is, and what it is not good at."""

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from schema.base import Frozen
from schema.documents import Task
from worker.training.corpus import LicenceClass, Source
from worker.training.data_sets import Limit
from worker.training.evasion import Evasion
from worker.training.measures import KeywordsMeasures, ModerationMeasures, SentimentMeasures
from worker.training.rows import Row

Use = Literal[
    "labels", "ordinary text", "unlabelled text", "excerpts", "language", "written for training"
]
"""What a source contributes: labels, texts taken as clean, texts or excerpts that only a teacher
labels, or just language; texts written for training come with the code, see `written`."""


class SourceEntry(Frozen):
    """One source of training data.

    Attributes:
        name: its folder.
        use: what is taken from it.
        licence_class: A permissive, B share-alike or the texts' own terms, C none found.
        rows: number of training rows.
    """

    name: str
    use: Use
    licence_class: LicenceClass
    rows: int


def entry_of(source: Source, use: Use, rows: Sequence[Row]) -> SourceEntry:
    """The entry of a card for a source."""
    return SourceEntry(
        name=source.name, use=use, licence_class=source.licence_class, rows=len(rows)
    )


class LanguageModelCard(Frozen):
    """What a language model was made from.

    Attributes:
        command: the command that makes it from the data.
        data_hash: hash over every file of the sources.
        sources: the sources whose texts it read.
        epochs: passes over these texts.
        likelihood: geometric mean of the probability of a validation token.
    """

    command: str
    data_hash: str
    sources: tuple[SourceEntry, ...]
    epochs: int
    likelihood: float


class TeacherCard(Frozen):
    """The transformer whose soft labels were learned beside the labels.

    Attributes:
        task: the task of the labels.
        transformer: its name, or the last part of its folder.
        weights_hash: hash of its weights before fine-tuning, 16 hex digits.
        command: the command that makes the soft labels from the data.
        data_hash: hash over every file of the sources.
        sources: what it learned from or judged; only rows in its language count.
        epochs: passes over the rows that it learned from.
        validation_score: its score on the rows in its language, see `validation.Validation`; a
            source with few such rows counts as much as any other.
        soft_labels: content hash of its soft labels, 16 hex digits.
    """

    task: Task
    transformer: str
    weights_hash: str
    command: str
    data_hash: str
    sources: tuple[SourceEntry, ...]
    epochs: int
    validation_score: float
    soft_labels: str


class SetFigures(Frozen):
    """A final measurement, on rows from which this training learned and chose nothing.

    Attributes:
        name: the source.
        majority: accuracy of always answering the commonest label, or F1@5 of the keywords that are
            commonest in training; null for moderation, whose measures do not reward such answers.
        measures: the measures on the test split.
    """

    name: str
    majority: float | None
    measures: SentimentMeasures | ModerationMeasures | KeywordsMeasures


class GeneratorCard(Frozen):
    """How the generator of keywords was trained, after the rest of its artifact.

    Attributes:
        command: the command that makes it from the data and the artifact without it.
        seed: the seed of its training.
        parameters: number of its weights.
        data_hash: hash over every file of the sources.
        sources: what it was trained on; only rows with a keyword that is not in the text count.
        epochs: passes over these rows that the weights saw.
        likelihood: geometric mean of the probability of a token of a validation keyword.
    """

    command: str
    seed: int
    parameters: int
    data_hash: str
    sources: tuple[SourceEntry, ...]
    epochs: int
    likelihood: float


class Card(Frozen):
    """Everything a person needs to decide whether to use an artifact.

    Attributes:
        task: what it analyses.
        model_version: content hash of the artifact.
        command: the command that makes the artifact from the data.
        seed: the seed of the training.
        cell: kind of recurrent cell.
        parameters: number of the network's weights.
        pool_weights: for sentiment, the weights of the network and of the character n-grams beside
            it; null if it has none.
        data_hash: hash over every file of the sources.
        sources: what it and its start were trained on.
        start: content hash of the language model or artifact that it starts from; null if none.
        teachers: whose soft labels were learned beside the labels, here or by its start; empty if
            there were none.
        averaged: whether its weights are the mean of the weights before and after training.
        epochs: passes over the training rows that the weights saw.
        validation_score: score of the chosen weights in float32, as they were trained.
        stored_score: score of the same weights in float16, as they are stored; null if not
            measured.
        tests: final measurements.
        ordinary_flagged: for moderation, the share of ordinary titles, posts, praise and neutral
            text from the other tasks' test splits that is flagged; otherwise null.
        evasion_kept: for moderation, by set and evasion, the F1 of "any label holds" on disguised
            text as a share of the F1 on plain text; otherwise empty.
        limits: what it is not good at, and its known biases.
        generator: for keywords, the generator's card if there is one; otherwise null.
    """

    task: Task
    model_version: str
    command: str
    seed: int
    cell: str
    parameters: int
    pool_weights: tuple[float, float] | None = None
    data_hash: str
    sources: tuple[SourceEntry, ...]
    start: str | None = None
    teachers: tuple[TeacherCard, ...] = ()
    averaged: bool = False
    epochs: int
    validation_score: float
    stored_score: float | None = None
    tests: tuple[SetFigures, ...]
    ordinary_flagged: float | None
    evasion_kept: dict[str, dict[Evasion, float]] = Field(default_factory=dict)
    limits: tuple[str, ...]
    generator: GeneratorCard | None = None


def limits_of(limits: Iterable[Limit], sources: Iterable[SourceEntry]) -> tuple[str, ...]:
    """The limits that apply to what was trained on `sources`."""
    learned = {entry.name for entry in sources if entry.use == "labels"}
    return tuple(limit.text for limit in limits if learned.issuperset(limit.sources))
