"""Documents on their way through a pipeline, from their texts to their outcomes.

The caller decides how the windows are run: `analyse` runs them in its own thread, for commands,
training and tests; workers let chunks share micro-batches, in `worker/engine.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice, repeat
from typing import NamedTuple, Protocol, cast

from schema.errors import DocumentError
from schema.outcomes import Failure, Result
from worker.pipeline import Pipeline
from worker.pipeline.batch import BUDGET, micro_batches
from worker.pipeline.generator import MOST_AT_ONCE
from worker.pipeline.records import Answer, IntArray, Prediction, TokenizedDocument


class RunWindows(Protocol):
    """Runs windows on a device."""

    def __call__(self, windows: Sequence[IntArray], *, generates: bool = False) -> Sequence[Answer]:
        """Answer each window, in order.

        Args:
            windows: token ids, of any documents.
            generates: whether keywords are to be generated from the windows, not found in them.
        """


class Predicted(NamedTuple):
    """A document whose windows were run.

    Attributes:
        text: the original text.
        document: what `Pipeline.prepare` made of it.
        answers: one per window, in order, after `Pipeline.pooled`.
    """

    text: str
    document: TokenizedDocument
    answers: Sequence[Answer]


def analyse(
    pipeline: Pipeline,
    texts: Iterable[str],
    budget: int = BUDGET,
    *,
    explain: bool = False,
    generate: bool = False,
) -> list[Result | Failure]:
    """`outcomes_of` in this thread, in micro-batches of at most `budget` padded tokens."""
    run = in_this_thread(pipeline, budget)
    return outcomes_of(pipeline, texts, run, explain=explain, generate=generate)


def analyse_stream(
    pipeline: Pipeline,
    texts: Iterable[str],
    block: int = 1024,
    *,
    explain: bool = False,
    generate: bool = False,
) -> Iterator[Result | Failure]:
    """`analyse` for any number of documents, with at most `block` of them in memory at a time."""
    rest = iter(texts)
    while some := list(islice(rest, block)):
        yield from analyse(pipeline, some, explain=explain, generate=generate)


def in_this_thread(pipeline: Pipeline, budget: int = BUDGET) -> RunWindows:
    """Runs windows in micro-batches of at most `budget` padded tokens."""

    def run(windows: Sequence[IntArray], *, generates: bool = False) -> Sequence[Answer]:
        if generates:
            return _run(pipeline.generate, windows, min(budget, MOST_AT_ONCE))
        return _run(pipeline.predict, windows, budget)

    return run


def outcomes_of(
    pipeline: Pipeline,
    texts: Iterable[str],
    run: RunWindows,
    *,
    explain: bool = False,
    generate: bool = False,
) -> list[Result | Failure]:
    """Run documents through a pipeline; an error with one of them becomes its failure.

    Args:
        pipeline: the stages of one task.
        texts: the documents.
        run: runs the windows.
        explain: whether results say what moved their scores.
        generate: whether results give keywords that do not occur in the text.

    Returns:
        One result or failure per document, in their order.
    """
    items = predicted(pipeline, texts, run, explain=explain, generate=generate)
    generated: Iterator[Answer | None] = repeat(None)
    if generate:
        windows = [item.document.first_window() for item in items if isinstance(item, Predicted)]
        generated = iter(run(windows, generates=True))
    finish = partial(_outcome, pipeline, run=run, explain=explain)
    return [item if isinstance(item, Failure) else finish(item, next(generated)) for item in items]


def predicted(
    pipeline: Pipeline,
    texts: Iterable[str],
    run: RunWindows,
    *,
    explain: bool = False,
    generate: bool = False,
) -> list[Predicted | Failure]:
    """Run documents through a pipeline up to the answers for their windows.

    Args:
        pipeline: the stages of one task.
        texts: the documents.
        run: runs the windows of all documents at once.
        explain: see `Pipeline.prepare`.
        generate: see `Pipeline.prepare`.

    Returns:
        One document or failure per text, in their order.
    """
    prepared = [
        (text, _prepared(pipeline, text, explain=explain, generate=generate)) for text in texts
    ]
    documents = [item for _, item in prepared if isinstance(item, TokenizedDocument)]
    windows = [ids for document in documents for ids in document.window_ids()]
    window_texts = (text for document in documents for text in document.window_texts())
    answers = iter(_pooled(pipeline, run(windows), window_texts))
    return [
        item
        if isinstance(item, Failure)
        else Predicted(text, item, [next(answers) for _ in item.windows])
        for text, item in prepared
    ]


def values(answers: Iterable[Answer]) -> list[Prediction]:
    """The predictions, if no window failed.

    Raises:
        DocumentError: the first window that failed.
    """
    predictions: list[Prediction] = []
    for answer in answers:
        if isinstance(answer, DocumentError):
            raise answer
        predictions.append(answer)
    return predictions


def _prepared(
    pipeline: Pipeline, text: str, *, explain: bool, generate: bool
) -> TokenizedDocument | Failure:
    try:
        return pipeline.prepare(text, explain=explain, generate=generate)
    except DocumentError as error:
        return _failed(error)


def _outcome(
    pipeline: Pipeline,
    item: Predicted,
    generated: Answer | None,
    *,
    run: RunWindows,
    explain: bool,
) -> Result | Failure:
    """The outcome of one document.

    Each document is explained on its own: its windows fill micro-batches, and memory stays bounded.
    """
    text, document, answers = item
    try:
        predictions = values(answers)
        result = pipeline.finish(text, document, predictions)
        occlusion = pipeline.occlude(result, document, predictions) if explain else None
        if occlusion is not None:
            occluded = pipeline.pooled(values(run(occlusion.windows)), occlusion.texts)
            result = pipeline.with_explanation(result, document, occlusion, occluded)
        if generated is not None:
            result = pipeline.with_generated(result, text, document, values([generated])[0])
    except DocumentError as error:
        return _failed(error)
    return result


def _failed(error: DocumentError) -> Failure:
    return Failure(code=error.code, stage=error.stage, message=str(error))


def _pooled(pipeline: Pipeline, answers: Sequence[Answer], texts: Iterable[str]) -> list[Answer]:
    """Answers after `Pipeline.pooled`; errors stay where they are."""
    predictions = [answer for answer in answers if not isinstance(answer, DocumentError)]
    pooled_texts = (
        text
        for answer, text in zip(answers, texts, strict=True)
        if not isinstance(answer, DocumentError)
    )
    pooled = iter(pipeline.pooled(predictions, pooled_texts))
    return [answer if isinstance(answer, DocumentError) else next(pooled) for answer in answers]


def _run(
    run: Callable[[Sequence[IntArray]], list[Prediction]],
    windows: Sequence[IntArray],
    budget: int,
) -> list[Prediction]:
    """Run windows in micro-batches; the predictions are in the order of the windows."""
    predictions: list[Prediction | None] = [None] * len(windows)
    for rows in micro_batches([len(window) for window in windows], budget):
        for row, prediction in zip(rows, run([windows[row] for row in rows]), strict=True):
            predictions[row] = prediction
    return cast("list[Prediction]", predictions)
