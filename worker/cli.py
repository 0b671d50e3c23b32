"""`textmill-worker`: train, measure, promote and run the models."""

import signal
import sys
from importlib import import_module

import click

from schema.errors import EXIT_INTERRUPTED, TextmillError, exit_code
from schema.settings import check

COMMANDS = (
    "evaluate",
    "extend",
    "models",
    "predict",
    "pretrain",
    "retrain",
    "run",
    "teach",
    "train",
)
"""Modules of `worker.commands`; each defines its `command`."""


class LazyGroup(click.Group):
    """Imports a command when it is asked for, and turns expected errors into an exit code.

    Training needs torch and much else; a process that is pinned to a device must not have
    imported torch before it is.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command; None where there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"worker.commands.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a mistake of the user's is a line on stderr, without a traceback.

        SIGTERM ends it as Ctrl-C does, with what it has to put in order; `run` has its own way.
        """
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        try:
            check()
            return super().invoke(ctx)
        except TextmillError as error:
            click.echo(f"textmill-worker: {error}", err=True)
            sys.exit(exit_code(error))
        except KeyboardInterrupt:
            click.echo("textmill-worker: interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="textmill")
def main() -> None:
    """Train, measure, promote and run Textmill's models.

    \b
    Examples:
      textmill-worker run --devices cpu
      textmill-worker predict sentiment "The delivery was quick, and the tea is lovely."
      textmill-worker train keywords --data DIR --out my-keywords
    """


if __name__ == "__main__":
    main(prog_name="textmill-worker")
