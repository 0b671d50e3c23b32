"""Promotions, rollbacks and pinned jobs while worker processes run."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from producer import control, jobs
from producer.outcomes import outcomes
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.errors import InputError
from schema.settings import IntakeSettings
from tests.fixtures.commands import invoke
from tests.fixtures.mill import Mill
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.variants import damage, shipped_version, variant
from worker.registry import Registry

SENTIMENT = Task.SENTIMENT
TEXTS = ["The tea was lovely and warm", "味道很差，不会再来"]


@pytest.fixture
def registry(engine: sa.Engine) -> Registry:
    """Models and promotions, in the role of the database's owner."""
    return Registry(engine)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The models folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def add(registry: Registry, models: Path, number: int) -> str:
    """Create and register another model."""
    version = variant(models, number)
    registry.add(SENTIMENT, version)
    return version


def start(mill: Mill, models: Path, *, delay: float = 0, max_attempts: int = 5) -> None:
    """Start dispatch and one worker process; each micro-batch takes `delay` extra seconds."""
    mill.dispatch()
    mill.workers(
        TEXTMILL_MODELS_DIR=str(models),
        TEXTMILL_MAX_ATTEMPTS=str(max_attempts),
        PLANTED_DELAY=str(delay),
    )


def submit_texts(engine: sa.Engine, copies: int = 1, **options: object) -> JobId:
    return submit(
        engine,
        SENTIMENT,
        [Document(text=text) for text in TEXTS * copies],
        JobOptions.model_validate(options),
        submitter="tester",
        limits=IntakeSettings(chunk_documents=4),
    ).job_id


def versions(engine: sa.Engine, job_id: JobId) -> Sequence[str]:
    """The models that made the results of a job, in the order of its documents."""
    with engine.connect() as connection:
        return connection.scalars(
            sa.text(
                "select model_version from textmill.sentiment_result"
                " where job_id = :job_id order by seq"
            ),
            {"job_id": job_id},
        ).all()


def workers(engine: sa.Engine) -> list[tuple[int, str, str | None]]:
    """The pid, sentiment model and model error of each worker process."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select pid, models ->> 'sentiment' as model, model_error"
                " from textmill.worker_status order by pid"
            )
        )
        return [(row.pid, row.model, row.model_error) for row in rows]


def serve(mill: Mill, version: str) -> None:
    mill.until(
        lambda: [model for _, model, _ in workers(mill.engine)] == [version],
        f"{version} is served",
    )


def test_promotion_in_the_middle_of_a_job_loses_nothing_and_splits_no_chunk(
    mill: Mill, registry: Registry, models: Path
) -> None:
    """Without it, a better model costs an outage, or documents."""
    old, new = shipped_version(), add(registry, models, 1)
    start(mill, models, delay=0.02)
    job_id = submit_texts(mill.engine, copies=600)
    mill.until(lambda: jobs.status(mill.engine, job_id).succeeded > 0, "the job runs")

    registry.promote(SENTIMENT, new)

    assert mill.finished(job_id).succeeded == 1200
    made = versions(mill.engine, job_id)
    assert set(made) == {old, new}
    assert all(len(set(made[first : first + 4])) == 1 for first in range(0, 1200, 4))
    assert set(mill.attempts(job_id)) == {1}

    registry.rollback(SENTIMENT)
    serve(mill, old)

    after = submit_texts(mill.engine)
    mill.finished(after)
    assert set(versions(mill.engine, after)) == {old}


def test_pinned_job_is_run_by_its_model_whatever_serves(
    mill: Mill, registry: Registry, models: Path
) -> None:
    """Without it, an experiment over two weeks compares two models without anybody knowing."""
    pinned, promoted = add(registry, models, 1), add(registry, models, 2)
    registry.promote(SENTIMENT, promoted)
    start(mill, models)

    jobs_of = {
        version: submit_texts(mill.engine, copies=20, model_version=version)
        for version in (pinned, shipped_version(), None)
    }

    for version, job_id in jobs_of.items():
        assert mill.finished(job_id).succeeded == 40
        assert set(versions(mill.engine, job_id)) == {version or promoted}


def test_broken_promotion_leaves_workers_as_they_are_and_says_so(
    mill: Mill, registry: Registry, models: Path
) -> None:
    """Without it, one bad folder stops all workers, or a host serves an old model unnoticed."""
    broken, whole = add(registry, models, 1), add(registry, models, 2)
    damage(models, broken)
    start(mill, models)
    ((pid, *_),) = workers(mill.engine)

    registry.promote(SENTIMENT, broken)
    mill.until(lambda: workers(mill.engine)[0][2] is not None, "the worker says what is wrong")

    job_id = submit_texts(mill.engine)
    assert mill.finished(job_id).succeeded == 2
    ((same, serving, error),) = workers(mill.engine)
    assert (same, serving) == (pid, shipped_version())
    assert str(models / broken) in str(error)
    assert str(models / broken) in mill.log()

    registry.promote(SENTIMENT, whole)
    serve(mill, whole)
    assert workers(mill.engine) == [(pid, whole, None)]


def test_documents_of_a_job_whose_model_is_nowhere_fail_with_a_remedy_that_helps(
    mill: Mill, registry: Registry, models: Path
) -> None:
    """Without it, the job never ends, or its failures do not say why."""
    version = add(registry, models, 1)
    (models / version).rename(models / "elsewhere")
    start(mill, models, max_attempts=2)

    job_id = submit_texts(mill.engine, model_version=version)

    assert mill.finished(job_id).failed == 2
    assert set(mill.outcomes(job_id).values()) == {"model_unavailable"}
    (row, _) = outcomes(mill.engine, job_id)
    assert "copy its folder there" in str(row["error"])
    assert mill.attempts(job_id) == [2]

    (models / "elsewhere").rename(models / version)
    control.retry(mill.engine, job_id)

    assert mill.finished(job_id).succeeded == 2
    assert set(versions(mill.engine, job_id)) == {version}


@pytest.mark.parametrize("version", ["0123456789abcdef", "", "x" * 16])
def test_unknown_model_is_refused_at_submit(
    database: DatabaseUrls, producer_engine: sa.Engine, tmp_path: Path, version: str
) -> None:
    """Without it, a typing error is found only after the night's job has failed."""
    file = tmp_path / "texts.txt"
    file.write_text("a text\n")

    if version:
        with pytest.raises(InputError, match="textmill-worker models list"):
            submit_texts(producer_engine, model_version=version)
    printed = invoke(database, "submit", "sentiment", file, "--model-version", version)
    with producer_engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as raised:
        connection.execute(
            sa.text(
                "select textmill.submit('sentiment', '[]',"
                " jsonb_build_object('model_version', cast(:version as text)))"
            ),
            {"version": version},
        )

    assert printed.exit_code == 2
    assert "model" in printed.stderr
    diagnosis = getattr(raised.value.orig, "diag", None)
    assert f'no model "{version}"' in str(diagnosis and diagnosis.message_primary)
    assert "textmill-worker models add" in str(diagnosis and diagnosis.message_hint)


def test_model_of_another_task_is_refused_at_submit(
    producer_engine: sa.Engine, registry: Registry
) -> None:
    """Without it, moderation scores could be read as sentiment."""
    registry.add(Task.MODERATION, "0123456789abcdef")

    with pytest.raises(InputError, match="no model '0123456789abcdef' for sentiment"):
        submit_texts(producer_engine, model_version="0123456789abcdef")
