"""The card of an artifact: what it was made from, how good it is, and what it is not good at."""

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from pydantic import Field

from schema.base import Frozen
from schema.documents import Task
from worker.pipeline.character_ngrams import BITS
from worker.training.corpus import LicenceClass, Source
from worker.training.evaluate import (
    KeywordsMeasures,
    ModerationMeasures,
    SentimentMeasures,
)
from worker.training.evasion import EVASIONS, Evasion
from worker.training.rows import Row

Use = Literal["labels", "ordinary text", "language"]
"""What a source gives: its labels, texts that are taken for clean, or just language."""


class SourceEntry(Frozen):
    """One source of training data.

    Attributes:
        name: its folder.
        use: what is taken from it.
        licence_class: A permissive, B share-alike or terms of the texts' own, C none found.
        rows: training rows.
    """

    name: str
    use: Use
    licence_class: LicenceClass
    rows: int


def entry_of(source: Source, use: Use, rows: Sequence[Row]) -> SourceEntry:
    """What a card says of a source."""
    return SourceEntry(
        name=source.name, use=use, licence_class=source.licence_class, rows=len(rows)
    )


class LanguageModelCard(Frozen):
    """What a language model was made from.

    Attributes:
        command: makes it from the data.
        data_hash: over every file of the sources.
        sources: whose texts it read.
        epochs: passes over them.
        likelihood: geometric mean of the probability of a held-out token.
    """

    command: str
    data_hash: str
    sources: tuple[SourceEntry, ...]
    epochs: int
    likelihood: float


