"""`textmill review`."""

import html
import json
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from producer.cli.options import TASK, annotator_option, json_option
from producer.cli.show import console
from producer.cli.stopping import until_told_to_stop
from producer.local import find, joined, servers
from schema.database import closing_engine
from schema.errors import SettingsError
from schema.settings import IntakeSettings, ServiceSettings, read


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Default: a free port.",
)
@click.option("--task", type=TASK, help="Begin with results of this task.")
@annotator_option
@click.option("--open/--no-open", "opens", help="Open the page in the web browser.")
@json_option
def review(
    *,
    host: str,
    port: int,
    task: str | None,
    annotator: str | None,
    opens: bool,
    as_json: bool,
) -> None:
    """Judge results in the web browser, until SIGTERM or Ctrl-C.

    Prints the URL to open. Anyone who has it can give verdicts in the annotator's name.

    \b
    Examples:
      textmill review
      textmill review --task moderation --annotator kim --open
    """
    if find_spec("starlette") is None:
        msg = "this installation has no review: install Textmill with its extra `review`"
        raise SettingsError(msg)
    from producer.review.serving import serving  # noqa: PLC0415  # of the extra `review`

    stop = until_told_to_stop()
    name = annotator or read(IntakeSettings).submitter
    with (
        _database_url() as url,
        closing_engine(url, application="textmill-review", role="textmill_annotator") as engine,
        serving(engine, name, host, port) as site,
    ):
        page = f"{site.url}&task={task}" if task else site.url
        if as_json:
            click.echo(json.dumps({"url": page, "port": site.port, "annotator": name}))
        else:
            click.echo(page)
        console.print(f"{name} reviews; end it with Ctrl-C", style="dim")
        with _in_browser(page) if opens else nullcontext():
            stop.wait()


@contextmanager
def _in_browser(url: str) -> Iterator[None]:
    """Open `url` in the web browser through a private file, which is removed after the block.

    Every account of the machine sees the arguments of a browser.
    """
    with TemporaryDirectory(prefix="textmill-") as folder:
        file = Path(folder, "review.html")
        file.touch(0o600)
        file.write_text(f'<meta http-equiv="refresh" content="0; url={html.escape(url)}">', "utf-8")
        webbrowser.open(file.as_uri())
        yield


@contextmanager
def _database_url() -> Iterator[str]:
    """The database that is set, or the embedded stack's, as annotator; started if none runs."""
    services = read(ServiceSettings)
    if services.database_url is not None:
        yield services.database_url.get_secret_value()
        return
    if find(services) is None:
        console.print("starting servers …", style="dim")
    with joined(services, servers) as stack:
        yield stack.urls.annotator
