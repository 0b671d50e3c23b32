"""`textmill-worker`: train, measure, promote and run the models."""

import signal
import sys
from importlib import import_module

import click

from schema.settings import check_all
from schema.terminal import asks_for_help, ended_well

COMMANDS = {
    "evaluate": "Measure a model of TASK on labelled FILES.",
    "extend": "Add a generator to a keywords model.",
    "models": "List, add, promote and roll back models.",
    "predict": "Analyse documents in this process, without servers.",
    "pretrain": "Train a language model over the texts of all tasks.",
    "retrain": "Train a model on feedback; promote it if better.",
    "run": "Process chunks until SIGTERM.",
    "teach": "Make soft labels with a transformer.",
    "train": "Train a model for TASK and write its artifact.",
}
"""What each command does, by its module of `worker.commands`, which defines it as `command`."""


class LazyGroup(click.Group):
    """Imports a command only when it is used.

    Training needs torch and much else, but a process must not import torch before it is pinned to
    its device.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"worker.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them, which takes seconds."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run a command. SIGTERM ends it as Ctrl-C does, except `run`, which handles it itself."""
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        with ended_well("textmill-worker"):
            if not asks_for_help(ctx):
                check_all()
            return super().invoke(ctx)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="textmill")
def main() -> None:
    """Train, measure, promote and run Textmill's models.

    \b
    Examples:
      textmill-worker run --devices cpu
      textmill-worker predict sentiment "The tea is lovely, and came soon."
      textmill-worker train keywords --data DIR --out my-keywords
    """


if __name__ == "__main__":
    main(prog_name="textmill-worker")
