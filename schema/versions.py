"""Which model a person means by the beginning of its version."""

import sqlalchemy as sa

from schema.documents import Task
from schema.errors import InputError

SHORTEST = 8
"""Characters of a version's beginning that may stand for it."""

# A view, since readers may not see the table below.
_listed = sa.table(
    "model_status",
    sa.column("model_version", sa.Text),
    sa.column("task", sa.Text),
    schema="textmill",
)


def whole_version(connection: sa.Connection, beginning: str, task: Task | None = None) -> str:
    """The version of the model that a person names by it, or by its first 8 characters or more.

    Args:
        connection: of a role that may see models.
        beginning: what the person typed.
        task: of which the model must be; None: of any.

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
    found = connection.scalars(query).all() if len(beginning) >= SHORTEST else []
    if not found:
        of_task = "" if task is None else f" for {task}"
        msg = f"there is no model {beginning!r}{of_task}; see: textmill-worker models list"
        raise InputError(msg)
    if len(found) > 1:
        msg = f"several models begin with {beginning}, such as {found[0]} and {found[1]}; type more"
        raise InputError(msg)
    return str(found[0])
