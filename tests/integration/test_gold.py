"""Verdicts as training data."""

import os
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from producer.feedback import Verdict, add, export
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.corpus import PRAISE, recipe
from tests.fixtures.outcomes import RESULTS, work_off
from worker.gold import read_gold
from worker.training.corpus import SPLITS, Split
from worker.training.feedback import (
    MOST_TIMES,
    SHARE,
    Feedback,
    write_source,
)
from worker.training.rows import (
    ROW_TYPES,
    KeywordsRow,
    LabelledRow,
    ModerationRow,
    SentimentRow,
)

MANY: list[LabelledRow] = [SentimentRow(text=f"text {n}", label="neutral") for n in range(1000)]


@pytest.fixture
def jobs(producer_engine: sa.Engine, worker_engine: sa.Engine) -> dict[Task, list[JobId]]:
    """Two finished jobs of each task, both with the same documents `a` and `b`."""
    made: dict[Task, list[JobId]] = {}
    for task, result in RESULTS.items():
        for _ in range(2):
            job_id = submit(
                producer_engine,
                task,
                [Document(external_id=name, text=f"green tea, {name} pot") for name in "ab"],
                JobOptions(),
                submitter="tester",
                limits=IntakeSettings(),
            ).job_id
            work_off(producer_engine, worker_engine, job_id, result)
            made.setdefault(task, []).append(job_id)
    return made


def judge(engine: sa.Engine, job_id: JobId, name: str, **fields: object) -> None:
    given = {"job_id": job_id, "external_id": name, "verdict": "agree"} | fields
    add(engine, Verdict.model_validate(given))


def test_gold_is_what_is_settled_once_a_text(
    engine: sa.Engine, producer_engine: sa.Engine, jobs: dict[Task, list[JobId]]
) -> None:
    """Without it, a model learns from both sides of a dispute, or twice from one text."""
    first, second = jobs[Task.SENTIMENT]
    wrong = {"verdict": "disagree"}
    judge(producer_engine, first, "a", annotator="kim")
    judge(producer_engine, second, "a", **wrong, labels=["neutral"], annotator="kim")
    judge(producer_engine, first, "b", annotator="kim")
    judge(producer_engine, first, "b", **wrong, labels=["negative"], annotator="lin")
    judge(producer_engine, jobs[Task.MODERATION][0], "a", **wrong, labels=[])
    judge(producer_engine, jobs[Task.KEYWORDS][0], "a", **wrong, keywords=["teapot"])
    judge(producer_engine, jobs[Task.KEYWORDS][0], "b")

    sentiment = read_gold(engine, Task.SENTIMENT)
    moderation = read_gold(engine, Task.MODERATION)
    keywords = read_gold(engine, Task.KEYWORDS)

    assert sentiment == [SentimentRow(text="green tea, a pot", label="neutral")]
    assert moderation == [ModerationRow(text="green tea, a pot", labels=frozenset())]
    assert keywords == [
        KeywordsRow(text="green tea, a pot", keywords=("teapot",)),
        KeywordsRow(text="green tea, b pot", keywords=("green tea", "pot")),
    ]

    judge(producer_engine, first, "b", **wrong, labels=["negative"], adjudicates=True)
    assert SentimentRow(text="green tea, b pot", label="negative") in read_gold(
        engine, Task.SENTIMENT
    )


def test_exported_gold_is_what_retrain_learns_from(
    producer_engine: sa.Engine,
    engine: sa.Engine,
    jobs: dict[Task, list[JobId]],
) -> None:
    """Without it, training elsewhere makes a different model from the same verdicts."""
    right = {
        Task.SENTIMENT: {"labels": ["neutral"]},
        Task.MODERATION: {"labels": ["violence", "hate"]},
        Task.KEYWORDS: {"keywords": ["teapot", "pot"]},
    }
    for task, (first, second) in jobs.items():
        judge(producer_engine, first, "a")
        judge(producer_engine, first, "b")
        judge(producer_engine, second, "a", verdict="disagree", **right[task])

    learned = {task: read_gold(engine, task) for task in Task}

    assert [len(rows) for rows in learned.values()] == [2, 2, 2]
    assert learned == {
        task: [
            ROW_TYPES[task].model_validate(row) for row in export(producer_engine, task, gold=True)
        ]
        for task in Task
    }


