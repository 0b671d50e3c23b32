"""Verdicts of people, in through every door and out as training data."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from producer.feedback import Verdict, add, export, parse
from producer.submit import submit
from schema.database import reachable
from schema.documents import Document, JobOptions, Rejected, Task
from schema.errors import InputError
from schema.outcomes import ErrorCode
from schema.settings import IntakeSettings
from tests.fixtures.commands import invoke
from tests.fixtures.outcomes import RESULTS, work_off
from tests.fixtures.postgres import DatabaseUrls

NO_JOB = "0190f3c2-0000-7000-8000-000000000000"


@pytest.fixture
def jobs(producer_engine: sa.Engine, worker_engine: sa.Engine) -> dict[Task, UUID]:
    """A finished job of each task with documents `a` and `b`, and `c` that failed."""
    made: dict[Task, UUID] = {}
    for task, result in RESULTS.items():
        made[task] = submit(
            producer_engine,
            task,
            [
                *(Document(external_id=name, text=f"green tea, {name} pot") for name in ("a", "b")),
                Rejected(external_id="c", code=ErrorCode.EMPTY_TEXT, message="the text is empty"),
            ],
            JobOptions(),
            submitter="tester",
            limits=IntakeSettings(),
        ).job_id
        work_off(producer_engine, worker_engine, made[task], result)
    return made


def verdict(job_id: UUID, external_id: str = "a", **fields: object) -> Verdict:
    return parse({"job_id": job_id, "external_id": external_id, "verdict": "disagree", **fields})


def test_verdict_comes_back_as_gold(producer_engine: sa.Engine, jobs: dict[Task, UUID]) -> None:
    """Without it, what people say never reaches the next model."""
    add(producer_engine, verdict(jobs[Task.SENTIMENT], labels=["neutral"], annotator="kim"))
    add(producer_engine, verdict(jobs[Task.SENTIMENT], "b", verdict="agree"))
    add(producer_engine, verdict(jobs[Task.MODERATION], labels=[]))
    add(producer_engine, verdict(jobs[Task.KEYWORDS], keywords=["teapot"]))

    sentiment = list(export(producer_engine, Task.SENTIMENT))
    (moderation,) = export(producer_engine, Task.MODERATION)
    (keywords,) = export(producer_engine, Task.KEYWORDS)

    assert [(row["label"], row["external_id"]) for row in sentiment] == [
        ("neutral", "a"),
        ("positive", "b"),
    ]
    assert sentiment[0]["annotator"] == "kim"
    assert sentiment[0]["text"] == "green tea, a pot"
    assert moderation["labels"] == []
    assert "spam" in str(moderation["annotated"])
    assert keywords["keywords"] == ["teapot"]


@pytest.mark.parametrize(
    ("task", "fields", "reason"),
    [
        (Task.SENTIMENT, {"labels": ["great"]}, "; name exactly one of: negative, neutral, posi"),
        (Task.SENTIMENT, {"labels": ["neutral", "positive"]}, "exactly one"),
        (Task.SENTIMENT, {"labels": []}, "clean is for moderation"),
        (Task.SENTIMENT, {"labels": ["positive"]}, "already: positive; agree with it, or name"),
        (Task.MODERATION, {"labels": ["spam", "spam"]}, "already: spam"),
        (Task.KEYWORDS, {"keywords": ["pot", "green tea"]}, "already: green tea, pot"),
        (Task.SENTIMENT, {}, "names the right label"),
        (Task.MODERATION, {"labels": ["rude"]}, "abuse, hate"),
        (Task.KEYWORDS, {"labels": ["tea"]}, "names the right keywords"),
        (Task.SENTIMENT, {"labels": ["neutral"], "verdict": "agree"}, "an agreement neither"),
        (Task.SENTIMENT, {"labels": ["neutral"], "external_id": "z"}, 'no document "z" in job'),
        (
            Task.SENTIMENT,
            {"labels": ["neutral"], "external_id": "c"},
            "no result; its status is fai",
        ),
        (Task.SENTIMENT, {"labels": ["neutral"], "job_id": NO_JOB}, "there is no job"),
    ],
)
def test_verdict_that_does_not_fit_is_refused_with_the_reason(
    producer_engine: sa.Engine,
    jobs: dict[Task, UUID],
    task: Task,
    fields: dict[str, object],
    reason: str,
) -> None:
    """Without it, wrong feedback trains the next model."""
    given = {"job_id": jobs[task], "external_id": "a", "verdict": "disagree", **fields}

    with pytest.raises(InputError, match=reason):
        add(producer_engine, parse(given))

    assert list(export(producer_engine, task)) == []


@pytest.mark.parametrize(
    ("task", "given"),
    [
        (Task.KEYWORDS, "keywords => array[null]::text[]"),
        (Task.KEYWORDS, "keywords => array['tea', null]"),
        (Task.KEYWORDS, "keywords => array['']"),
        (Task.KEYWORDS, "keywords => array[E' \\u3000\\t']"),
        (Task.KEYWORDS, "keywords => array[['tea', 'cup']]"),
        (Task.SENTIMENT, "labels => array[['neutral']]"),
        (Task.MODERATION, "labels => array['spam', null]"),
    ],
)
def test_word_that_says_nothing_is_refused(
    producer_engine: sa.Engine, jobs: dict[Task, UUID], task: Task, given: str
) -> None:
    """Without it, one verdict by SQL ends every training on feedback of its task."""
    call = f"select textmill.add_feedback('{jobs[task]}', 'a', 'disagree', {given})"

    with producer_engine.connect() as connection, pytest.raises(sa.exc.IntegrityError) as raised:
        connection.exec_driver_sql(call)

    assert 'verdict on document "a" is null, blank or a list' in str(raised.value.orig)
    assert list(export(producer_engine, task)) == []


def test_annotator_judges_a_document_once(
    producer_engine: sa.Engine, jobs: dict[Task, UUID]
) -> None:
    """Without it, one person's second thoughts count twice."""
    given = verdict(jobs[Task.SENTIMENT], verdict="agree", annotator="kim")
    add(producer_engine, given)

    with pytest.raises(InputError, match=r'kim judged document "a" before; .* adjudicate'):
        add(producer_engine, given)


