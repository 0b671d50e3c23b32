"""`textmill`: submit documents, follow jobs, read outcomes, run the servers."""

import click

from producer.cli.control import cancel, pause, resume, retry
from producer.cli.database import db
from producer.cli.dispatch import dispatch
from producer.cli.feedback import feedback
from producer.cli.jobs import results, status
from producer.cli.review import review
from producer.cli.submit import submit
from producer.cli.sweep import sweep
from producer.cli.up import up
from schema.settings import check_all
from schema.terminal import asks_for_help, ended_well


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        with ended_well("textmill"):
            if not asks_for_help(ctx):
                check_all()
            return super().invoke(ctx)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="textmill")
def main() -> None:
    """Text analysis in bulk: sentiment, keywords and moderation of Chinese and English text.

    \b
    Examples:
      textmill submit sentiment reviews.jsonl --wait
      textmill status --watch
      textmill results 0190f3c2-… --format csv -o results.csv

    Without TEXTMILL_DATABASE_URL and TEXTMILL_BROKER_URL, the commands use an embedded Postgres
    and Redis, kept in TEXTMILL_DATA_DIR.

    Exit codes: 0 success; 1 a document failed, was rejected or was cancelled (submit --wait, status
    JOB --watch), a file is damaged, all documents were rejected or the key is that of a cancelled
    job (submit), or a verdict was rejected (feedback import); 2 usage; 3 a service is unreachable;
    130 Ctrl-C.
    """


for command in (
    cancel,
    db,
    dispatch,
    feedback,
    pause,
    results,
    resume,
    retry,
    review,
    status,
    submit,
    sweep,
    up,
):
    main.add_command(command)
