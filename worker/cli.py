"""`textmill-worker`: train, measure, promote and run the models."""

import signal
import sys
from importlib import import_module

import click

from schema.settings import check_all
from schema.terminal import asks_for_help, ended_well

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