def test_plain_insert_meets_the_same_rules(
    producer_engine: sa.Engine, jobs: dict[Task, UUID]
) -> None:
    """Without it, a database client can store what no trainer understands."""
    insert = sa.text(
        "insert into textmill.feedback (job_id, external_id, verdict, labels)"
        " values (:job_id, 'a', 'disagree', :labels) returning text, task, model_version"
    )
    with producer_engine.begin() as connection:
        good = connection.execute(
            insert, {"job_id": jobs[Task.SENTIMENT], "labels": ["negative"]}
        ).one()
    for wrong in ("great", "positive"):
        with producer_engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
            connection.execute(insert, {"job_id": jobs[Task.SENTIMENT], "labels": [wrong]})

    assert tuple(good) == ("green tea, a pot", "sentiment", "test")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_import_takes_the_good_lines_and_names_the_bad(
    database: DatabaseUrls, jobs: dict[Task, UUID], tmp_path: Path, form: str
) -> None:
    """Without it, one typing error loses a day's reviewing."""
    job = str(jobs[Task.MODERATION])
    file = tmp_path / f"reviewed.{form}"
    if form == "csv":
        file.write_text(
            "job_id,external_id,verdict,labels\n"
            f"{job},a,disagree,spam;fraud\n{job},b,maybe,\n{job},b,disagree,clean\n",
            encoding="utf-8",
        )
    else:
        rows = [
            {"job_id": job, "external_id": "a", "verdict": "disagree", "labels": ["spam", "fraud"]},
            {"job_id": job, "external_id": "b", "verdict": "maybe"},
            {"job_id": job, "external_id": "b", "verdict": "disagree", "labels": []},
        ]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    imported = invoke(database, "feedback", "import", file)
    exported = invoke(database, "feedback", "export", "moderation")

    line = 3 if form == "csv" else 2
    assert imported.exit_code == 1
    assert f"{file}:{line}: verdict: it must be agree or disagree\n" in imported.stderr
    assert "2 verdicts added, 1 refused" in imported.stderr
    labels = [json.loads(row)["labels"] for row in exported.stdout.splitlines()]
    assert labels == [["spam", "fraud"], []]


