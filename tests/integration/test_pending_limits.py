"""Intake refuses documents while too many are pending."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from producer.submit import Submission, submit
from schema.documents import Document, JobOptions, Rejected, Task
from schema.errors import PendingLimitError
from schema.outcomes import ErrorCode
from schema.settings import IntakeSettings
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.postgres import DatabaseUrls


def hand_over(
    engine: sa.Engine, documents: int, limits: IntakeSettings, submitter: str = "tester"
) -> Submission:
    return submit(
        engine,
        Task.SENTIMENT,
        [Document(text="one")] * documents,
        JobOptions(),
        submitter=submitter,
        limits=limits,
    )


def jobs(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(sa.text("select count(*) from textmill.job")) or 0)


def test_submit_beyond_the_limit_is_refused_until_others_are_done(
    producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a producer that runs wild fills the disk."""
    limits = IntakeSettings(max_pending=10)
    first = hand_over(producer_engine, 6, limits)

    with pytest.raises(PendingLimitError, match=r"6 documents are pending .* 5 more"):
        hand_over(producer_engine, 5, limits)
    assert jobs(producer_engine) == 1

    work_off(producer_engine, worker_engine, first.job_id, POSITIVE)
    assert hand_over(producer_engine, 10, limits).accepted == 10


def test_refusal_tells_rejected_records_from_what_is_pending(producer_engine: sa.Engine) -> None:
    """Without it, a refusal of broken records reports fewer pending documents than there are."""
    hand_over(producer_engine, 5, IntakeSettings())
    broken = [Rejected(code=ErrorCode.INVALID_JSON, message="broken")] * 4

    with pytest.raises(PendingLimitError, match=r"^5 documents are pending .* 6 more"):
        submit(
            producer_engine,
            Task.SENTIMENT,
            [*[Document(text="one")] * 6, *broken],
            JobOptions(),
            submitter="tester",
            limits=IntakeSettings(max_pending=10),
        )


def test_limit_holds_in_the_middle_of_a_large_submit(producer_engine: sa.Engine) -> None:
    """Without it, a job that is larger than the limit gets in."""
    limits = IntakeSettings(max_pending=10, load_batch=4)

    with pytest.raises(PendingLimitError, match="TEXTMILL_MAX_PENDING"):
        hand_over(producer_engine, 12, limits)

    assert jobs(producer_engine) == 0


def test_one_submitter_leaves_room_for_others(producer_engine: sa.Engine) -> None:
    """Without it, one submitter takes everything."""
    limits = IntakeSettings(max_pending_per_submitter=5)
    hand_over(producer_engine, 5, limits, "greedy")

    with pytest.raises(PendingLimitError, match="PER_SUBMITTER"):
        hand_over(producer_engine, 1, limits, "greedy")

    assert hand_over(producer_engine, 5, limits, "modest").accepted == 5


def test_racing_submits_do_not_exceed_the_limit_together(producer_engine: sa.Engine) -> None:
    """Without it, the limit holds only for submits that arrive one by one."""
    limits = IntakeSettings(max_pending=3)

    def attempt(_: int) -> bool:
        try:
            hand_over(producer_engine, 1, limits)
        except PendingLimitError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        accepted = sum(pool.map(attempt, range(8)))

    assert accepted == jobs(producer_engine) == 3


@pytest.mark.parametrize(
    ("limit", "most", "said"),
    [
        ("max_pending", 5, "textmill.max_pending allows 5"),
        ("max_pending_per_submitter", 2, "3 of them yours, and textmill.max_pending_per_submitter"),
        ("max_job_documents", 2, "the job has 3 documents and textmill.max_job_documents allows 2"),
    ],
)
def test_submit_by_sql_holds_the_limits_too(
    producer_engine: sa.Engine, limit: str, most: int, said: str
) -> None:
    """Without it, submits by SQL can fill the disk all the same."""
    hand_over(producer_engine, 3, IntakeSettings())
    by_sql = sa.text(
        """select textmill.submit('sentiment', '[{"text":"a"},{"text":"b"},{"text":"c"}]')"""
    )

    with producer_engine.connect() as connection:
        connection.exec_driver_sql(f"set textmill.{limit} = {most}")
        with pytest.raises(sa.exc.DBAPIError, match=said):
            connection.execute(by_sql)
        connection.rollback()
        connection.exec_driver_sql(f"set textmill.{limit} = {most + 1}")
        connection.execute(by_sql)
        connection.commit()

    assert jobs(producer_engine) == 2


def test_refusal_names_the_setting_and_exits_with_2(database: DatabaseUrls) -> None:
    """Without it, a script would take a full queue for a fault of its documents."""
    done = invoke(
        database,
        "submit",
        "sentiment",
        "-",
        stdin='{"text":"a"}\n{"text":"b"}',
        TEXTMILL_MAX_PENDING="1",
    )

    assert done.exit_code == 2
    assert "TEXTMILL_MAX_PENDING allows 1" in done.stderr


def test_owner_sets_a_limit_for_all_once_it_was_granted(engine: sa.Engine) -> None:
    """Without it, the guide advises an owner who is no superuser to do what Postgres refuses."""
    with engine.connect() as connection:  # rolled back, the role included
        name = connection.scalar(sa.text("select current_database()"))
        setting = f"alter database {name} set textmill.max_pending = 1000000"
        connection.exec_driver_sql("create role textmill_owner login")
        connection.exec_driver_sql(f"alter database {name} owner to textmill_owner")
        connection.exec_driver_sql("set local session authorization textmill_owner")
        with (
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
            connection.begin_nested(),
        ):
            connection.exec_driver_sql(setting)
        connection.exec_driver_sql("reset session authorization")
        connection.exec_driver_sql("grant set on parameter textmill.max_pending to textmill_owner")
        connection.exec_driver_sql("set local session authorization textmill_owner")

        connection.exec_driver_sql(setting)
