"""Put documents into a job.

A job that fits in one batch is loaded and opened in one transaction. A larger job is loaded in
state `loading`, one transaction per batch, since a long COPY would hold back vacuum; the last
transaction opens it. Until then nobody sees the job, and it is purged if its load is abandoned.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass

import sqlalchemy as sa

from producer.batches import Batch, batches
from producer.idempotency import FirstJob, Idempotency
from producer.loading import Load
from schema.database import check_version, reachable
from schema.documents import JobId, JobOptions, Record, Task, option_fault
from schema.errors import InputError
from schema.settings import IntakeSettings
from schema.versions import whole_version


@dataclass(frozen=True, slots=True)
class Submission:
    """What a submit did.

    Attributes:
        job_id: the job that holds the documents.
        accepted: documents submitted, including the rejected ones.
        rejected: documents rejected at intake; each is a failure of the job.
        repeated: whether the idempotency key named an existing job; that job keeps its options,
            even if other options were given with the same documents.
    """

    job_id: JobId
    accepted: int
    rejected: int
    repeated: bool = False


def submit(  # noqa: PLR0913  # one argument for each thing a submission is made of
    engine: sa.Engine,
    task: Task,
    records: Iterable[Record],
    options: JobOptions,
    *,
    submitter: str,
    limits: IntakeSettings,
    reads_ahead: bool = False,
    progress: Callable[[int], None] = lambda _: None,
    on_open: Callable[[sa.Connection, JobId], None] = lambda _connection, _job_id: None,
) -> Submission:
    """Load `records` into a job of `task` and open it.

    Args:
        engine: database of a migrated Textmill.
        task: what to do with the documents.
        records: documents and rejected records, in order; read once, never held all at once.
        options: how to run the job.
        submitter: in whose name it is submitted; idempotency keys are unique per submitter.
        limits: how the job is cut into batches and chunks.
        reads_ahead: read `records` in another thread, one batch ahead of Postgres. Only for records
            that never block: a submit that fails waits until the read in progress returns.
        progress: called with the number of records of each batch.
        on_open: called in the transaction that makes the job visible; an error in it undoes the
            submit.

    Raises:
        InputError: there are more documents than a job may have, the options do not fit the
            task, the deadline has passed, or there is no such model.
        IdempotencyConflictError: the key was used for other content.
        PendingLimitError: too many documents are already pending.
        SchemaVersionError: the database is at another migration.
        ServiceUnavailableError: Postgres does not answer; a job that was not opened is purged.
    """
    _check_options(task, options)
    idempotency = Idempotency(submitter, options.idempotency_key, task)
    records = idempotency.hashing(records)
    with reachable(engine), engine.connect() as connection:
        check_version(connection)
        options = _with_whole_version(connection, task, options)
        first = idempotency.first_job(connection)
        if first is None:
            _check_deadline(connection, options)
        connection.rollback()
        if first is not None:
            for _ in records:
                pass  # only their hash is needed
            return _repeated(idempotency.check(first))
        load = Load(connection, task, options, submitter=submitter, limits=limits)
        try:
            ready = batches(records, limits)
            with closing(_ahead(ready)) if reads_ahead else nullcontext(ready) as ready:
                _fill(load, ready, limits, progress)
            opened = load.open(idempotency.content_hash)
            if opened:
                on_open(connection, load.job_id)
                load.commit()
        except BaseException:
            load.discard()
            raise
        if opened:
            return Submission(load.job_id, load.accepted, load.rejected)
        load.discard()
        return _repeated(idempotency.check(idempotency.first_job(connection)))


def _repeated(first: FirstJob) -> Submission:
    return Submission(first.job_id, first.accepted, first.rejected, repeated=True)


def _fill(
    load: Load, ready: Iterable[Batch], limits: IntakeSettings, progress: Callable[[int], None]
) -> None:
    """Add all batches; the last one is committed only when the job is opened."""
    for batch in ready:
        _check_size(load.accepted + len(batch.documents), limits)
        load.add(batch)
        if not batch.is_last:
            load.commit()  # no transaction stays open during the next read, which may never end
        progress(len(batch.documents))


def _ahead(ready: Iterator[Batch]) -> Generator[Batch]:
    """The same batches; a thread makes each while the previous one is loaded."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        following = thread.submit(next, ready, None)
        while batch := following.result():
            following = thread.submit(next, ready, None)
            yield batch


def _check_size(documents: int, limits: IntakeSettings) -> None:
    if documents > limits.max_job_documents:
        msg = (
            f"the job has more than {limits.max_job_documents} documents;"
            " split it, or raise TEXTMILL_MAX_JOB_DOCUMENTS"
        )
        raise InputError(msg)


def _check_options(task: Task, options: JobOptions) -> None:
    fault = option_fault(task, explain=options.explain, generate=options.generate)
    if fault:
        option, why = fault
        msg = f"{why}; leave `{option}` out"
        raise InputError(msg)


def _with_whole_version(connection: sa.Connection, task: Task, options: JobOptions) -> JobOptions:
    """The same options, with the whole version if they abbreviate that of a model."""
    if options.model_version is None:
        return options
    version = whole_version(connection, options.model_version, task)
    return options.model_copy(update={"model_version": version})


def _check_deadline(connection: sa.Connection, options: JobOptions) -> None:
    """Refuse a deadline that has passed; only for new jobs, since a repeat may come after it."""
    deadline = options.deadline_at
    if (
        deadline is not None
        and connection.execute(sa.select(sa.func.now())).scalar_one() > deadline
    ):
        msg = f"the deadline {deadline.isoformat()} has passed; name a later one, or none"
        raise InputError(msg)
