"""Options and types of arguments that several commands share."""

from typing import Final

import click

from schema.documents import Task

TASK: Final = click.Choice([*map(str, Task)])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print a JSON object instead of text."
)
json_lines_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per line instead of text."
)
annotator_option = click.option(
    "--annotator", help="Who judges; default: TEXTMILL_SUBMITTER, or else the user's name."
)
