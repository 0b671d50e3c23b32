"""Outcomes as rows: one statement for each kind, however many there are.

Payloads are sent as one JSON array, since pydantic writes many at once in half the time. The other
columns are sent as binary arrays (`%b`): as text, psycopg searches every value for quotes, which
takes five times as long as everything else that is done for a row.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from pydantic_core import to_json

from schema.documents import JobId
from schema.outcomes import Failure, ModerationResult, Result, SentimentResult


def insert_results(
    connection: sa.Connection, job_id: JobId, attempt: int, results: Sequence[tuple[int, Result]]
) -> None:
    """Insert `(seq, result)` pairs of a job's documents, all made by one model."""
    if not results:
        return
    seqs, payloads = zip(*results, strict=True)
    labels, scores = zip(*map(_headline, payloads), strict=True)
    connection.exec_driver_sql(
        """
            insert into textmill.result
                (job_id, seq, label, score, payload, model_version, attempt)
            select %(job_id)s, seq, label, score, payload, %(version)s, %(attempt)s
            from rows from (
                unnest(%(seqs)b::bigint[], %(labels)b::text[], %(scores)b::real[]),
                jsonb_array_elements(%(payloads)s::jsonb)
            ) as rows (seq, label, score, payload)
        """,
        {
            "job_id": job_id,
            "attempt": attempt,
            "version": payloads[0].model_version,
            "seqs": list(seqs),
            "labels": list(labels),
            "scores": list(scores),
            "payloads": to_json(payloads).decode(),
        },
    )


def insert_failures(
    connection: sa.Connection, job_id: JobId, attempt: int, failures: Sequence[tuple[int, Failure]]
) -> None:
    """Insert `(seq, failure)` pairs of a job's documents."""
    if not failures:
        return
    connection.exec_driver_sql(
        """
            insert into textmill.failure (job_id, seq, code, stage, message, attempt)
            select %(job_id)s, seq, code, stage, message, %(attempt)s
            from unnest(%(seqs)b::bigint[], %(codes)b::text[], %(stages)b::text[],
                %(messages)b::text[]) as rows (seq, code, stage, message)
        """,
        {
            "job_id": job_id,
            "attempt": attempt,
            "seqs": [seq for seq, _ in failures],
            "codes": [failure.code.value for _, failure in failures],
            "stages": [failure.stage.value for _, failure in failures],
            "messages": [failure.message for _, failure in failures],
        },
    )


def _headline(result: Result) -> tuple[str | None, float | None]:
    """The label and score that have their own columns."""
    match result:
        case SentimentResult(label=label, score=score):
            return label, score
        case ModerationResult(labels=labels, scores=scores):
            first = labels[0] if labels else max(scores, key=lambda label: scores[label])
            return first, scores[first]
        case _:
            return None, None