@pytest.mark.parametrize("verdict", [{"verdict": "agree"}, {"verdict": "disagree", "labels": []}])
def test_only_labels_that_a_result_scored_were_judged(
    producer_engine: sa.Engine,
    worker_engine: sa.Engine,
    engine: sa.Engine,
    verdict: dict[str, object],
) -> None:
    """Without it, a model learns that nobody objected to a label which nobody was asked about."""
    job_id = submit(
        producer_engine,
        Task.MODERATION,
        [Document(external_id="a", text="green tea")],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    scores = {"spam": 0.875, "hate": 0.125}
    result = RESULTS[Task.MODERATION].model_copy(update={"scores": scores})
    work_off(producer_engine, worker_engine, job_id, result)
    judge(producer_engine, job_id, "a", **verdict)

    (learned,) = read_gold(engine, Task.MODERATION)
    (settled,) = export(producer_engine, Task.MODERATION, gold=True)
    (said,) = export(producer_engine, Task.MODERATION)

    assert isinstance(learned, ModerationRow)
    assert learned.annotated == {"spam", "hate"}
    assert settled["annotated"] == said["annotated"] == ["hate", "spam"]


def test_what_is_held_out_stays_held_out(tmp_path: Path) -> None:
    """Without it, the next training is measured on texts that the previous one learned."""
    few = write_source(tmp_path / "few", Task.SENTIMENT, MANY[::3])
    shouted = [row.model_copy(update={"text": f"  {row.text.upper()}"}) for row in MANY]
    all_of_them = write_source(tmp_path / "all", Task.SENTIMENT, shouted)

    held_out = {row.text.strip().lower() for row in all_of_them.rows("test")}
    learned = {row.text for row in few.rows("train")}

    assert {row.text for row in few.rows("test")} <= held_out
    assert learned.isdisjoint(held_out)
    assert 0.25 < len(held_out) / len(MANY) < 0.35
    sizes = [len(all_of_them.rows(split)) for split in ("train", "valid", "test")]
    assert sum(sizes) == len(MANY)


def test_the_same_feedback_has_the_same_hash(tmp_path: Path) -> None:
    """Without it, `data_hash` cannot tell whether two trainings learned from the same feedback."""
    code = (
        "import sys, time; from pathlib import Path; from schema.documents import Task;"
        "from worker.training.corpus import data_hash;"
        "from worker.training.feedback import write_source;"
        "from worker.training.rows import ModerationRow;"
        "time.time = lambda: float(sys.argv[2]);"
        "row = ModerationRow(text='tea', labels={'spam', 'fraud', 'hate', 'abuse'});"
        "print(data_hash([write_source(Path(sys.argv[1]) / 'feedback', Task.MODERATION, [row])]))"
    )

    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / seed), seed],
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(hashes) == 1


def test_documents_chosen_by_their_hash_part_as_others_do(tmp_path: Path) -> None:
    """Without it, a sample that was chosen by the hash of the texts is held out as a whole."""
    chosen = sorted(MANY, key=lambda row: sha256(row.text.encode()).digest())[:200]

    source = write_source(tmp_path / "feedback", Task.SENTIMENT, chosen)

    assert 0.2 < len(source.rows("test")) / len(chosen) < 0.4


def test_copies_that_models_see_alike_are_held_out_together(tmp_path: Path) -> None:
    """Without it, a model learns a held-out text from a repost with an invisible sign in it."""
    disguised = [row.model_copy(update={"text": f"\u200b{row.text.upper()}"}) for row in MANY[:50]]

    source = write_source(tmp_path / "feedback", Task.SENTIMENT, [*MANY[:50], *disguised])

    for split in SPLITS:
        texts = [row.text for row in source.rows(split)]
        assert len(texts) == 2 * len({text.strip("\u200b").lower() for text in texts})


def test_a_part_of_the_data_is_replayed_without_what_people_judged(tmp_path: Path) -> None:
    """Without it, a held-out text is learned after all, or a wrong label beside the right one."""
    judged = Feedback(write_source(tmp_path / "feedback", Task.SENTIMENT, MANY[:100]), replay=300)

    large, small = judged.replayed([MANY, MANY[:200]], np.random.default_rng(0))

    assert len(large) + len(small) == 300
    assert len(large) == pytest.approx(9 * len(small), abs=1)
    assert {row.text for row in [*large, *small]}.isdisjoint(row.text for row in MANY[:100])


@pytest.mark.parametrize("split", ["valid", "test"])
def test_nothing_is_measured_on_what_people_judged_but_what_they_said(
    data_folder: Path, tmp_path: Path, split: Split
) -> None:
    """Without it, learned texts show what got worse, and held-out ones choose the epoch."""
    gold = [SentimentRow(text=f" {text.upper()}", label="neutral") for text in PRAISE]
    source = write_source(tmp_path / "feedback", Task.SENTIMENT, [*gold, *MANY[:20]])
    judged = replace(recipe(data_folder, Task.SENTIMENT), feedback=Feedback(source, replay=9))

    *original, (last, said) = judged.sets(split)

    assert (last, said) == (source, source.rows(split))
    left = {row.text for _, rows in original for row in rows}
    assert left
    assert left.isdisjoint(PRAISE)


@pytest.mark.parametrize(("beside", "times"), [(0, 1), (1000, 4), (10**6, MOST_TIMES)])
def test_few_verdicts_count_beside_many_rows(tmp_path: Path, beside: int, times: int) -> None:
    """Without it, fifty corrections drown in the data that taught the mistake."""
    judged = Feedback(write_source(tmp_path / "feedback", Task.SENTIMENT, MANY[:100]), replay=0)
    once = len(judged.source.rows("train"))

    assert len(judged.repeated(beside)) == times * once
    assert times * once <= max(SHARE / (1 - SHARE) * beside + once / 2, once)
