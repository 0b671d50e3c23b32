"""Verdicts of people: every way to give them, and their export as training data."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
import sqlalchemy as sa

from producer.feedback import add, export, parse, withdraw
from schema.documents import JobId, Task
from schema.errors import InputError
from schema.outcomes import MODERATION_LABELS, SENTIMENT_LABELS
from tests.fixtures.commands import invoke
from tests.fixtures.feedback import verdict
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.waiting import until_blocked

NO_JOB = "0190f3c2-0000-7000-8000-000000000000"


def test_verdict_comes_back_as_gold(producer_engine: sa.Engine, jobs: dict[Task, JobId]) -> None:
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


def test_export_of_long_texts_takes_little_memory(
    engine: sa.Engine, producer_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, an export of a thousand verdicts on long documents takes a gigabyte."""
    add(producer_engine, verdict(jobs[Task.SENTIMENT], verdict="agree"))
    with engine.begin() as connection:
        connection.exec_driver_sql("alter table textmill.feedback disable trigger feedback_check")
        connection.exec_driver_sql(
            "insert into textmill.feedback (job_id, external_id, verdict, seq, task, text, payload,"
            " model_version, given, answer)"
            " select job_id, n::text, verdict, n, task, repeat('x', 1000000), payload,"
            " model_version, given, answer"
            " from textmill.feedback cross join generate_series(101, 300) as n"
        )

    tracemalloc.start()
    characters = sum(len(str(row["text"])) for row in export(producer_engine, Task.SENTIMENT))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert characters > 200_000_000
    assert most < 60_000_000


@pytest.mark.parametrize(
    ("task", "fields", "reason"),
    [
        (Task.SENTIMENT, {"labels": ["great"]}, "; name exactly one of: negative, neutral, posi"),
        (Task.SENTIMENT, {"labels": ["neutral", "positive"]}, "exactly one"),
        (Task.SENTIMENT, {"labels": []}, "clean is for moderation"),
        (Task.SENTIMENT, {"labels": ["positive"]}, "already: positive; agree with it, or name"),
        (Task.MODERATION, {"labels": ["spam", "spam"]}, "already: spam"),
        (Task.KEYWORDS, {"keywords": ["pot", "green tea"]}, "already: green tea, pot"),
        (Task.KEYWORDS, {"keywords": ["pot", " green\r\n\u3000tea"]}, "already: green tea, pot"),
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
    jobs: dict[Task, JobId],
    task: Task,
    fields: dict[str, object],
    reason: str,
) -> None:
    """Without it, wrong feedback trains the next model."""
    given = {"job_id": jobs[task], "external_id": "a", "verdict": "disagree", **fields}

    with pytest.raises(InputError, match=reason):
        add(producer_engine, parse(given))

    assert list(export(producer_engine, task)) == []


def test_labels_of_verdicts_are_those_of_results(engine: sa.Engine) -> None:
    """Without it, people cannot name a label that models give, or name one that none learns."""
    with engine.connect() as connection:
        labels = connection.execute(
            sa.text("select textmill.labels_of('sentiment'), textmill.labels_of('moderation')")
        ).one()

    assert tuple(labels) == (list(SENTIMENT_LABELS), list(MODERATION_LABELS))


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
    producer_engine: sa.Engine, jobs: dict[Task, JobId], task: Task, given: str
) -> None:
    """Without it, one verdict by SQL makes every training on feedback of its task fail."""
    call = f"select textmill.add_feedback('{jobs[task]}', 'a', 'disagree', {given})"

    with producer_engine.connect() as connection, pytest.raises(sa.exc.IntegrityError) as raised:
        connection.exec_driver_sql(call)

    assert 'verdict on document "a" is null, blank or a list' in str(raised.value.orig)
    assert list(export(producer_engine, task)) == []


