"""The right answer for a judged document, in the fields that its task uses."""

from collections.abc import Sequence

from schema.documents import Task


def gold_fields(
    task: Task, answer: Sequence[str], annotated: Sequence[str] | None
) -> dict[str, object]:
    """The fields of a training row, except its text.

    Args:
        task: what was judged.
        answer: the right labels or keywords; for sentiment, exactly one.
        annotated: for moderation, the labels that the judged result has scores for.
    """
    match task:
        case Task.SENTIMENT:
            return {"label": answer[0]}
        case Task.MODERATION:
            return {"labels": answer, "annotated": annotated}
        case Task.KEYWORDS:
            return {"keywords": answer}
