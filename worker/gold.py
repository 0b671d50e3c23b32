"""Settled verdicts of people, read from Postgres."""

import sqlalchemy as sa

from schema.database import reachable
from schema.documents import Task
from schema.gold import gold_fields
from worker.training.rows import ROW_TYPES, LabelledRow


def read_gold(database: sa.Engine, task: Task) -> list[LabelledRow]:
    """The rows of the view `textmill.gold`, one for each text with a settled answer.

    Raises:
        ServiceUnavailableError: Postgres does not answer.
        SettingsError: the role may not read feedback.
    """
    query = sa.text(
        "select text, answer, annotated from textmill.gold where task = :task order by feedback_id"
    )
    with reachable(database), database.connect() as connection:
        rows = connection.execute(query, {"task": task})
        return [
            ROW_TYPES[task].model_validate(
                {"text": row.text, **gold_fields(task, row.answer, row.annotated)}
            )
            for row in rows
        ]
