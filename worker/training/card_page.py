"""The card of an artifact as a page of Markdown."""

from collections.abc import Iterable, Sequence
from typing import Final

from schema.documents import Task
from worker.pipeline.character_ngrams import BITS
from worker.training.card import Card, SetFigures
from worker.training.evasion import EVASIONS
from worker.training.measures import (
    KeywordsMeasures,
    LabelMeasures,
    ModerationMeasures,
    SentimentMeasures,
)

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
        ("starts from", _start(card)),
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
        "## Test splits, measured after training\n",
        _tests(card),
        *_without_negatives(card),
        *_generated(card),
        *_ordinary(card),
        *_evasions(card),
        "## Limits and biases\n",
        "".join(f"* {limit}\n" for limit in card.limits),
    ]
    return "\n".join(parts)


def _start(card: Card) -> str:
    if card.start is None:
        return "random weights"
    return f"`{card.start}`, and is the mean with it" if card.averaged else f"`{card.start}`"


def _pooled(card: Card) -> list[tuple[str, str]]:
    if card.pool_weights is None:
        return []
    network, own = card.pool_weights
    pooled = f"pooled with weight {own:.2f}, the network with {network:.2f}"
    return [("character n-grams", f"{2**BITS:,} buckets; {pooled}")]


def _taught(card: Card) -> list[tuple[str, str]]:
    return [
        fact
        for teacher in card.teachers
        for fact in (
            ("teacher", f"{teacher.transformer}, weights `{teacher.weights_hash}`"),
            ("teacher, made by", f"`{teacher.command}`"),
        )
    ]


def _size_and_score(size: int, score: float | None) -> str:
    """Size of the network's weights, and the validation score of the network alone."""
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
        "## Generated keywords, measured after training\n",
        "Against the keywords that do not occur in the text.\n",
        _table(("set", "documents", "F1@5", "recall@10"), rows),
        _table(("generator", ""), facts),
    ]


def _ordinary(card: Card) -> list[str]:
    if card.ordinary_flagged is None:
        return []
    share = f"{card.ordinary_flagged:.1%}"
    return [f"Of ordinary text (titles, posts, praise, neutral text) {share} is flagged.\n"]


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
                precision = None if _cannot_err(label) else label.precision
                numbers = map(_number, (precision, label.recall, label.f1, label.auc))
                yield (entry.name, name, f"{label.support:,}", *numbers)
        case KeywordsMeasures():
            numbers = map(_number, (measures.f1_at_5, measures.f1_at_10, entry.majority))
            yield (entry.name, f"{measures.present_documents:,}", *numbers)


def _without_negatives(card: Card) -> list[str]:
    if any(
        _cannot_err(label)
        for test in card.tests
        if isinstance(test.measures, ModerationMeasures)
        for label in test.measures.labels.values()
    ):
        return ["–: all annotated rows have the label, so nothing can be flagged wrongly there.\n"]
    return []


def _cannot_err(label: LabelMeasures) -> bool:
    """Whether all rows have the label, so that precision is 1 whatever a model does."""
    return label.auc is None and label.support > 0


def _number(value: float | None, decimals: int = 3) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
