"""Very many very small jobs."""

import pytest
import sqlalchemy as sa

from tests.fixtures.mill import Mill

JOBS = 10_000


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_jobs_of_one_document_all_end(mill: Mill) -> None:
    """Without it, a producer that submits one document per job stops the mill for everyone."""
    with mill.engine.begin() as connection:
        connection.execute(
            sa.text("""
                with made as (
                    insert into textmill.job (task, lane, submitted_by)
                    select 'sentiment', 'bulk', 'tester'
                    from generate_series(1, :jobs)
                    returning job_id
                ), document as (
                    insert into textmill.document (job_id, seq, external_id, text)
                    select job_id, 1, '1', 'The tea was lovely and warm' from made
                )
                insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens)
                select job_id, 0, 1, 1, 8 from made
            """),
            {"jobs": JOBS},
        )
        connection.execute(sa.text("update textmill.job set state = 'pending', accepted = 1"))
    mill.dispatch()
    mill.workers(2, TEXTMILL_THREADS="8", TEXTMILL_LEASE="600")

    mill.until(
        lambda: (
            mill.scalars("select count(*) from textmill.job where state = 'completed'") == [JOBS]
        ),
        "every job is completed",
        bound=800,
    )

    mill.check()
    assert mill.scalars("select count(*) from textmill.result") == [JOBS]
    assert set(mill.scalars("select distinct attempt from textmill.chunk")) == {1}
