"""Results are read page by page: readers block nobody, and each page is current when read."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from producer.control import close_chunks, retry
from producer.outcomes import OutcomeRow, outcomes
from schema.documents import JobId
from schema.errors import DocumentsGoneError
from schema.outcomes import ErrorCode, Failure, Result, Stage
from tests.fixtures.chunks import add_job
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.plans import nodes_of
from tests.fixtures.submits import REJECTED, documents, hand_over
from worker.chunks import LoadedDocument

FAILED = Failure(code=ErrorCode.STAGE_ERROR, stage=Stage.PREDICT, message="it failed")
PAGE = 10


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.outcomes.ROWS_AT_ONCE", PAGE)


def odd_ones_fail(document: LoadedDocument) -> Result | Failure:
    return FAILED if document.seq % 2 else POSITIVE


def test_half_read_results_hold_neither_vacuum_nor_a_drop_up(
    engine: sa.Engine, producer_engine: sa.Engine
) -> None:
    """Without it, `textmill results JOB | less` left open blocks vacuum and the drop of months."""
    rows = outcomes(producer_engine, add_job(producer_engine, 3 * PAGE))
    next(rows)

    with engine.begin() as connection:
        open_transactions = connection.scalar(
            sa.text(
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and backend_type = 'client backend' and pid <> pg_backend_pid()"
                " and (xact_start is not null or backend_xmin is not null)"
            )
        )
        connection.exec_driver_sql("set local lock_timeout = '1s'")
        try:
            connection.exec_driver_sql(f"drop table textmill.document_{datetime.now(UTC):%Y%m}")
        finally:
            rows.close()

    assert open_transactions == 0


@pytest.mark.parametrize("dropped", ["document", "result", "failure"])
def test_month_that_is_dropped_between_two_pages_ends_the_reading(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine, dropped: str
) -> None:
    """Without it, documents that have a result are reported as pending, or left out."""
    job_id = add_job(producer_engine, 3 * PAGE)
    work_off(producer_engine, worker_engine, job_id, odd_ones_fail)
    rows = outcomes(producer_engine, job_id)
    came = [next(rows)]
    with engine.begin() as connection:
        connection.exec_driver_sql(f"drop table textmill.{dropped}_{datetime.now(UTC):%Y%m}")

    with pytest.raises(DocumentsGoneError, match=f"job {job_id} are gone"):
        came.extend(rows)

    assert [row["status"] for row in came] == ["failed", "succeeded"] * (PAGE // 2)


def test_every_document_comes_once_whatever_happens_between_two_pages(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, reading a running job returns documents twice, or not at all."""
    job_id = add_job(producer_engine, 4 * PAGE, chunk=PAGE)
    rows = outcomes(producer_engine, job_id, texts=True)

    pages = [page(rows)]
    work_off(producer_engine, worker_engine, job_id, odd_ones_fail)
    pages.append(page(rows))
    retry(producer_engine, job_id)
    pages.append(page(rows))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"select textmill.erase_document('{job_id}', '32')")
        connection.exec_driver_sql(f"select textmill.cancel('{job_id}')")
    close_chunks(producer_engine, job_id)
    pages.append(page(rows))

    assert next(rows, None) is None
    assert [row["external_id"] for page in pages for row in page] == [
        str(seq) for seq in range(1, 4 * PAGE + 1)
    ]
    assert [[row["status"] for row in page[:2]] for page in pages] == [
        ["pending", "pending"],
        ["failed", "succeeded"],
        ["pending", "succeeded"],
        ["cancelled", "succeeded"],
    ]
    assert [row["text"] for row in pages[3][:2]] == ["text 31", None]
    for row in (row for page in pages for row in page):
        assert (row["result"] is not None) == (row["status"] == "succeeded")
        assert (row["error"] is not None) == (row["status"] == "failed")


def page(rows: Iterator[OutcomeRow]) -> list[OutcomeRow]:
    return [next(rows) for _ in range(PAGE)]


def test_status_is_that_of_the_view(
    engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a file of results contradicts what people see with SQL."""
    job_id = hand_over(producer_engine, [*documents(11), REJECTED]).job_id
    seen = [statuses(engine, producer_engine, job_id)]
    work_off(producer_engine, worker_engine, job_id, odd_ones_fail, chunks=1)
    seen.append(statuses(engine, producer_engine, job_id))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"select textmill.cancel('{job_id}')")
    close_chunks(producer_engine, job_id)
    seen.append(statuses(engine, producer_engine, job_id))

    assert {*seen[-1]} == {"succeeded", "failed", "cancelled"}
    assert {*seen[0]} == {"pending", "failed"}


def statuses(engine: sa.Engine, producer_engine: sa.Engine, job_id: JobId) -> list[str]:
    """The status of each document in a job's results, which must be the same in the view."""
    with engine.connect() as connection:
        shown = connection.scalars(
            sa.text(
                "select status from textmill.document_status where job_id = :job_id order by seq"
            ),
            {"job_id": job_id},
        ).all()
    read = [row["status"] for row in outcomes(producer_engine, job_id)]
    assert read == shown
    return read


def test_page_with_texts_ends_when_they_are_long(
    producer_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without it, a page of long texts fills the memory, or documents after it are left out."""
    monkeypatch.setattr("producer.outcomes.BYTES_AT_ONCE", 15)
    records = [*documents(5), REJECTED, REJECTED, *documents(24)[5:]]
    job_id = hand_over(producer_engine, records).job_id
    pages = 0

    @sa.event.listens_for(producer_engine, "before_cursor_execute")
    def _count(_c: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal pages
        pages += "octet_length" in statement

    read = list(outcomes(producer_engine, job_id, texts=True))

    assert [row["text"] for row in read] == [
        *(f"text {n}" for n in range(5)),
        None,
        None,
        *(f"text {n}" for n in range(5, 24)),
    ]
    assert pages == 24 / 3  # three texts of six or seven bytes each


@pytest.mark.parametrize("texts", [True, False])
@pytest.mark.parametrize("analysed", [True, False])
def test_page_costs_by_its_own_rows(
    engine: sa.Engine,
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    analysed: bool,
    texts: bool,
) -> None:
    """Without it, each page reads the rest of the job, which takes a night for millions of rows."""
    monkeypatch.setattr("producer.outcomes.ROWS_AT_ONCE", 100)
    job_id = add_job(producer_engine, 5000)
    work_off(producer_engine, worker_engine, job_id, odd_ones_fail)
    if analysed:
        with engine.begin() as connection:
            connection.exec_driver_sql("analyze textmill.document, textmill.result")
    pages = outcomes(producer_engine, job_id, texts=texts)
    asked: list[tuple[str, Mapping[str, object]]] = []

    @sa.event.listens_for(producer_engine, "before_cursor_execute")
    def _ask(
        _c: object, _cursor: object, statement: str, values: Mapping[str, object], *_: object
    ) -> None:
        asked.append((statement, values))

    for _ in range(301):
        next(pages)

    of_pages = [(statement, values) for statement, values in asked if "full join" in statement]
    assert len(of_pages) == 4
    for statement, values in of_pages:
        read = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            + node.get("Rows Removed by Join Filter", 0)
            for node in nodes_of(engine, statement, values, small=False)
        )
        assert read <= 1000, f"a page of 100 reads {read} rows: {statement}"