def test_annotator_judges_a_document_once(
    producer_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, one person's second thoughts count twice."""
    given = verdict(jobs[Task.SENTIMENT], verdict="agree", annotator="kim")
    add(producer_engine, given)

    with pytest.raises(InputError, match=r'kim judged document "a" before; .* adjudicate'):
        add(producer_engine, given)


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        ("withdraw_feedback({number}, 'kim')", "cannot be withdrawn"),
        ("add_feedback('{job}', 'b', 'agree', annotator => 'kim')", "a login of their own"),
        (
            "add_feedback('{job}', 'a', 'agree', annotator => 'kim', adjudicates => true)",
            "a login of their own",
        ),
    ],
)
def test_annotator_with_a_login_speaks_for_themselves(
    engine: sa.Engine, jobs: dict[Task, JobId], call: str, refused: str
) -> None:
    """Without it, one annotator can withdraw and forge another's verdicts."""
    with engine.connect() as connection:  # rolled back, roles included
        for name in ("kim", "lin"):
            connection.exec_driver_sql(f"create role {name} login in role textmill_annotator")
        job = jobs[Task.SENTIMENT]
        connection.exec_driver_sql("set local session authorization kim")
        number = connection.exec_driver_sql(
            f"select textmill.add_feedback('{job}', 'a', 'agree')"
        ).scalar_one()
        connection.exec_driver_sql("set local session authorization lin")

        with pytest.raises(sa.exc.IntegrityError, match=refused), connection.begin_nested():
            connection.exec_driver_sql(f"select textmill.{call.format(job=job, number=number)}")

        connection.exec_driver_sql("set local session authorization kim")
        withdrawn = f"select textmill.withdraw_feedback({number})"
        assert connection.exec_driver_sql(withdrawn).scalar_one() == number


