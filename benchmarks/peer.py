"""What every peer does with documents: the same pipeline, the same rows.

`BENCHMARK_DATABASE` in the environment is the URL of the database that they are written to.
"""

import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import psycopg

from benchmarks import TASK

if TYPE_CHECKING:
    from worker.pipeline import Pipeline


def create_table() -> None:
    """Create the table that peers write to, like `textmill.result`."""
    _connection().execute(
        "create table peer_result (job_id uuid, seq bigint, label text, score real,"
        " payload jsonb, model_version text, created_at timestamptz default now(),"
        " primary key (job_id, seq))"
    )


def rows_of(job: str) -> int:
    """How many rows of a job are committed."""
    query = "select count(*) from peer_result where job_id = %s"
    (count,) = _connection().execute(query, (job,)).fetchone() or (0,)
    return int(count)


def process(job: str, seqs: Sequence[int], texts: Sequence[str]) -> None:
    """Analyse documents and commit their rows."""
    from worker.pipeline.analysis import analyse  # noqa: PLC0415  # forked workers import torch themselves

    rows = []
    for seq, outcome in zip(seqs, analyse(_pipeline(), texts), strict=True):
        label, score = getattr(outcome, "label", None), getattr(outcome, "score", None)
        version = getattr(outcome, "model_version", None)
        rows.append((job, seq, label, score, outcome.model_dump_json(), version))
    with _connection().transaction(), _connection().cursor() as cursor:
        cursor.executemany(
            "insert into peer_result (job_id, seq, label, score, payload, model_version)"
            " values (%s, %s, %s, %s, %s, %s)",
            rows,
        )


@cache
def _pipeline() -> "Pipeline":
    import torch  # noqa: PLC0415

    from worker.pipeline import Pipeline  # noqa: PLC0415
    from worker.pipeline.artifact import SHIPPED  # noqa: PLC0415

    torch.set_num_threads(1)
    return Pipeline.load(SHIPPED / TASK, "cpu")


@cache
def _connection() -> psycopg.Connection:
    return psycopg.connect(os.environ["BENCHMARK_DATABASE"], autocommit=True)