def test_verdict_that_is_too_long_for_postgres_ends_no_import(
    database: DatabaseUrls, producer_engine: sa.Engine, jobs: dict[Task, UUID], tmp_path: Path
) -> None:
    """Without it, one cell with a page in it stops an import, and blames the server."""
    file = tmp_path / "reviewed.csv"
    job = jobs[Task.SENTIMENT]
    long = "".join(chr(0x4E00 + number) for number in range(9000))  # which nothing compresses
    file.write_text(
        f"job_id,external_id,verdict,annotator\n{job},a,agree,{long}\n{job},a,agree,anna\n",
        encoding="utf-8",
    )

    imported = invoke(database, "feedback", "import", file)
    with (
        pytest.raises(InputError, match="nothing so large"),
        reachable(producer_engine),
        producer_engine.begin() as connection,
    ):
        connection.execute(
            sa.text("update textmill.job set idempotency_key = :key, content_hash = ''"),
            {"key": long},
        )

    assert imported.exit_code == 1
    assert "1 verdicts added, 1 refused" in imported.stderr
    assert f"{file}:2: annotator:" in imported.stderr


@pytest.fixture
def usual_cells() -> Iterator[None]:
    """The limit of the csv module as a process begins with it: other tests raise it."""
    before = csv.field_size_limit(131_072)
    yield
    csv.field_size_limit(before)


@pytest.mark.usefixtures("usual_cells")
def test_broken_row_ends_no_import(
    database: DatabaseUrls, jobs: dict[Task, UUID], tmp_path: Path
) -> None:
    """Without it, one cell or name that no reader expects costs all rows below it."""
    job = jobs[Task.SENTIMENT]
    good = f"{job},a,agree"
    table = tmp_path / "REVIEWED.CSV"
    table.write_text(
        "job_id,external_id,verdict,annotator,comment\n"
        f"{good},kim,{'x' * 140_000}\n{good},lin,{'x' * 1_100_000}\n{good},anna,fine\n",
        encoding="utf-8",
    )
    lines = tmp_path / "reviewed.jsonl"
    rows = [
        {"job_id": str(job), "external_id": "b", "verdict": "agree", **more}
        for more in ({"\ud800": 1}, {"annotator": "kim"})
    ]
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    from_table = invoke(database, "feedback", "import", table)
    from_lines = invoke(database, "feedback", "import", lines)

    assert from_table.exit_code == from_lines.exit_code == 1
    assert f"{table}:3: not CSV: field larger than field limit" in from_table.stderr
    assert "2 verdicts added, 1 refused" in from_table.stderr
    assert f"{lines}:1: the name of a field holds half of a surrogate pair" in from_lines.stderr
    assert "1 verdicts added, 1 refused" in from_lines.stderr


@pytest.mark.usefixtures("usual_cells")
def test_table_without_a_readable_header_is_refused_whole(
    database: DatabaseUrls, tmp_path: Path
) -> None:
    """Without it, its first verdict is taken for the names of the columns."""
    table = tmp_path / "reviewed.csv"
    table.write_text("x" * 1_100_000 + "\njob_id,verdict\n", encoding="utf-8")

    ended = invoke(database, "feedback", "import", table)

    assert ended.exit_code == 2
    assert f"cannot read {table}: field larger" in ended.stderr


