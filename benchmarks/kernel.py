"""The forward pass on one core, compared with torch's own modules; and the pipeline on one core.

Times are those of the measuring thread, so other processes on the machine affect them less.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import nn

from benchmarks import TASK
from benchmarks.documents import make
from benchmarks.report import Report, alternately, median_ratio
from worker.pipeline import Pipeline
from worker.pipeline.analysis import analyse
from worker.pipeline.artifact import SHIPPED, read_config
from worker.pipeline.batch import BUDGET, micro_batches, pad
from worker.pipeline.kernel import Kernel, pack
from worker.pipeline.model import Cell, Model, ModelConfig
from worker.pipeline.records import IntArray

DOCUMENTS = 3000
TOKENS = 25

Batch = list[IntArray]


def measure(documents: int | None) -> Report:
    """Encoders of the shipped sizes, as GRU and LSTM, on the same micro-batches."""
    torch.set_num_threads(1)
    pipeline = Pipeline.load(SHIPPED / TASK, "cpu")
    texts = make(documents or DOCUMENTS)
    windows = [ids for text in texts for ids in pipeline.prepare(text).window_ids()]
    batches = [
        [windows[row] for row in rows] for rows in micro_batches(list(map(len, windows)), BUDGET)
    ]
    shape = read_config(SHIPPED / TASK).model
    sides: dict[str, Callable[[], float]] = {}
    cells: tuple[Cell, Cell] = ("gru", "lstm")
    for cell in cells:
        sides |= _sides(cell, shape, batches)
    short = _documents_of(TOKENS, pipeline)
    sides["pipeline"] = lambda: len(short) / _timed(lambda: analyse(pipeline, short))
    sides["sgemm"] = _peak
    runs = alternately(sides)
    operations = 2 * 2 * shape.hidden * 3 * shape.hidden
    share = median_ratio([operations * speed / 1e9 for speed in runs["gru kernel"]], runs["sgemm"])
    return Report(
        "kernel",
        {
            f"{cell} by padded": median_ratio(runs[f"{cell} kernel"], runs[f"{cell} padded"])
            for cell in cells
        },
        {
            "gru by padded": ">= 1.5",
            "lstm by padded": ">= 1.5",
            "share of sgemm": ">= 0.6",
            "pipeline": ">= 3000",
        },
        runs,
        "tokens/s; documents/s of the pipeline; GFLOP/s of sgemm",
        figures={"share of sgemm": share, "pipeline": median(runs["pipeline"])},
        notes=[f"the pipeline's documents have {TOKENS} tokens"],
    )


def _sides(
    cell: Cell, shape: ModelConfig, batches: Sequence[Batch]
) -> dict[str, Callable[[], float]]:
    model = Model(
        ModelConfig(
            shape.task,
            shape.vocabulary,
            shape.labels,
            cell,
            embedding=shape.embedding,
            hidden=shape.hidden,
        )
    ).eval()
    kernel, embedding, both = Kernel(model), model.encoder.embedding, _bidirectional(model)
    tokens = sum(len(window) for batch in batches for window in batch)

    def padded(batch: Batch) -> None:
        ids, _ = pad(batch)
        both(embedding(ids))

    def packed(batch: Batch) -> None:
        ids, lengths = pad(batch)
        rows = nn.utils.rnn.pack_padded_sequence(
            embedding(ids), lengths, batch_first=True, enforce_sorted=False
        )
        nn.utils.rnn.pad_packed_sequence(both(rows)[0], batch_first=True)

    def ours(batch: Batch) -> None:
        kernel.states(pack(batch))

    def speed(run: Callable[[Batch], None]) -> float:
        def all_batches() -> None:
            for batch in batches:
                run(batch)

        return tokens / _timed(all_batches)

    return {
        f"{cell} padded": lambda: speed(padded),
        f"{cell} packed": lambda: speed(packed),
        f"{cell} kernel": lambda: speed(ours),
    }


def _bidirectional(model: Model) -> nn.Module:
    """The same weights in torch's own bidirectional module."""
    ahead, back = model.encoder.ahead, model.encoder.back
    both = type(ahead)(ahead.input_size, ahead.hidden_size, batch_first=True, bidirectional=True)
    weights = dict(ahead.state_dict())
    weights |= {f"{name}_reverse": value for name, value in back.state_dict().items()}
    both.load_state_dict(weights)
    return both


def _documents_of(tokens: int, pipeline: Pipeline) -> list[str]:
    """Documents of about `tokens` tokens."""
    texts = make(20_000, words=tokens, seed=1)
    near = (tokens - 1, tokens, tokens + 1)
    return [text for text in texts if len(pipeline.prepare(text).ids) in near][:2048]


def _timed(run: Callable[[], object]) -> float:
    with torch.inference_mode():
        began = time.thread_time()
        run()
        return time.thread_time() - began


def _peak() -> float:
    """GFLOP/s of a large matrix product, the best of many."""
    size = 512
    one, other = torch.rand(size, size), torch.rand(size, size)
    seconds = min(_timed(lambda: one @ other) for _ in range(100))
    return round(2 * size**3 / seconds / 1e9, 1)