def test_verdict_is_not_withdrawn_while_it_is_adjudicated(
    engine: sa.Engine, producer_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, a decision rests on a verdict that is gone when it is committed."""
    given = verdict(jobs[Task.SENTIMENT], verdict="agree", annotator="kim")
    number = add(producer_engine, given)

    with ThreadPoolExecutor(1) as pool:
        with producer_engine.begin() as deciding:
            deciding.execute(
                sa.text(
                    "select textmill.add_feedback(:job, 'a', 'agree',"
                    " annotator => 'max', adjudicates => true)"
                ),
                {"job": jobs[Task.SENTIMENT]},
            )
            withdrawing = pool.submit(withdraw, producer_engine, number, "kim")
            until_blocked(engine, withdrawing)

        with pytest.raises(InputError, match="cannot be withdrawn"):
            withdrawing.result()


def test_hour_ends_also_in_an_open_transaction(
    engine: sa.Engine, producer_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, a transaction that began in time can withdraw at any later time."""
    number = add(producer_engine, verdict(jobs[Task.SENTIMENT], verdict="agree"))

    with producer_engine.connect() as connection:
        connection.exec_driver_sql("select now()")
        with engine.begin() as moving:
            moving.exec_driver_sql(
                "update textmill.feedback set created_at = clock_timestamp() - interval '1 hour'"
            )
        with pytest.raises(sa.exc.IntegrityError, match="cannot be withdrawn"):
            connection.exec_driver_sql(
                f"select textmill.withdraw_feedback({number}, annotator) from textmill.feedback"
            )


def test_producer_hands_over_verdicts_of_others(
    producer_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, nobody can import verdicts that annotators with logins gave elsewhere."""
    given = verdict(jobs[Task.SENTIMENT], verdict="agree", annotator="annotator_login")

    assert add(producer_engine, given) > 0


def test_verdict_says_which_login_gave_it(
    engine: sa.Engine, producer_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, nobody can tell who used an annotator's name."""
    add(producer_engine, verdict(jobs[Task.SENTIMENT], verdict="agree", annotator="kim"))

    with engine.connect() as connection:
        given = connection.execute(sa.text("select annotator, given_by from textmill.feedback"))
        assert list(map(tuple, given)) == [("kim", "producer_login")]


def test_plain_insert_meets_the_same_rules(
    producer_engine: sa.Engine, jobs: dict[Task, JobId]
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


@pytest.mark.parametrize(
    ("column", "value"),
    [("verdict", "'maybe'"), ("labels", "'{neutral}'"), ("annotator", "''"), ("annotator", "null")],
)
def test_refused_verdict_does_not_show_the_text(
    producer_engine: sa.Engine, jobs: dict[Task, JobId], column: str, value: str
) -> None:
    """Without it, a slip at a SQL prompt writes what a user wrote into the log of Postgres."""
    given = {"job_id": f"'{jobs[Task.SENTIMENT]}'", "external_id": "'a'", "verdict": "'agree'"}
    given[column] = value
    columns, values = ", ".join(given), ", ".join(given.values())

    with producer_engine.connect() as connection, pytest.raises(sa.exc.IntegrityError) as raised:
        connection.exec_driver_sql(f"insert into textmill.feedback ({columns}) values ({values})")

    diagnosis = getattr(raised.value.orig, "diag", None)
    assert diagnosis
    assert diagnosis.message_hint
    assert diagnosis.message_detail is None


def test_verdict_that_says_nothing_of_adjudicating_does_not(
    producer_engine: sa.Engine, jobs: dict[Task, JobId]
) -> None:
    """Without it, a program that hands over null for "no" is refused, and shown the text."""
    call = (
        f"select textmill.add_feedback('{jobs[Task.SENTIMENT]}', 'a', 'agree', adjudicates => null)"
    )
    with producer_engine.begin() as connection:
        connection.exec_driver_sql(call)

        assert connection.scalar(sa.text("select adjudicates from textmill.feedback")) is False


def test_add_on_the_command_line(database: DatabaseUrls, jobs: dict[Task, JobId]) -> None:
    """Without it, a person at a terminal needs SQL to disagree."""
    job = jobs[Task.SENTIMENT]

    added = invoke(
        *(database, "feedback", "add", job, "a", "disagree", "--label", "negative"),
        TEXTMILL_SUBMITTER="kim",
    )
    refused = invoke(database, "feedback", "add", job, "b", "disagree", "--label", "great")
    second = invoke(database, "feedback", "add", job, "b", "agree", "--annotator", "lin", "--json")
    exported = invoke(database, "feedback", "export", "sentiment")

    assert (added.exit_code, added.stdout) == (0, "verdict 1 added\n")
    assert json.loads(second.stdout).keys() == {"feedback_id"}
    first_line, _ = exported.stdout.splitlines()
    assert json.loads(first_line)["annotator"] == "kim"
    assert refused.exit_code == 2
    assert "exactly one of" in refused.stderr


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("job_id", "night", "job_id: it must be a job's id"),
        ("external_id", 1.5, "external_id: it must be the id of a document, a string"),
        ("external_id", None, "external_id: it is missing"),
        ("label", "neutral", "label: there is no such field; the fields are job_id"),
    ],
)
def test_malformed_verdict_is_refused_in_words_for_people(
    field: str, value: object, reason: str
) -> None:
    """Without it, reviewers have to understand the messages of our validator."""
    with pytest.raises(InputError, match=reason):
        parse({"job_id": NO_JOB, "external_id": "a", "verdict": "agree", field: value})


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("green tea;+Procter &amp; Gamble; pot", ["green tea", "Procter &amp; Gamble", "pot"]),
        ("a&nbsp;b;c&#8211;d;e&#x2013;f;", ["a&nbsp;b", "c&#8211;d", "e&#x2013;f"]),
        ("R&D;Q&A;&;", ["R&D", "Q&A", "&"]),
    ],
)
def test_keyword_with_an_entity_is_one_keyword(written: str, parts: list[str]) -> None:
    """Without it, results that were judged in a spreadsheet come back with keywords cut in two."""
    assert verdict(JobId(UUID(NO_JOB)), keywords=written).keywords == parts


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
        (
            "'b', 'agree', annotator => 'lead', adjudicates => true",
            "was adjudicated before",
            "feedback_status",
        ),
        ("'a', 'agree', annotator => null", "the annotator has 0 characters", "1 to 200"),
        ("'a', 'agree', annotator => repeat('k', 201)", "has 201 characters", "1 to 200"),
    ],
)
def test_feedback_function_says_what_is_wrong(
    producer_engine: sa.Engine,
    jobs: dict[Task, JobId],
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
