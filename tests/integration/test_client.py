"""`producer.Textmill`, as an ETL program uses it."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import dict_row

import producer
from producer import (
    Document,
    JobNotFoundError,
    ServiceUnavailableError,
    SettingsError,
    Textmill,
)
from producer.local import Stack, remove
from producer.local.stack import Urls
from schema.database import closing_engine
from schema.documents import Rejected
from schema.outcomes import ErrorCode


class EndedStack(Stack):
    """A stack one of whose processes has ended."""

    def check(self) -> None:
        """Say so."""
        msg = "dispatch ended with code 0"
        raise ServiceUnavailableError(msg)


def test_a_few_lines_of_python_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a newcomer's first program waits for workers that nobody started."""
    monkeypatch.setenv("TEXTMILL_DATA_DIR", str(tmp_path / "data"))

    with Textmill() as textmill:
        job = textmill.submit(
            "sentiment",
            [
                {"id": "a", "text": "Works like a charm, I love it.", "shop": "tea"},
                Document(text="太差了，非常失望。"),
                {"id": "c", "text": ""},
            ],
        )
        seen = textmill.wait(job.job_id, timeout=60)
        outcomes = list(textmill.results(job.job_id))

    remove(tmp_path / "data")
    assert (seen.succeeded, seen.failed) == (2, 1)
    assert [row["external_id"] for row in outcomes] == ["a", "2", "c"]
    assert outcomes[0]["metadata"] == {"shop": "tea"}
    assert outcomes[2]["error"] is not None
    assert outcomes[2]["error"]["code"] == "empty_text"


def test_what_is_no_document_is_refused_at_once(database_url: str) -> None:
    """Without it, a list of strings becomes a job of single characters, or fails late."""
    with Textmill(database_url) as textmill, pytest.raises(TypeError, match="mapping"):
        textmill.submit("sentiment", ["a text"])  # type: ignore[list-item]


@pytest.mark.parametrize("single", ["a text", {"text": "a text"}, Document(text="a text")])
def test_a_single_document_is_not_taken_for_many(database_url: str, single: object) -> None:
    """Without it, the error names a field or a character of the document instead of the mistake."""
    with Textmill(database_url) as textmill, pytest.raises(TypeError, match="in a list"):
        textmill.submit("sentiment", single)  # type: ignore[arg-type]


def test_options_that_are_none_are_refused_at_once(database_url: str) -> None:
    """Without it, a dict of options fails deep inside, with an error about an unfamiliar name."""
    with Textmill(database_url) as textmill, pytest.raises(TypeError, match="JobOptions"):
        textmill.submit("sentiment", [], {"name": "x"})  # type: ignore[arg-type]


def test_task_that_is_none_is_refused_with_the_names_of_all(database_url: str) -> None:
    """Without it, anyone who mistypes a task has to look up the list."""
    tasks = "'sentimnt'; it is one of: sentiment, keywords, moderation"

    with Textmill(database_url) as textmill, pytest.raises(ValueError, match=tasks):
        textmill.submit("sentimnt", [])


def test_url_that_a_program_gives_is_not_taken_for_a_variable() -> None:
    """Without it, the error names a variable that nobody set."""
    with (
        pytest.raises(SettingsError, match=r"^the URL of the database: it must begin with"),
        Textmill("mysql://db/texts"),
    ):
        pass


def test_second_block_watches_nothing_of_the_first(database_url: str) -> None:
    """Without it, a program that opens the same object again cannot wait for a job."""
    textmill = Textmill(database_url)

    with textmill:
        textmill.watch(EndedStack(Urls(*[""] * 6), ()))
        with pytest.raises(ServiceUnavailableError):
            textmill.check()
    with textmill:
        textmill.check()


def test_latest_jobs_come_newest_first(database_url: str) -> None:
    """Without it, a program that lost an id needs SQL to find the job."""
    with Textmill(database_url) as textmill:
        ids = [textmill.submit("sentiment", [{"text": "good"}]).job_id for _ in range(3)]

        assert [job.job_id for job in textmill.jobs(limit=2)] == [ids[2], ids[1]]


def test_jobs_can_be_listed_by_task_and_state(database_url: str) -> None:
    """Without it, the job that runs is lost among those that every sweep adds."""
    with Textmill(database_url) as textmill:
        paused, _, other = (
            textmill.submit(task, [{"text": "good"}]).job_id
            for task in ("sentiment", "sentiment", "moderation")
        )
        for job_id in (paused, other):
            textmill.pause(job_id)

        found = textmill.jobs(task="sentiment", state="paused")

        assert [job.job_id for job in found] == [paused]


def test_errors_that_methods_raise_can_be_imported_beside_them() -> None:
    """Without it, anyone who handles such an error imports it from a module that may change."""
    methods = [vars(Textmill)[name].__doc__ or "" for name in vars(Textmill) if name[0] != "_"]
    raised = re.findall(r"^ +(\w+Error): ", "\n".join(methods), re.MULTILINE)

    assert {*raised} - {"TimeoutError", "TypeError", "ValueError"} <= {*producer.__all__}


