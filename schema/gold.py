"""The right answer of a judged document, as rows of its task name it."""

from collections.abc import Sequence

from schema.documents import Task


def gold_fields(
    task: Task, answer: Sequence[str], annotated: Sequence[str] | None
) -> dict[str, object]:
    """The fields that a row to train on has beside its text.

    Args:
        task: what was judged.
        answer: the right labels or keywords; of sentiment one.
        annotated: of moderation, the labels that the judged result has scores for.
    """
    match task:
        case Task.SENTIMENT:
            return {"label": answer[0]}
        case Task.MODERATION:
            return {"labels": answer, "annotated": annotated}
        case Task.KEYWORDS:
            return {"keywords": answer}
