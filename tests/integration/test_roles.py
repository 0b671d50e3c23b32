"""What each database role may not do."""

import pytest
import sqlalchemy as sa

from migrations import upgrade
from producer.submit import submit
from schema.documents import Document, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.chunks import add_job
from tests.fixtures.outcomes import POSITIVE, work_off

RESULT_ROW = (
    "insert into textmill.result (job_id, seq, payload, model_version, attempt)"
    " select job_id, 2, '{}', 'forged', 1 from textmill.job"
)
LOCKS = [
    "select from textmill.turn for update",
    "lock table textmill.turn in access share mode",
]
FORBIDDEN = {
    "producer": [
        *LOCKS,
        RESULT_ROW,
        "update textmill.result set label = 'negative'",
        "delete from textmill.result",
        "insert into textmill.job (task, lane, state) values ('sentiment', 'bulk', 'pending')",
        "insert into textmill.job (task, lane, accepted) values ('sentiment', 'bulk', 1)",
        "insert into textmill.job (task, lane, job_id) select task, lane, job_id from textmill.job",
        "update textmill.job set succeeded = 1",
        "update textmill.job set cancelled = 1",
        "update textmill.job set submitted_by = 'thief'",
        "delete from textmill.chunk",
        "update textmill.chunk set first_seq = 2",
        (
            "insert into textmill.chunk (job_id, chunk_no, first_seq, last_seq, tokens, attempt)"
            " values (textmill.new_job_id(), 0, 1, 1, 1, 2147483647)"
        ),
        "select textmill.count_outcomes(job_id, 0, 1) from textmill.job",
        "select textmill.end_attempt(job_id, 0, 1, 'given_up', 'forged') from textmill.job",
        "insert into textmill.worker values ('w', 'h', 1, 'cpu', '{}', 2)",
        "update textmill.feedback set verdict = 'agree'",
        "insert into textmill.feedback (text) values ('forged')",
        "insert into textmill.feedback (given_by) values ('forged')",
        "update textmill.sweep set query = 'forged'",
        "delete from textmill.sweep",
        "insert into textmill.model_version (model_version, task) values ('0', 'sentiment')",
        "select textmill.promote_model('sentiment', null)",
        "insert into textmill.model_promotion (task) values ('sentiment')",
        "select textmill.erase_document(job_id, '1') from textmill.job_status",
    ],
    "worker": [
        *LOCKS,
        "select textmill.dispatch_turn()",
        "insert into textmill.job (task, lane) values ('sentiment', 'bulk')",
        "update textmill.job set accepted = 0",
        "update textmill.job set succeeded = 0",
        "update textmill.job set state = 'cancelling'",
        "delete from textmill.job",
        "update textmill.chunk set last_seq = 1",
        "update textmill.chunk set dispatched_at = now()",
        "insert into textmill.document (job_id, seq) select job_id, 9 from textmill.job",
        "update textmill.document set text = 'forged'",
        "delete from textmill.document",
        "update textmill.result set label = 'negative'",
        "delete from textmill.result",
        "delete from textmill.failure",
        "select textmill.make_partitions()",
        "select textmill.new_job_id()",
        "select textmill.job_may_become('pending', 'running')",
        "select * from textmill.feedback",
        "select * from textmill.gold",
        "insert into textmill.model_version values ('0', 'sentiment', 'forged')",
        "select textmill.promote_model('sentiment', null)",
        "insert into textmill.model_promotion (task) values ('sentiment')",
        "select * from textmill.training_run",
        "select textmill.erase_document(job_id, '1') from textmill.job_status",
    ],
    "reader": [
        *LOCKS,
        "select textmill.dispatch_turn()",
        "select textmill.new_job_id()",
        "select textmill.pending_documents('etl')",
        "select textmill.latest_promotion('sentiment')",
        "select text from textmill.document",
        "select * from textmill.result",
        "select * from textmill.job",
        "select * from textmill.feedback",
        "select * from textmill.gold",
        "update textmill.job set state = 'cancelled'",
        "select textmill.make_partitions()",
        "select textmill.submit('sentiment', '[]')",
        "select query from textmill.sweep",
        "select textmill.rollback_model('sentiment')",
        "select * from textmill.model_promotion",
        "select textmill.erase_document(job_id, '1') from textmill.job_status",
    ],
    "annotator": [
        *LOCKS,
        "select textmill.dispatch_turn()",
        "select textmill.new_job_id()",
        RESULT_ROW,
        "select textmill.submit('sentiment', '[]')",
        "select * from textmill.job",
        "select textmill.cancel(job_id) from textmill.job_status",
        "update textmill.document set text = 'forged'",
        "delete from textmill.document",
        "delete from textmill.feedback",
        "update textmill.feedback set verdict = 'agree'",
        "insert into textmill.feedback (text) values ('forged')",
        "insert into textmill.feedback (given_by) values ('forged')",
        "select textmill.erase_document(job_id, '1') from textmill.job_status",
    ],
}


