"""Find the model that a person names by the beginning of its version."""

import sqlalchemy as sa

from schema.documents import Task
from schema.errors import InputError

SHORTEST = 8
"""Fewest characters that may abbreviate a version."""

# A view, since readers may not read the table behind it.
_listed = sa.table(
    "model_status",
    sa.column("model_version", sa.Text),
    sa.column("task", sa.Text),
    schema="textmill",
)


def whole_version(connection: sa.Connection, beginning: str, task: Task | None = None) -> str:
    """The model version that a person typed in full, or at least 8 characters of its beginning.

    Args:
        connection: its role must be allowed to see models.
        beginning: what the person typed.
        task: the task that the model must be for; None allows any.

    Raises:
        InputError: there is no such model, or there are several.
    """
    query = (
        sa.select(_listed.c.model_version)
        .where(_listed.c.model_version.startswith(beginning, autoescape=True))
        .order_by(_listed.c.model_version)
        .limit(2)
    )
    if task is not None:
        query = query.where(_listed.c.task == task)
    matches = connection.scalars(query).all() if len(beginning) >= SHORTEST else []
    if not matches:
        of_task = "" if task is None else f" for {task}"
        msg = f"there is no model {beginning!r}{of_task}; see: textmill-worker models list"
        raise InputError(msg)
    if len(matches) > 1:
        examples = f"{matches[0]} and {matches[1]}"
        msg = f"several models begin with {beginning}, such as {examples}; type more"
        raise InputError(msg)
    return str(matches[0])