def test_jobs_are_named_by_their_id_or_its_text(database_url: str) -> None:
    """Without it, an id that was kept as text ends in an error of the database driver."""
    with Textmill(database_url) as textmill:
        job = textmill.submit("sentiment", [{"text": "good"}])
        text = str(job.job_id)

        assert textmill.status(text).job_id == job.job_id
        assert [row["status"] for row in textmill.results(text)] == ["pending"]
        assert textmill.cancel(text) == "cancelled"
        assert textmill.wait(text).finished
        wrong: Any
        for wrong in ("x", "", 7, None):
            for ask in (textmill.status, textmill.wait, textmill.results, textmill.cancel):
                with pytest.raises(JobNotFoundError, match=re.escape(f"no job {wrong!r}")):
                    ask(wrong)


def test_results_that_nobody_reads_on_end_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a program that reads only the first row ends with a traceback."""
    monkeypatch.setenv("TEXTMILL_DATA_DIR", str(tmp_path / "data"))

    with Textmill() as textmill:
        job = textmill.submit("sentiment", [{"text": "good"}] * 2)
        rows = textmill.results(job.job_id)
        next(rows)
    rows.close()

    remove(tmp_path / "data")


def test_record_that_a_program_rejects_is_stored_as_far_as_postgres_can(database_url: str) -> None:
    """Without it, one odd id that a program rejected makes its whole submit fail."""
    rejected = [
        Rejected(external_id="a\x00b", code=ErrorCode.INVALID_ID, message="half \ud800, \x00"),
        Rejected(external_id="c", code=ErrorCode.MISSING_TEXT, message="there is no text"),
    ]

    with Textmill(database_url) as textmill:
        job = textmill.submit("sentiment", rejected)
        outcomes = list(textmill.results(job.job_id))

    assert [row["external_id"] for row in outcomes] == [None, "c"]
    assert [row["error"]["code"] for row in outcomes if row["error"]] == [
        "invalid_id",
        "missing_text",
    ]


def test_any_number_of_threads_submit_at_once(database_url: str) -> None:
    """Without it, the fifth source of documents that is slow ends in an error about a pool."""
    threads = 9
    all_submit = Barrier(threads)

    def documents() -> Iterator[dict[str, object]]:
        all_submit.wait(timeout=20)
        yield {"text": "good"}

    with Textmill(database_url) as textmill, ThreadPoolExecutor(threads) as pool:
        submitting = [
            pool.submit(textmill.submit, "sentiment", documents()) for _ in range(threads)
        ]

        assert [job.result().accepted for job in submitting] == [1] * threads


def test_threads_that_wait_start_the_workers_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, each of them starts workers, which share the cores and double the memory."""
    monkeypatch.setenv("TEXTMILL_DATA_DIR", str(tmp_path / "data"))
    started = []
    second = Barrier(2)

    @contextmanager
    def own_workers(stack: Stack, _: object) -> Iterator[Stack]:
        started.append(stack)
        with suppress(BrokenBarrierError):
            second.wait(timeout=1)  # until another one is started
        yield stack

    monkeypatch.setattr("producer.client.own_workers", own_workers)
    with Textmill() as textmill, ThreadPoolExecutor(2) as pool:
        job_id = textmill.submit("sentiment", []).job_id
        ends = [pool.submit(textmill.wait, job_id) for _ in range(2)]

        assert all(end.result().finished for end in ends)

    remove(tmp_path / "data")
    assert len(started) == 1


def test_forked_process_leaves_the_connections_of_its_parent_alone(database_url: str) -> None:
    """Without it, both write to one connection, and each may read the answer to the other."""
    forking = get_context("fork")
    told, telling = forking.Pipe(duplex=False)

    def child() -> None:
        telling.send(textmill.engine.connect().scalar(sa.text("select pg_backend_pid()")))

    with Textmill(database_url) as textmill:
        with textmill.engine.connect() as connection:
            served_by = connection.scalar(sa.text("select pg_backend_pid()"))
        process = forking.Process(target=child)
        process.start()
        process.join()

        assert process.exitcode == 0
        assert told.recv() != served_by
        with textmill.engine.connect() as connection:
            assert connection.scalar(sa.text("select pg_backend_pid()")) == served_by


def _from_the_driver(url: str) -> Iterator[dict[str, object]]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        yield from connection.execute("select 'good' as text from no_such_table")


def _through_sqlalchemy(url: str) -> Iterator[dict[str, object]]:
    with closing_engine(url, application="tests") as source, source.connect() as connection:
        yield from map(dict, connection.execute(sa.text("select from no_such_table")).mappings())


def _of_a_server_that_is_away(_: str) -> Iterator[dict[str, object]]:
    msg = "connection refused"
    raise psycopg.OperationalError(msg)


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        (_from_the_driver, psycopg.errors.UndefinedTable),
        (_through_sqlalchemy, sa.exc.ProgrammingError),
        (_of_a_server_that_is_away, psycopg.OperationalError),
    ],
)
def test_error_of_the_database_that_documents_come_from_is_not_taken_for_ours(
    database_url: str, rows: Callable[[str], Iterator[dict[str, object]]], error: type[Exception]
) -> None:
    """Without it, whoever mistypes a table of their own is told to migrate Textmill's database."""

    def documents() -> Iterator[dict[str, object]]:
        yield {"text": "good"}
        yield from rows(database_url)

    with Textmill(database_url) as textmill:
        with pytest.raises(error) as raised:
            textmill.submit("sentiment", documents())

        assert not isinstance(raised.value.__cause__, error)
        assert textmill.jobs() == []