def test_add_on_the_command_line(database: DatabaseUrls, jobs: dict[Task, UUID]) -> None:
    """Without it, a person at a terminal needs SQL to disagree."""
    job = jobs[Task.SENTIMENT]

    added = invoke(
        *(database, "feedback", "add", job, "a", "disagree", "--label", "negative"),
        TEXTMILL_SUBMITTER="kim",
    )
    refused = invoke(database, "feedback", "add", job, "b", "disagree", "--label", "great")
    exported = invoke(database, "feedback", "export", "sentiment")

    assert (added.exit_code, added.stdout) == (0, "1\n")
    assert json.loads(exported.stdout)["annotator"] == "kim"
    assert refused.exit_code == 2
    assert "exactly one of" in refused.stderr


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("job_id", "night", "job_id: it must be a job's id"),
        ("external_id", 17, "external_id: it must be the id of a document, a string"),
        ("external_id", None, "external_id: it is missing"),
        ("label", "neutral", "label: there is no such field; the fields are job_id"),
    ],
)
def test_malformed_verdict_is_refused_in_words_for_people(
    field: str, value: object, reason: str
) -> None:
    """Without it, a person who reviews has to read our validator's messages."""
    with pytest.raises(InputError, match=reason):
        parse({"job_id": NO_JOB, "external_id": "a", "verdict": "agree", field: value})


def test_gold_is_what_was_adjudicated_or_agreed(
    database: DatabaseUrls, producer_engine: sa.Engine, jobs: dict[Task, UUID]
) -> None:
    """Without it, a model learns from both sides of a quarrel."""
    job = jobs[Task.SENTIMENT]
    add(producer_engine, verdict(job, labels=["neutral"], annotator="kim"))
    add(producer_engine, verdict(job, labels=["negative"], annotator="lin"))
    add(producer_engine, verdict(job, "b", labels=["neutral"], annotator="kim"))
    add(producer_engine, verdict(job, "b", labels=["neutral"], annotator="lin"))

    before = states(producer_engine)
    disputed = [row["external_id"] for row in export(producer_engine, Task.SENTIMENT, gold=True)]
    add(producer_engine, verdict(job, verdict="agree", annotator="kim", adjudicates=True))
    with pytest.raises(InputError, match='"a" was adjudicated before'):
        add(producer_engine, verdict(job, verdict="agree", annotator="lin", adjudicates=True))

    printed = invoke(database, "feedback", "export", "sentiment", "--gold").stdout.splitlines()
    assert before == {"a": ("disputed", None), "b": ("agreed", ["neutral"])}
    assert disputed == ["b"]
    assert states(producer_engine) == {
        "a": ("adjudicated", ["positive"]),
        "b": ("agreed", ["neutral"]),
    }
    assert sorted((row["external_id"], row["label"]) for row in map(json.loads, printed)) == [
        ("a", "positive"),
        ("b", "neutral"),
    ]


def states(engine: sa.Engine) -> dict[str, tuple[str, list[str] | None]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.text("select * from textmill.feedback_status"))
        return {row.external_id: (row.state, row.gold) for row in rows}


