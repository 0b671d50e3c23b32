"""People's verdicts, as far as they are settled, from Postgres."""

import sqlalchemy as sa

from schema.database import reachable
from schema.documents import Task
from schema.outcomes import MODERATION_LABELS
from worker.training.rows import KeywordsRow, LabelledRow, ModerationRow, SentimentRow


def read_gold(engine: sa.Engine, task: Task) -> list[LabelledRow]:
    """Documents whose right answer is settled, adjudicated or agreed; of one text the latest.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
        SettingsError: the role may not read feedback.
    """
    query = """
        select distinct on (f.text) f.text, f.answer
        from textmill.feedback f join textmill.feedback_status s using (job_id, seq)
        where f.task = :task and f.answer = s.gold
        order by f.text, f.feedback_id desc
    """
    with reachable(engine), engine.connect() as connection:
        rows = connection.execute(sa.text(query), {"task": task})
        return [_row(task, row.text, row.answer) for row in rows]


def _row(task: Task, text: str, answer: list[str]) -> LabelledRow:
    match task:
        case Task.SENTIMENT:
            return SentimentRow.model_validate({"text": text, "label": answer[0]})
        case Task.MODERATION:
            return ModerationRow.model_validate(
                {"text": text, "labels": answer, "annotated": MODERATION_LABELS}
            )
        case Task.KEYWORDS:
            return KeywordsRow(text=text, keywords=tuple(answer))
