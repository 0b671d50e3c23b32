"""Runs documents through a pipeline in the caller's thread: for commands, training and tests.

Workers share micro-batches between chunks instead, in `worker/engine.py`.
"""

from collections.abc import Callable, Sequence
from typing import cast

from schema.errors import DocumentError
from schema.outcomes import Failure
from worker.pipeline import AnyResult, Pipeline, failure_of
from worker.pipeline.batch import micro_batches
from worker.pipeline.generator import MOST_AT_ONCE
from worker.pipeline.records import IntArray, Prediction, TokenizedDocument


def analyse(
    pipeline: Pipeline,
    texts: Sequence[str],
    budget: int = 4096,
    *,
    explain: bool = False,
    generate: bool = False,
) -> list[AnyResult | Failure]:
    """Run documents through a pipeline in this thread.

    Args:
        pipeline: the stages of one task.
        texts: the documents.
        budget: most padded tokens of a micro-batch.
        explain: whether results say what moved their scores.
        generate: whether results give keywords that do not stand in the text.

    Returns:
        One result or failure per document, in their order.
    """
    found = predicted(pipeline, texts, budget, explain=explain, generate=generate)
    outcomes = [
        item if isinstance(item, Failure) else _finish(pipeline, text, *item, budget, explain)
        for text, item in zip(texts, found, strict=True)
    ]
    if not generate:
        return outcomes
    documents = [item[0] for item in found if not isinstance(item, Failure)]
    windows = [document.first_window() for document in documents]
    made = iter(_run(pipeline.generate, windows, min(budget, MOST_AT_ONCE)))
    return [
        outcome
        if isinstance(item, Failure)
        else _complete(pipeline, text, item[0], outcome, next(made))
        for text, item, outcome in zip(texts, found, outcomes, strict=True)
    ]


def predicted(
    pipeline: Pipeline,
    texts: Sequence[str],
    budget: int = 4096,
    *,
    explain: bool = False,
    generate: bool = False,
) -> list[tuple[TokenizedDocument, list[Prediction]] | Failure]:
    """Run documents through a pipeline up to the predictions of their windows.

    Args:
        pipeline: the stages of one task.
        texts: the documents.
        budget: most padded tokens of a micro-batch.
        explain: whether documents keep what an explanation needs.
        generate: whether keywords will be made from them.

    Returns:
        The tokenized document with one prediction per window, or its failure, in their order.
    """
    prepared = [_attempt(pipeline, text, explain=explain, generate=generate) for text in texts]
    documents = [item for item in prepared if isinstance(item, TokenizedDocument)]
    windows = [window for document in documents for window in document.window_ids()]
    shown = (text for document in documents for text in document.window_texts())
    queue = iter(pipeline.pooled(_run(pipeline.predict, windows, budget), shown))
    return [
        item if isinstance(item, Failure) else (item, [next(queue) for _ in item.windows])
        for item in prepared
    ]


def _run(
    run: Callable[[Sequence[IntArray]], list[Prediction]],
    windows: Sequence[IntArray],
    budget: int,
) -> list[Prediction]:
    """Run windows in micro-batches; the predictions come in their order."""
    predictions: list[Prediction | None] = [None] * len(windows)
    for rows in micro_batches([len(window) for window in windows], budget):
        for row, prediction in zip(rows, run([windows[row] for row in rows]), strict=True):
            predictions[row] = prediction
    return cast("list[Prediction]", predictions)


def _attempt(
    pipeline: Pipeline, text: str, *, explain: bool, generate: bool
) -> TokenizedDocument | Failure:
    try:
        return pipeline.prepare(text, explain=explain, generate=generate)
    except DocumentError as error:
        return failure_of(error)


def _finish(
    pipeline: Pipeline,
    text: str,
    document: TokenizedDocument,
    predictions: Sequence[Prediction],
    budget: int,
    explain: bool,  # noqa: FBT001
) -> AnyResult | Failure:
    try:
        result = pipeline.finish(text, document, predictions)
        asked = pipeline.question(document, predictions) if explain else None
        if asked is None:
            return result
        answers = pipeline.pooled(_run(pipeline.predict, asked.windows, budget), asked.texts)
        return pipeline.explained(result, document, asked, answers)
    except DocumentError as error:
        return failure_of(error)


def _complete(
    pipeline: Pipeline,
    text: str,
    document: TokenizedDocument,
    outcome: AnyResult | Failure,
    made: Prediction,
) -> AnyResult | Failure:
    if isinstance(outcome, Failure):
        return outcome
    try:
        return pipeline.completed(outcome, text, document, made)
    except DocumentError as error:
        return failure_of(error)
