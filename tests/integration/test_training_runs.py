"""The rows of trainings on feedback."""

from datetime import timedelta

import sqlalchemy as sa

from schema.documents import Task
from schema.errors import ServiceUnavailableError
from worker.registry import Registry
from worker.training.compare import Comparison, Comparisons
from worker.training_runs import TrainingRun, TrainingRuns

SENTIMENT = Task.SENTIMENT


def better() -> Comparisons:
    """Comparisons that get a candidate promoted."""
    ahead = Comparison(documents=9, parent=0.5, candidate=0.9, difference=0.4, low=0.3, high=0.5)
    return Comparisons(feedback=ahead, elsewhere=ahead, sets={})


def test_training_of_another_database_with_the_same_number_goes_on(engine: sa.Engine) -> None:
    """Without it, what staging left in a shared folder ends a training of production."""
    runs, parent = TrainingRuns(engine), "a" * 16
    Registry(engine).add(SENTIMENT, parent)
    run = runs.begin(TrainingRun(SENTIMENT, parent, {}, "hash", 1, 1))

    elsewhere = run._replace(started_at=run.started_at - timedelta(microseconds=1))
    runs.fail(elsewhere, ServiceUnavailableError("the server does not answer"))

    with engine.connect() as connection:
        row = connection.execute(sa.text("select * from textmill.training_status")).one()
    assert (row.state, row.error) == ("running", None)


def test_training_that_ends_while_the_database_is_away_waits_for_it(engine: sa.Engine) -> None:
    """Without it, a restart of Postgres at the wrong moment wastes a night's training."""
    runs, parent, candidate = TrainingRuns(engine), "a" * 16, "b" * 16
    Registry(engine).add(SENTIMENT, parent)
    begun = TrainingRun(SENTIMENT, parent, {}, "hash", 1, 1)
    run, serving = runs.begin(begun), Registry(engine).promoted(SENTIMENT)
    killed: list[int] = []

    def kill(_: object, cursor: object, statement: str, *_more: object) -> None:
        if "set state" in statement and not killed:
            killed.append(cursor.connection.info.backend_pid)  # type: ignore[attr-defined]
            with engine.connect() as other:
                other.execute(
                    sa.text("select pg_terminate_backend(:pid, 30000)"), {"pid": killed[0]}
                )

    sa.event.listen(engine, "before_cursor_execute", kill)
    decision = runs.finish(run.run_id, begun, candidate, better(), serving)
    again = runs.finish(run.run_id, begun, candidate, better(), serving)

    assert killed
    assert decision.promoted
    assert again == decision  # as if the answer to the first commit had been lost
    with engine.connect() as connection:
        states = connection.scalars(sa.text("select state from textmill.training_run")).all()
        promotions = connection.scalars(sa.text("select count(*) from textmill.model_promotion"))
        assert (states, promotions.all()) == (["finished"], [1])


def test_finished_training_stays_finished_when_the_answer_is_lost(engine: sa.Engine) -> None:
    """Without it, an error of the database hides that a model was promoted."""
    runs, parent, candidate = TrainingRuns(engine), "a" * 16, "b" * 16
    Registry(engine).add(SENTIMENT, parent)
    begun = TrainingRun(SENTIMENT, parent, {}, "hash", 1, 1)
    run = runs.begin(begun)
    runs.finish(run.run_id, begun, candidate, better(), Registry(engine).promoted(SENTIMENT))

    runs.fail(run, ServiceUnavailableError("the server does not answer"))

    with engine.connect() as connection:
        row = connection.execute(sa.text("select * from textmill.training_status")).one()
    assert (row.state, row.candidate, row.error) == ("finished", candidate, None)
