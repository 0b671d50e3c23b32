"""People's verdicts, as far as they are settled, from Postgres."""

import sqlalchemy as sa

from schema.database import reachable
from schema.documents import Task
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow


def read_gold(engine: sa.Engine, task: Task) -> list[LabelledRow]:
    """The rows of the view `textmill.gold`, one for each text whose answer is settled.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
        SettingsError: the role may not read feedback.
    """
    query = sa.text(
        "select text, answer, annotated from textmill.gold where task = :task order by feedback_id"
    )
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(query, {"task": task})
        return [_row(task, row.text, row.answer, row.annotated) for row in rows]


def _row(task: Task, text: str, answer: list[str], annotated: list[str] | None) -> LabelledRow:
    match task:
        case Task.SENTIMENT:
            return SentimentRow.model_validate({"text": text, "label": answer[0]})
        case Task.MODERATION:
            return ModerationRow.model_validate(
                {"text": text, "labels": answer, "annotated": annotated}
            )
        case Task.KEYWORDS:
            return KeywordsRow(text=text, keywords=tuple(answer))