@pytest.fixture
def engines(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    reader_engine: sa.Engine,
    annotator_engine: sa.Engine,
) -> dict[str, sa.Engine]:
    """The database as each role sees it, with one finished job in it."""
    job_id = submit(
        producer_engine,
        Task.SENTIMENT,
        [Document(external_id="a", text="a secret")],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    return {
        "producer": producer_engine,
        "worker": worker_engine,
        "reader": reader_engine,
        "annotator": annotator_engine,
    }


@pytest.mark.parametrize("role", FORBIDDEN)
def test_role_may_not_overstep(engines: dict[str, sa.Engine], role: str) -> None:
    """Without it, a leaked password of one side gives the rights of all."""
    for statement in FORBIDDEN[role]:
        with (
            engines[role].connect() as connection,
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
        ):
            connection.exec_driver_sql(statement)


def test_upgrade_grants_no_view_that_somebody_else_made(
    engine: sa.Engine, reader_engine: sa.Engine
) -> None:
    """Without it, a DBA's own view shows texts to every reader after the next upgrade."""
    with engine.begin() as connection:
        connection.exec_driver_sql("create view textmill.own as select text from textmill.document")

    upgrade(engine)

    with (
        reader_engine.connect() as connection,
        pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
    ):
        connection.exec_driver_sql("select from textmill.own")


def test_reader_sees_views_without_texts(engines: dict[str, sa.Engine], engine: sa.Engine) -> None:
    """Without it, everyone who may look at a job's status can read what users wrote."""
    with engine.connect() as connection:
        views = connection.scalars(
            sa.text(
                "select viewname from pg_views where schemaname = 'textmill' and viewname <> 'gold'"
            )
        ).all()

    with engines["reader"].connect() as connection:
        for view in views:
            rows = connection.execute(
                sa.select(sa.text("*")).select_from(sa.table(view, schema="textmill"))
            ).all()
            assert "secret" not in str(rows)


@pytest.mark.parametrize("role", ["operator", "trainer"])
@pytest.mark.parametrize(
    "statement",
    [
        "select * from textmill.model_version",
        "select * from textmill.model_promotion",
        "select textmill.new_job_id()",
    ],
)
def test_who_promotes_knows_models_by_views_alone(
    engine: sa.Engine, role: str, statement: str
) -> None:
    """Without it, clients rely on tables that nobody needs, which then cannot be changed."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"set local role textmill_{role}")
        connection.exec_driver_sql("select * from textmill.model_status")

        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize("role", ["reader", "annotator"])
def test_forgotten_person_is_ended(engines: dict[str, sa.Engine], role: str) -> None:
    """Without it, a forgotten transaction of an analyst holds back vacuum for days."""
    with engines[role].connect() as connection:
        limits = [
            connection.exec_driver_sql(f"show {name}").scalar_one()
            for name in ("statement_timeout", "idle_in_transaction_session_timeout")
        ]

    assert limits == ["1min", "1min"]


def test_frozen_worker_and_forgotten_prompt_hold_no_job_for_ever(
    producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, every worker waits to store the outcomes of a job that a session has locked."""
    job_id = add_job(producer_engine, 1)
    limit = sa.text("show idle_in_transaction_session_timeout")

    with worker_engine.connect() as connection:
        assert connection.scalar(limit) == "1min"
    for function in ("pause", "resume", "cancel", "retry"):
        with producer_engine.connect() as connection:
            assert connection.scalar(limit) == "0"
            connection.execute(sa.text(f"select textmill.{function}(:job)"), {"job": job_id})
            assert connection.scalar(limit) == "1min"


def test_definers_functions_pin_their_search_path(engine: sa.Engine) -> None:
    """Without it, a role that may make a schema runs its own code with the owner's rights."""
    with engine.connect() as connection:
        loose = connection.scalars(
            sa.text(
                "select proname from pg_proc where pronamespace = 'textmill'::regnamespace"
                " and prosecdef and not coalesce('search_path=pg_catalog, pg_temp'"
                " = any (proconfig), false)"
            )
        ).all()

    assert loose == []


def test_no_function_takes_an_advisory_lock(engine: sa.Engine) -> None:
    """Without it, anyone who may log in can keep that lock for ever and stop what waits for it."""
    with engine.connect() as connection:
        locking = connection.scalars(
            sa.text(
                "select proname from pg_proc where pronamespace = 'textmill'::regnamespace"
                " and prosrc like '%advisory%'"
            )
        ).all()

    assert locking == []


def test_public_may_run_nothing(engine: sa.Engine) -> None:
    """Without it, every login of the server can call Textmill's functions."""
    with engine.connect() as connection:
        open_to_all = connection.scalars(
            sa.text(
                "select p.proname from pg_proc p, aclexplode(p.proacl) as granted"
                " where p.pronamespace = 'textmill'::regnamespace and granted.grantee = 0"
            )
        ).all()
        without_acl = connection.scalars(
            sa.text(
                "select proname from pg_proc where pronamespace = 'textmill'::regnamespace"
                " and proacl is null"
            )
        ).all()

    assert [*open_to_all, *without_acl] == []