@pytest.fixture
def judged(producer_engine: sa.Engine, worker_engine: sa.Engine) -> None:
    """Fifty moderated documents, judged by two people: 20 both, 15 neither, 5 and 10 apart.

    The example of Cohen's kappa that textbooks give: 0.4.
    """
    job_id = submit(
        producer_engine,
        Task.MODERATION,
        [Document(text=f"post {n}") for n in range(1, 51)],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(producer_engine, worker_engine, job_id, RESULTS[Task.MODERATION])
    for annotator, spam in (("kim", range(1, 26)), ("lin", [*range(1, 21), *range(26, 36)])):
        for n in range(1, 51):
            fields: dict[str, object] = {"verdict": "agree"} if n in spam else {"labels": []}
            add(producer_engine, verdict(job_id, str(n), annotator=annotator, **fields))


@pytest.mark.usefixtures("judged")
def test_agreement_is_cohens_kappa(reader_engine: sa.Engine) -> None:
    """Without it, two annotators who guess look as if they agreed."""
    with reader_engine.connect() as connection:
        rows = connection.execute(sa.text("select * from textmill.annotator_agreement")).all()

    by_label = {row.label: row for row in rows}
    spam = by_label["spam"]
    assert (spam.annotator, spam.other, spam.documents) == ("kim", "lin", 50)
    assert (spam.agreement, spam.kappa) == (pytest.approx(0.7), pytest.approx(0.4))
    assert len(rows) == 7
    assert (by_label["hate"].agreement, by_label["hate"].kappa) == (1, None)


@pytest.mark.usefixtures("judged")
def test_quality_counts_settled_answers(reader_engine: sa.Engine) -> None:
    """Without it, a label that is always wrong looks as good as one that is always right."""
    with reader_engine.connect() as connection:
        (row,) = connection.execute(sa.text("select * from textmill.model_quality")).all()

    assert (row.task, row.model_version, row.label) == ("moderation", "test", "spam")
    assert (row.agreed, row.wrong, row.missed) == (20, 15, 0)
    assert (row.precision, row.recall) == (pytest.approx(20 / 35), 1)


def test_quality_of_every_task(producer_engine: sa.Engine, jobs: dict[Task, UUID]) -> None:
    """Without it, one task's model goes unwatched."""
    add(producer_engine, verdict(jobs[Task.SENTIMENT], labels=["neutral"]))
    add(producer_engine, verdict(jobs[Task.SENTIMENT], "b", verdict="agree"))
    add(producer_engine, verdict(jobs[Task.KEYWORDS], keywords=["green tea", "cup"]))

    with producer_engine.connect() as connection:
        rows = connection.execute(
            sa.text("select task, label, agreed, wrong, missed from textmill.model_quality")
        ).all()

    assert sorted(map(str, rows)) == sorted(
        [
            "('sentiment', 'positive', 1, 1, 0)",
            "('sentiment', 'neutral', 0, 0, 1)",
            "('keywords', None, 1, 1, 1)",
        ]
    )


def test_what_a_moderator_reads_first(
    producer_engine: sa.Engine, reader_engine: sa.Engine, jobs: dict[Task, UUID]
) -> None:
    """Without it, moderators read what others have read, or nobody may see the text."""
    flags = sa.text("select * from textmill.moderation_flag")
    job = jobs[Task.MODERATION]
    with producer_engine.connect() as connection:
        seen = connection.execute(flags).all()
    add(producer_engine, verdict(job, verdict="agree"))
    with producer_engine.connect() as connection:
        left = connection.execute(flags).all()
    with reader_engine.connect() as connection:
        of_reader = connection.execute(flags).all()

    assert [(row.external_id, row.text) for row in seen] == [
        ("b", "green tea, b pot"),
        ("a", "green tea, a pot"),
    ]
    assert [row.external_id for row in left] == ["b"]
    assert [(row.external_id, row.labels, row.text) for row in of_reader] == [("b", ["spam"], None)]


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ("'a', 'maybe'", 'verdict "maybe" is unknown', "agree or disagree"),
        ("'z', 'agree'", 'no document "z"', "submitted with"),
        ("'a', 'disagree'", "names the right label", "exactly one of"),
        ("'a', 'agree', array['neutral']", "does not fit", "an agreement neither"),
        ("'a', 'disagree', array['positive']", 'document "a" is already: positive', "Agree"),
        ("'b', 'agree'", 'judged document "b" before', "adjudicate"),
        ("'b', 'agree', adjudicates => true", "was adjudicated before", "feedback_status"),
    ],
)
def test_feedback_function_says_what_is_wrong(
    producer_engine: sa.Engine,
    jobs: dict[Task, UUID],
    arguments: str,
    message: str,
    hint: str,
) -> None:
    """Without it, a person at a SQL prompt has to read our triggers."""
    job = jobs[Task.SENTIMENT]
    with producer_engine.begin() as connection:
        connection.exec_driver_sql(f"select textmill.add_feedback('{job}', 'b', 'agree')")
        connection.exec_driver_sql(
            f"select textmill.add_feedback('{job}', 'b', 'disagree', array['neutral'],"
            " annotator => 'lead', adjudicates => true)"
        )

    with producer_engine.connect() as connection, pytest.raises(sa.exc.DBAPIError) as raised:
        connection.exec_driver_sql(f"select textmill.add_feedback('{job}', {arguments})")

    diagnosis = getattr(raised.value.orig, "diag", None)
    assert message in str(diagnosis and diagnosis.message_primary)
    assert hint in str(diagnosis and diagnosis.message_hint)
