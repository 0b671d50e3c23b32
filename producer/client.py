"""The Python interface that an ETL job imports."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

import psycopg
import sqlalchemy as sa

from producer import control, feedback, jobs
from producer.feedback import Verdict
from producer.intake import examine, examine_rejected, from_mapping
from producer.jobs import JobStatus
from producer.local import Stack, joined, own_workers, servers
from producer.outcomes import OutcomeRow, outcomes
from producer.submit import Submission, submit
from schema.database import create_engine
from schema.documents import Document, JobId, JobOptions, Record, Rejected, Task
from schema.errors import JobNotFoundError
from schema.settings import IntakeSettings, ServiceSettings, read
from schema.states import DocumentStatus, JobState

_Kind = TypeVar("_Kind", bound=StrEnum)


class Textmill:
    """Submits documents, follows jobs and reads outcomes.

    ::

        with Textmill() as textmill:
            job = textmill.submit("sentiment", [{"id": "1", "text": "Works like a charm."}])
            textmill.wait(job.job_id)
            for outcome in textmill.results(job.job_id):
                print(outcome["external_id"], outcome["result"])

    If no URL is set, here or in `TEXTMILL_DATABASE_URL`, it uses the embedded stack. If none is
    running (`textmill up`), it starts servers, which stop at the end of the `with` block, or later,
    when no other process that joined them is left. Workers start with the first wait for a job.

    Any number of threads may share it; each call that is under way holds a connection. Processes
    that are forked in the `with` block may use it, too.

    Jobs are named by their id, a UUID or its text; anything else raises `JobNotFoundError` too.
    The errors that methods raise can be imported from `producer`. Each method that queries the
    database may also raise `SettingsError`, if the login is refused or lacks a right, and
    `SchemaVersionError`, if the database is at another migration. `Document`, `JobOptions` and
    `Verdict` check their values: `JobOptions(lane="fast")`, for example, raises
    `pydantic.ValidationError`, a ValueError.
    """

    def __init__(self, database_url: str | None = None) -> None:
        """Remember where the database is; nothing connects before the `with` block.

        Raises:
            SettingsError: an intake setting is malformed.
        """
        self._database_url = database_url
        self._intake = read(IntakeSettings)
        self._exits = ExitStack()
        self._engine: sa.Engine | None = None
        self._bare: Stack | None = None
        self._starts = Lock()
        self._watched: list[Stack] = []

    def __enter__(self) -> Self:
        """Find the embedded stack or start its servers, unless a URL says where the database is.

        With a URL, nothing connects before the first call.

        Raises:
            SettingsError: the URL or another setting is malformed.
            TextmillError: the embedded servers cannot be started.
        """
        url = self._database_url or self._default_url()
        # A submit holds its connection for as long as the documents take to come.
        self._engine = create_engine(url, application="textmill", connections=None)
        self._exits.callback(self._engine.dispose)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.__exit__(kind, error, trace)

    @property
    def engine(self) -> sa.Engine:
        """The database engine, available inside the `with` block."""
        if self._engine is None:
            msg = "use Textmill as a context manager: with Textmill() as textmill: …"
            raise RuntimeError(msg)
        return self._engine

    def submit(
        self,
        task: Task | str,
        documents: Iterable[Record | Mapping[str, object]],
        options: JobOptions | None = None,
    ) -> Submission:
        """Submit documents for `task`; broken ones become failures of the job.

        Args:
            task: sentiment, keywords or moderation.
            documents: `Document`s, or mappings with `text`, `id` and any other fields, which are
                kept as metadata; read once, so a generator over millions is fine. An error that it
                raises comes as it is, and nothing is submitted. Rows of a database cursor can be
                passed as they are if they are mappings, as psycopg's `dict_row` and SQLAlchemy's
                `mappings()` make them. Ids may be strings, integers or UUIDs.
                Besides JSON values, metadata may hold dates and times (written in ISO 8601),
                decimals, durations and UUIDs (as strings), bytes (as UTF-8), tuples (as lists)
                and numpy scalars. NaN, NaT and pandas' NA become None.
            options: how to run the job; `JobOptions(…)` itself raises `pydantic.ValidationError`
                for wrong values.

        Raises:
            IdempotencyConflictError: the key was used for another task or other documents.
            InputError: the options name a model that does not exist, or do not fit the task.
            PendingLimitError: too many documents are already pending; nothing was submitted.
            SchemaVersionError: the database is at another migration; nothing was submitted.
            ServiceUnavailableError: Postgres does not answer. Nothing was submitted, unless the
                answer to the commit was lost; with an idempotency key, submit again to be sure.
            TypeError: `documents` is a single document, something in it is neither a Document nor a
                mapping, or `options` is not a JobOptions.
            ValueError: there is no such task.
        """
        if not isinstance(options, JobOptions | None):
            msg = f"options are JobOptions(name=…, lane=…), not {type(options).__name__}"
            raise TypeError(msg)
        if isinstance(documents, Mapping | Document | Rejected | str | bytes):
            msg = (
                "documents are a list or another iterable of documents; put a single one in a list"
            )
            raise TypeError(msg)
        with _errors_of_documents():
            return submit(
                self.engine,
                _member(Task, "task", task),
                self._records(iter(documents)),
                options or JobOptions(),
                submitter=self._intake.submitter,
                limits=self._intake,
            )

    def status(self, job_id: UUID | str) -> JobStatus:
        """The status of a job.

        Raises:
            JobNotFoundError: there is no such job.
            ServiceUnavailableError: Postgres does not answer.
        """
        return jobs.status(self.engine, _job_id(job_id))

    def jobs(
        self,
        limit: int = 20,
        *,
        task: Task | str | None = None,
        state: JobState | str | None = None,
        name: str | None = None,
    ) -> list[JobStatus]:
        """The latest jobs, newest first: at most `limit`, and only those of a task, state or name.

        Raises:
            ServiceUnavailableError: Postgres does not answer.
            ValueError: there is no such task or state, or `limit` is below 1.
        """
        if limit < 1:
            msg = f"limit is {limit}; it must be at least 1"
            raise ValueError(msg)
        return jobs.latest(
            self.engine,
            limit,
            task=None if task is None else _member(Task, "task", task),
            state=None if state is None else _member(JobState, "state", state),
            name=name,
        )

    def wait(self, job_id: UUID | str, timeout: float | None = None) -> JobStatus:
        """Wait until a job is finished, for at most `timeout` seconds.

        On an embedded stack without dispatch, the first call starts dispatch and workers, which
        stop at the end of the `with` block.

        Raises:
            JobNotFoundError: there is no such job.
            ServiceUnavailableError: Postgres does not answer, or a process that this one started
                for the job has ended.
            SettingsError: workers would have to be started but are not installed.
            TimeoutError: the job did not finish in time; it continues.
        """
        job = _job_id(job_id)
        self._start_workers()
        for seen in jobs.statuses(self.engine, job, timeout):
            if not seen.finished:
                self.check()
        return seen

    def watch(self, stack: Stack) -> None:
        """Have `check` also watch the processes of `stack` that this process started.

        It does so until the end of the `with` block.
        """
        self._watched.append(stack)
        self._exits.callback(self._watched.remove, stack)

    def check(self) -> None:
        """Check that everything this process started for its jobs is still running.

        Raises:
            ServiceUnavailableError: a process ended; the text holds the end of its log.
        """
        for stack in self._watched:
            stack.check()

    def results(
        self,
        job_id: UUID | str,
        *,
        texts: bool = False,
        status: DocumentStatus | str | None = None,
    ) -> Generator[OutcomeRow]:
        """Stream every document with its outcome, in order; with its text if `texts` is set.

        With `status`, only documents of this status come, such as failed ones. Rows are read a
        thousand at a time, and no transaction is open in between. If the job continues meanwhile,
        the first rows may be older than the last ones.

        Raises:
            DocumentsGoneError: the job's month was pruned, perhaps while it was read.
            JobNotFoundError: there is no such job.
            ServiceUnavailableError: Postgres does not answer, here or while rows are read.
            ValueError: there is no such status.
        """
        wanted = None if status is None else _member(DocumentStatus, "status", status)
        return outcomes(self.engine, _job_id(job_id), texts=texts, status=wanted)

    def cancel(self, job_id: UUID | str) -> JobState:
        """Stop a job: existing outcomes stay, all other documents count as cancelled.

        Like `pause`, `resume` and `retry`, it may be repeated and then does nothing.

        Returns:
            The job's state: `cancelled`, or `cancelling` while a chunk is still being written. A
            job that was over before keeps its state.

        Raises:
            JobNotFoundError: there is no such job.
            ServiceUnavailableError: Postgres does not answer, or another session holds the job.
        """
        return control.cancel(self.engine, _job_id(job_id))

    def pause(self, job_id: UUID | str) -> JobState:
        """Start no further chunks of a job; running ones are finished. Returns its state.

        Raises:
            JobNotFoundError: there is no such job.
            ServiceUnavailableError: Postgres does not answer, or another session holds the job.
        """
        return control.pause(self.engine, _job_id(job_id))

    def resume(self, job_id: UUID | str) -> JobState:
        """Continue a paused job. Returns its state.

        Raises:
            JobNotFoundError: there is no such job.
            ServiceUnavailableError: Postgres does not answer, or another session holds the job.
        """
        return control.resume(self.engine, _job_id(job_id))

    def retry(self, job_id: UUID | str) -> int:
        """Run the failed documents of a job that is over again, and those that were cancelled.

        Documents that were rejected at intake, were erased, or held nothing to analyse would fail
        again, and stay failed.

        Returns:
            The number of documents; 0 if there are none, or if the job is not over.

        Raises:
            DocumentsGoneError: the job's month was pruned, or a part of it dropped.
            JobNotFoundError: there is no such job.
            ServiceUnavailableError: Postgres does not answer, or another session holds the job.
        """
        return control.retry(self.engine, _job_id(job_id))

    def add_feedback(self, verdict: Verdict) -> int:
        """Store a person's verdict on a result and return its number.

        If the verdict names no annotator, the annotator is `TEXTMILL_SUBMITTER`. `Verdict(…)`
        itself raises `pydantic.ValidationError` for wrong values.

        Raises:
            InputError: the verdict does not fit its result.
            ServiceUnavailableError: Postgres does not answer.
        """
        return feedback.add(self.engine, verdict, annotator=self._intake.submitter)

    def _start_workers(self) -> None:
        """Start dispatch and workers, once for all threads, if the embedded stack has none."""
        with self._starts:
            if self._bare is not None:
                whole = own_workers(self._bare, read(ServiceSettings))
                self.watch(self._exits.enter_context(whole))
                self._bare = None

    def _records(self, documents: Iterator[Record | Mapping[str, object]]) -> Iterator[Record]:
        try:
            for document in documents:
                yield self._record(document)
        except (sa.exc.DBAPIError, psycopg.Error) as error:
            raise _DocumentsError(error) from error

    def _record(self, document: Record | Mapping[str, object]) -> Record:
        match document:
            case Document():
                return examine(
                    external_id=document.external_id,
                    text=document.text,
                    metadata=document.metadata,
                    line=document.line,
                    limits=self._intake,
                )
            case Rejected():
                return examine_rejected(document, limits=self._intake)
            case Mapping():
                return from_mapping(document, limits=self._intake)
        msg = f"a document is a Document or a mapping with `text`, not {type(document).__name__}"
        raise TypeError(msg)

    def _default_url(self) -> str:
        services = read(ServiceSettings)
        if services.database_url is not None:
            return services.database_url.get_secret_value()
        stack = self._exits.enter_context(joined(services, servers))
        self._bare = None if stack.has_dispatch else stack
        return stack.urls.producer


class _DocumentsError(Exception):
    """Whoever makes the documents got this error of a database, perhaps of another one."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@contextmanager
def _errors_of_documents() -> Iterator[None]:
    """Raise the error of whoever makes the documents as it is, not as one of our database."""
    try:
        yield
    except _DocumentsError as failed:
        raise failed.error from failed.error.__cause__


def _member(kind: type[_Kind], what: str, given: str) -> _Kind:
    """The member of an enumeration that a program names, perhaps by its text."""
    if given not in list(kind):
        msg = f"there is no {what} {given!r}; it is one of: {', '.join(kind)}"
        raise ValueError(msg)
    return kind(given)


def _job_id(given: UUID | str) -> JobId:
    if isinstance(given, UUID):
        return JobId(given)
    try:
        return JobId(UUID(given))
    except (TypeError, ValueError, AttributeError):  # AttributeError: `given` is not a string
        msg = f"there is no job {given!r}; give the id that `submit` returns, a UUID or its text"
        raise JobNotFoundError(msg) from None
