"""Outcomes as rows: one statement a kind, whatever their number."""

from collections.abc import Sequence

import sqlalchemy as sa

from schema.documents import JobId
from schema.outcomes import Failure, ModerationResult, Result, SentimentResult


def insert_results(
    connection: sa.Connection, job_id: JobId, attempt: int, results: Sequence[tuple[int, Result]]
) -> None:
    """Insert `(seq, result)` of documents of a job."""
    if not results:
        return
    labels = [_headline(result) for _, result in results]
    connection.execute(
        sa.text("""
            insert into textmill.result
                (job_id, seq, label, score, payload, model_version, attempt)
            select :job_id, seq, label, score, payload::jsonb, model_version, :attempt
            from unnest(cast(:seqs as bigint[]), cast(:labels as text[]), cast(:scores as real[]),
                cast(:payloads as text[]), cast(:versions as text[]))
                as rows (seq, label, score, payload, model_version)
        """),
        {
            "job_id": job_id,
            "attempt": attempt,
            "seqs": [seq for seq, _ in results],
            "labels": [label for label, _ in labels],
            "scores": [score for _, score in labels],
            "payloads": [result.model_dump_json() for _, result in results],
            "versions": [result.model_version for _, result in results],
        },
    )


def insert_failures(
    connection: sa.Connection, job_id: JobId, attempt: int, failures: Sequence[tuple[int, Failure]]
) -> None:
    """Insert `(seq, failure)` of documents of a job."""
    if not failures:
        return
    connection.execute(
        sa.text("""
            insert into textmill.failure (job_id, seq, code, stage, message, attempt)
            select :job_id, seq, code, stage, message, :attempt
            from unnest(cast(:seqs as bigint[]), cast(:codes as text[]), cast(:stages as text[]),
                cast(:messages as text[])) as rows (seq, code, stage, message)
        """),
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
    """The label and score that stand in their own columns."""
    match result:
        case SentimentResult(label=label, score=score):
            return label, score
        case ModerationResult(labels=labels, scores=scores):
            first = labels[0] if labels else max(scores, key=lambda label: scores[label])
            return first, scores[first]
        case _:
            return None, None
