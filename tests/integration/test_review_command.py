"""`textmill review` as a program."""

import json
import signal
import socket
import subprocess
import sys
from html import escape
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fixtures.commands import invoke
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.processes import environment
from tests.fixtures.review import Visitor
from tests.fixtures.waiting import PATIENCE

REVIEW = ["review", "--json", "--annotator", "kim", "--task", "sentiment"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_page_is_served_until_a_signal(database: DatabaseUrls, number: signal.Signals) -> None:
    """Without it, a service manager has to kill it, and a script does not learn its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "producer.cli", *REVIEW],
        env=environment(database.annotator, "redis://127.0.0.1:1/0", "unused"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    printed = json.loads(process.stdout.readline())
    kim = Visitor(printed["url"]).enter()
    page = kim.get("/review/sentiment")
    start = kim.get(kim.start)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)

    assert list(printed) == ["url", "port", "annotator"]
    assert printed["url"].startswith(f"http://127.0.0.1:{printed['port']}/start?token=")
    assert 'url=/review/sentiment"' in start.text
    assert "Nothing left here" in page.text
    assert (process.returncode, out) == (0, "")
    assert err == "kim reviews; end it with Ctrl-C\n"


BROWSER = """#!/bin/sh
echo "$@" > arguments
stat -c %a "${1#file://}" > mode || stat -f %Lp "${1#file://}" > mode
cat "${1#file://}" > page
kill -TERM $PPID
"""
"""A browser that keeps what it was told, and then ends the review."""


def test_browser_gets_the_address_where_no_other_account_sees_it(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    """Without it, the list of processes lets every account of the machine judge."""
    browser = tmp_path / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o700)
    variables = environment(database.annotator, "redis://127.0.0.1:1/0", "unused")

    ended = subprocess.run(
        [sys.executable, "-m", "producer.cli", *REVIEW, "--open"],
        env=variables | {"BROWSER": str(browser)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        check=True,
        timeout=PATIENCE,
    )

    told = {name: (tmp_path / name).read_text().strip() for name in ("arguments", "mode", "page")}
    url = json.loads(ended.stdout)["url"]
    assert "token" not in told["arguments"]
    assert told["mode"] == "600"
    assert f"url={escape(url)}" in told["page"]
    assert not Path(urlsplit(told["arguments"]).path).exists()


def test_request_that_cannot_be_carried_out_says_what_to_do(database: DatabaseUrls) -> None:
    """Without it, people stare at a page that can never save anything."""
    absent = "postgresql://kim:secret@127.0.0.1:1/textmill"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        in_use = invoke(
            database, "review", "--port", port, TEXTMILL_DATABASE_URL=database.annotator
        )
    reader = invoke(database, "review", TEXTMILL_DATABASE_URL=database.reader)
    nobody = invoke(database, "review", TEXTMILL_DATABASE_URL=absent)

    assert in_use.exit_code == reader.exit_code == 2
    assert f"cannot listen on 127.0.0.1:{port}" in in_use.stderr
    assert "grant textmill_annotator to reader_login" in reader.stderr
    assert nobody.exit_code == 3
    assert "does not answer" in nobody.stderr
    assert "secret" not in nobody.stderr
    assert in_use.stdout == reader.stdout == nobody.stdout == ""


def test_missing_extra_is_named(database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, anyone who installed the light package gets a traceback."""
    command = import_module("producer.cli.review")  # the package exports a command of that name
    monkeypatch.setattr(command, "find_spec", lambda _: None)

    ended = invoke(database, "review")

    assert ended.exit_code == 2
    assert "its extra `review`" in ended.stderr