class TeacherCard(Frozen):
    """The transformer whose soft labels were learned beside the labels.

    Attributes:
        task: of the labels.
        transformer: its name, or the last part of its folder.
        weights_hash: over its weights before it was fine-tuned, 16 hex digits.
        command: makes the soft labels from the data.
        data_hash: over every file of the sources.
        sources: whose labels it learned; rows are those in its language.
        epochs: passes over them.
        validation_score: of the rows in its language, see `recipe.Validation`; sources that hold
            few such rows count as much as others.
        soft_labels: content hash of what it says, 16 hex digits.
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
    """One final measurement, on rows that decided nothing before.

    Attributes:
        name: the source.
        majority: accuracy of always saying the commonest label, or F1@5 of the keywords that are
            commonest in training; null for moderation, whose measures do not reward it.
        measures: on the test split.
    """

    name: str
    majority: float | None
    measures: SentimentMeasures | ModerationMeasures | KeywordsMeasures


class GeneratorCard(Frozen):
    """How the generator of keywords was trained, after the rest of its artifact.

    Attributes:
        command: makes it from the data and the artifact without it.
        seed: of its training.
        parameters: number of its weights.
        data_hash: over every file of the sources.
        sources: what it was trained on; rows are those of which a keyword is not in the text.
        epochs: passes over them that the weights saw.
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
    """Everything a person decides by before using an artifact.

    Attributes:
        task: what it analyses.
        model_version: content hash of the artifact.
        command: makes the artifact from the data.
        seed: of the training.
        cell: kind of recurrent cell.
        parameters: number of the network's weights.
        pool_weights: of sentiment, those of the network and of the character n-grams beside it;
            null: it has none.
        data_hash: over every file of the sources.
        sources: what it was trained on, with what its start was trained on.
        start: content hash of the language model or artifact that it starts from; null: of none.
        teacher: whose soft labels were learned beside the labels, here or by what it starts from;
            null: nobody's.
        epochs: passes over the training rows that the weights saw.
        validation_score: of the chosen weights, in float32 as they were trained.
        stored_score: of the same weights as they are stored, in float16; null: not measured.
        tests: final measurements.
        ordinary_flagged: of moderation, share of ordinary titles, abstracts and praise from the
            other tasks' test splits that is flagged; else null.
        evasion_kept: of moderation, by set and evasion, the F1 of "anything holds" on disguised
            words as a share of the F1 on plain ones; else empty.
        limits: what it is not good at, and its known biases.
        generator: of keywords, where there is one.
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
    teacher: TeacherCard | None = None
    epochs: int
    validation_score: float
    stored_score: float | None = None
    tests: tuple[SetFigures, ...]
    ordinary_flagged: float | None
    evasion_kept: dict[str, dict[Evasion, float]] = Field(default_factory=dict)
    limits: tuple[str, ...]
    generator: GeneratorCard | None = None


FINDS_ONLY: Final = "Finds phrases that stand in the text; it makes none of its own."
GENERATES: Final = (
    "Generates keywords only where asked, from the beginning of a document; most are wrong.",
    "Generated Chinese keywords are learned from news titles, and few from abstracts.",
)
"""Limits of an artifact with a generator, in the place of `FINDS_ONLY`."""

LIMITS: Final[dict[Task, tuple[str, ...]]] = {
    Task.SENTIMENT: (
        "Knows tweets, Reddit, reviews, Weibo and television dialogue; less accurate elsewhere.",
        "Neutral Chinese text is learned from Weibo and dialogue only; reviews had no such label.",
        "Labels of zh-cped follow voice and face: two in five cannot be guessed from the text.",
        "On zh-cped accuracy stays below always saying negative; macro F1 and recall are above.",
        "Sarcasm and quoted opinion are often misread.",
    ),
    Task.MODERATION: (
        "Scores support a moderator and do not replace one: decisions on people need a person.",
        "African-American English and words of identity are flagged more often than they should.",
        "English abuse and hate come from tweets sampled by keyword and from sexism data.",
        "Chinese abuse and hate are about region, race and gender; other targets are unseen.",
        "Sexual and violent content have few hundred training rows each; recall is low.",
        "English fraud is text messages only; Chinese spam had its numbers and names masked.",
    ),
    Task.KEYWORDS: (
        FINDS_ONLY,
        "Knows abstracts, questions and Chinese news titles; less accurate elsewhere.",
        "News keywords were made by a machine and are incomplete: precision is a lower bound.",
    ),
}
"""Limits and biases of the shipped recipes, by task."""

_CLASSES: Final = "A permissive; B share-alike or terms of the texts' own; C none found"

_TEST_HEADS: Final[dict[Task, Sequence[str]]] = {
    Task.SENTIMENT: ("set", "rows", "accuracy", "majority", "macro F1", "macro recall", "ECE"),
    Task.MODERATION: ("set", "label", "rows with it", "precision", "recall", "F1", "AUC"),
    Task.KEYWORDS: ("set", "documents", "F1@5", "F1@10", "commonest keywords F1@5"),
}


def readable(card: Card) -> str:
    """The card as a page of Markdown."""
    facts = [
        ("model version", f"`{card.model_version}`"),
        ("made by", f"`{card.command}`"),
        ("cell", card.cell),
        ("weights", f"{card.parameters:,}"),
        (
            "network, as trained (float32)",
            _size_and_score(card.parameters * 4, card.validation_score),
        ),
        ("network, as stored (float16)", _size_and_score(card.parameters * 2, card.stored_score)),
        *_pooled(card),
        ("seed", str(card.seed)),
        ("epochs", str(card.epochs)),
        ("data hash", f"`{card.data_hash}`"),
        ("starts from", f"`{card.start}`" if card.start else "random weights"),
        *_taught(card),
    ]
    data = [
        (entry.name, entry.use, entry.licence_class, f"{entry.rows:,}") for entry in card.sources
    ]
    parts = [
        f"# Textmill {card.task} model\n",
        _table(("", ""), facts),
        "## Training data\n",
        f"Licence class: {_CLASSES}.\n",
        _table(("source", "use", "class", "rows"), data),
        "## Test splits, measured once\n",
        _tests(card),
        *_generated(card),
        *_ordinary(card),
        *_evasions(card),
        "## Limits and biases\n",
        "".join(f"* {limit}\n" for limit in card.limits),
    ]
    return "\n".join(parts)


def _pooled(card: Card) -> list[tuple[str, str]]:
    if card.pool_weights is None:
        return []
    network, own = card.pool_weights
    pooled = f"pooled with weight {own:.2f}, the network with {network:.2f}"
    return [("character n-grams", f"{2**BITS:,} buckets; {pooled}")]


def _taught(card: Card) -> list[tuple[str, str]]:
    if (teacher := card.teacher) is None:
        return []
    return [
        ("teacher", f"{teacher.transformer}, weights `{teacher.weights_hash}`"),
        ("teacher, made by", f"`{teacher.command}`"),
    ]


def _size_and_score(size: int, score: float | None) -> str:
    """Bytes of the network's weights, and its score on validation, without what is beside it."""
    return f"{size / 1e6:.1f} MB, validation score {_number(score, 4)}"


