"""How Postgres answers the usual questions: by index, and from no more months than asked for."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from benchmarks.large_database import Seeded, seed, usual_queries
from producer.marking import mark_again
from producer.rescue import rescue
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Lane, Task
from schema.settings import IntakeSettings
from tests.fixtures.chunks import add_job, chunk_store, expire, mark
from tests.fixtures.plans import LARGE, nodes_of


@pytest.fixture
def seeded(engine: sa.Engine) -> Seeded:
    return seed(engine, 10_000)


def months(nodes: list[dict[str, Any]], table: str) -> set[str]:
    """The months of a table that were read."""
    names = (node.get("Relation Name", "") for node in nodes)
    return {name[-6:] for name in names if re.fullmatch(rf"{table}_\d{{6}}", name)}


def test_usual_queries_scan_no_large_table_and_read_few_rows(
    engine: sa.Engine, seeded: Seeded
) -> None:
    """Without it, a view that is quick today takes a minute at ten million documents."""
    job = seeded.documents // 100
    for view, query in usual_queries(seeded).items():
        large = [
            node
            for node in nodes_of(engine, query)
            if node.get("Relation Name", "").startswith(LARGE)
        ]
        read = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            for node in large
        )
        assert "Seq Scan" not in {node["Node Type"] for node in large}, view
        assert read <= 2 * job, f"{view} reads {read} rows"


TIMED = {
    "select count(*) from textmill.sentiment_result where {since}": "result",
    "select count(*) from textmill.moderation_result where {since} and flagged": "result",
    "select count(*) from textmill.keyword_result where {since}": "result",
    "select count(*) from textmill.document_status where {since}": "document",
    "select * from textmill.moderation_flag where {since}": "result",
}
"""Queries by time, each with the table whose months it selects."""


@pytest.mark.usefixtures("seeded")
def test_queries_by_time_read_only_their_months(engine: sa.Engine) -> None:
    """Without it, querying last night's flag rate takes longer with every month."""
    since = (
        "job_id >= textmill.job_id_at("
        "date_trunc('month', now() at time zone 'UTC') at time zone 'UTC')"
    )
    for query, table in TIMED.items():
        recent = months(nodes_of(engine, query.format(since=since)), table)
        everything = months(nodes_of(engine, query.format(since="true")), table)

        assert min(everything) < min(recent) == f"{datetime.now(UTC):%Y%m}", query


READ_ONCE = {
    "select * from textmill.chunk_work('{job_id}', 1401, 1600)": 1000,
    "select * from textmill.document_status where job_id = '{job_id}'": 20_000,
    "select * from textmill.sentiment_result where job_id = '{job_id}'": 20_000,
}
"""Queries of a job of 2,000 documents, with the rows that they may read: up to 10 times the job.
Looking up all outcomes for each document would read millions."""


def test_a_job_that_statistics_do_not_know_is_read_once(engine: sa.Engine) -> None:
    """Without it, until tables are analysed, a large job's outcomes are read for each document."""
    for _ in range(2):
        _answer(engine, _submit(engine, 2000), 2000)
    with engine.begin() as connection:
        connection.exec_driver_sql("analyze textmill.document, textmill.result, textmill.failure")
    job_id = _submit(engine, 2000)
    _answer(engine, job_id, 1500)

    for query, most in READ_ONCE.items():
        read = sum(
            (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
            + node.get("Rows Removed by Join Filter", 0)
            for node in nodes_of(engine, query.format(job_id=job_id), small=False)
        )
        assert read <= most, f"{query} reads {read} rows"


def _submit(engine: sa.Engine, documents: int) -> JobId:
    made = submit(
        engine,
        Task.SENTIMENT,
        [Document(text="tea") for _ in range(documents)],
        JobOptions(),
        submitter="etl",
        limits=IntakeSettings(),
    )
    return made.job_id


def _answer(engine: sa.Engine, job_id: JobId, documents: int) -> None:
    """Write results for the first `documents` documents of a job."""
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "insert into textmill.result"
                " (job_id, seq, label, score, payload, model_version, attempt)"
                " select job_id, seq, 'neutral', 0.5, '{}', '0123456789abcdef', 1"
                " from textmill.document where job_id = :job_id and seq <= :documents"
            ),
            {"job_id": job_id, "documents": documents},
        )


def test_labels_of_a_job_are_counted_from_the_index(engine: sa.Engine, seeded: Seeded) -> None:
    """Without it, counting the labels of a job is as slow as reading all of its results."""
    nodes = nodes_of(engine, usual_queries(seeded)["sentiment_result"])

    (read,) = [node for node in nodes if node.get("Relation Name", "").startswith("result")]
    assert read["Node Type"] == "Index Only Scan"
    reads_documents = any(node.get("Relation Name", "").startswith("document") for node in nodes)
    with engine.connect() as connection:
        version = connection.scalar(sa.text("select current_setting('server_version_num')::int"))
    # Postgres 15 does not remove a partitioned table from a join.
    assert reads_documents == (version < 160_000)


UNDER_WAY: dict[str, Callable[[sa.Connection], object]] = {
    "publish again": lambda connection: mark_again(
        connection, Task.SENTIMENT, Lane.BULK, 2, after=0
    ),
    "rescue": rescue,
    "end the attempts of a worker": lambda connection: connection.exec_driver_sql(
        "select textmill.end_attempts('w1', 'released')"
    ),
    "status of workers": lambda connection: connection.exec_driver_sql(
        "select * from textmill.worker_status"
    ).all(),
}
"""Steps that look only for chunks that are dispatched or running."""


@pytest.mark.parametrize("step", UNDER_WAY)
def test_what_is_under_way_is_found_without_what_waits_or_is_done(
    engine: sa.Engine, step: str
) -> None:
    """Without it, every step of dispatch, one per second, reads every chunk of the last years."""
    add_job(engine, 6, chunk=1)
    store = chunk_store(engine)
    for message in mark(engine)[:3]:
        assert store.claim(message, alone=False) is not None
    expire(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "insert into textmill.worker (worker, host, pid, device, tasks, threads)"
            " values ('w1', 'here', 1, 'cpu', '{sentiment}', 4)"
        )
        connection.exec_driver_sql(
            "insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens, state)"
            " select job_id, n, n, n, 1, case when n > 6000 then 'pending' else 'done' end"
            " from textmill.job, generate_series(1001, 11000) as n"
        )
        connection.exec_driver_sql("analyze textmill.chunk")
    read = sa.text(
        "select seq_tup_read + idx_tup_fetch from pg_stat_xact_user_tables"
        " where relid = 'textmill.chunk'::regclass"
    )

    with engine.begin() as connection:
        before = connection.execute(read).scalar_one()
        UNDER_WAY[step](connection)
        rows = connection.execute(read).scalar_one() - before

    assert 0 < rows <= 60


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_planner_chooses_the_indexes_at_scale(
    engine: sa.Engine, pytestconfig: pytest.Config
) -> None:
    """Without it, the indexes exist but the planner does not use them.

    `pytest -m slow --documents 10000000` seeds that many documents; a million takes 1 GB of disk.
    """
    seeded = seed(engine, pytestconfig.getoption("--documents"))
    for view, query in usual_queries(seeded).items():
        for node in nodes_of(engine, query, small=False):
            if node.get("Relation Name", "").startswith(LARGE):
                assert node["Node Type"] != "Seq Scan", f"{view}: {json.dumps(node)}"