def _generated(card: Card) -> list[str]:
    if card.generator is None:
        return []
    rows = [
        (
            test.name,
            f"{measures.absent_documents or 0:,}",
            _number(measures.absent_f1_at_5),
            _number(measures.absent_recall_at_10),
        )
        for test in card.tests
        if isinstance(measures := test.measures, KeywordsMeasures)
    ]
    facts = [
        ("made by", f"`{card.generator.command}`"),
        ("weights", f"{card.generator.parameters:,}, stored as float16"),
        ("seed", str(card.generator.seed)),
        ("epochs", str(card.generator.epochs)),
        ("data hash", f"`{card.generator.data_hash}`"),
        ("likelihood of a token", f"{card.generator.likelihood:.3f}"),
    ]
    return [
        "## Generated keywords, measured once\n",
        "Against the keywords that do not occur in the text.\n",
        _table(("set", "documents", "F1@5", "recall@10"), rows),
        _table(("generator", ""), facts),
    ]


def _ordinary(card: Card) -> list[str]:
    if card.ordinary_flagged is None:
        return []
    return [
        f"Of ordinary text (titles, abstracts, praise) {card.ordinary_flagged:.1%} is flagged.\n"
    ]


def _evasions(card: Card) -> list[str]:
    if not card.evasion_kept:
        return []
    rows = [
        (name, *(_number(kept.get(evasion)) for evasion in EVASIONS))
        for name, kept in card.evasion_kept.items()
    ]
    heads = ("set", *(evasion.replace("_", " ") for evasion in EVASIONS))
    return [
        "## F1 kept when three in ten words are disguised\n",
        "Share of the F1 of (any) on a sample of each test split; – where no word can be.\n",
        _table(heads, rows),
    ]


def _tests(card: Card) -> str:
    return _table(_TEST_HEADS[card.task], [row for test in card.tests for row in _test_rows(test)])


def _test_rows(entry: SetFigures) -> Iterable[Sequence[str]]:
    match measures := entry.measures:
        case SentimentMeasures():
            yield (
                entry.name,
                f"{measures.documents:,}",
                _number(measures.accuracy),
                _number(entry.majority),
                _number(measures.macro_f1),
                _number(measures.macro_recall),
                _number(measures.ece),
            )
        case ModerationMeasures():
            flags = map(_number, (measures.flag_f1, measures.flag_auc))
            yield (entry.name, "(any)", f"{measures.documents:,} in all", "", "", *flags)
            for name, label in measures.labels.items():
                numbers = map(_number, (label.precision, label.recall, label.f1, label.auc))
                yield (entry.name, name, f"{label.support:,}", *numbers)
        case KeywordsMeasures():
            numbers = map(_number, (measures.f1_at_5, measures.f1_at_10, entry.majority))
            yield (entry.name, f"{measures.present_documents:,}", *numbers)


def _number(value: float | None, decimals: int = 3) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
