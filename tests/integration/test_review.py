"""What the review page shows, and what becomes of a verdict."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from producer.review.serving import serving
from producer.submit import submit
from schema.database import create_engine
from schema.documents import Document, JobId, JobOptions, Task
from schema.outcomes import Keyword
from schema.settings import IntakeSettings
from tests.fixtures.outcomes import TEA, work_off
from tests.fixtures.postgres import DatabaseUrls
from tests.fixtures.proxy import Proxy
from tests.fixtures.review import Answer, Visit, Visitor, said


@pytest.mark.usefixtures("invented")
def test_verdicts_of_every_task_are_stored_and_lead_on(visit: Visit, engine: sa.Engine) -> None:
    """Without it, an evening's work trains nothing."""
    kim = visit("kim")

    page = kim.get("/review/moderation")
    second = kim.follow(kim.judge(page, comment="clear"))
    third = kim.follow(kim.judge(second, "answer", answer=["spam"]))
    fourth = kim.follow(kim.judge(third, "answer", answer=["abuse"]))
    kim.judge(fourth, "answer")
    sentiment = kim.get("/review/sentiment")
    kim.judge(sentiment, "answer", answer=["neutral"])
    keywords = kim.get("/review/keywords")
    kim.judge(keywords, "answer", answer=["invoice page"], more=" log out ；invoice page; R&amp;D ")

    assert [page.document, second.document, third.document, fourth.document] == [
        "post-4711",
        "post-4712",
        "post-4713",
        "post-4714",
    ]
    assert said(engine) == [
        ("post-4711", "kim", "agree", ["fraud", "spam"]),
        ("post-4712", "kim", "disagree", ["spam"]),
        ("post-4713", "kim", "agree", ["abuse"]),
        ("post-4714", "kim", "disagree", []),
        ("review-17", "kim", "disagree", ["neutral"]),
        ("ticket-1", "kim", "disagree", ["R&amp;D", "invoice page", "log out"]),
    ]
    with engine.connect() as connection:
        comments = connection.scalars(sa.text("select comment from textmill.feedback")).all()
    assert comments == ["clear", None, None, None, None, None]


def test_generated_keyword_is_marked(
    visit: Visit, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, an annotator looks for it in the text, or unticks it as wrongly found."""
    made = Keyword(text="hot drinks", score=0.25, generated=True)
    result = TEA.model_copy(update={"keywords": [*TEA.keywords, made]})
    document = Document(external_id="1", text="green tea, a pot")
    job = submit(
        producer_engine,
        Task.KEYWORDS,
        [document],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(producer_engine, worker_engine, job, result)

    page = visit("kim").get("/review/keywords").text

    assert "found ones, then generated ones (+), each best first" in page
    assert re.findall(r">\+</span><bdi>(.*?)</bdi>", page) == ["hot drinks"]


def test_keyword_of_two_lines_is_the_same_when_it_is_sent_back(
    visit: Visit, engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a model that is right is called wrong wherever a keyword spans two lines."""
    job = submit(
        producer_engine,
        Task.KEYWORDS,
        [Document(external_id=name, text="green\ntea, a pot") for name in ("1", "2")],
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    keywords = [
        Keyword(text="green\ntea", score=0.75, spans=[(0, 9)]),
        Keyword(text="pot", score=0.5, spans=[(13, 16)]),
    ]
    work_off(producer_engine, worker_engine, job, TEA.model_copy(update={"keywords": keywords}))
    kim, lin = visit("kim"), visit("lin")

    page = kim.get("/review/keywords")
    ticked = re.findall(r'name="answer" value="([^"]*)" checked', page.text)
    as_browsers_send_it = [re.sub(r"\r?\n", "\r\n", value) for value in ticked]
    again = kim.follow(kim.judge(page, "answer", answer=as_browsers_send_it))
    kim.judge(again, "answer", answer=as_browsers_send_it[:1])
    lin.judge(lin.get("/review/keywords?second=1"))

    assert said(engine) == [
        ("1", "kim", "agree", ["green tea", "pot"]),
        ("2", "kim", "disagree", ["green tea"]),
        ("1", "lin", "agree", ["green tea", "pot"]),
    ]


@pytest.mark.usefixtures("invented")
def test_refused_verdict_says_why_and_keeps_what_was_typed(visit: Visit, engine: sa.Engine) -> None:
    """Without it, a mistake loses the comment, or a refused verdict seems to be saved."""
    kim = visit("kim")
    keywords = kim.get("/review/keywords")
    moderation = kim.get("/review/moderation")

    none = kim.judge(keywords, "answer", more=" ; ", comment="nothing fits")
    unknown = kim.judge(moderation, "answer", answer=["rude"])
    kim.judge(moderation)
    again = kim.judge(moderation, "answer", answer=["hate"], comment="no, hate")

    assert [none.status, unknown.status, again.status] == [422] * 3
    assert "names the right keywords; name one or more of them" in none.text
    assert ">nothing fits</textarea>" in none.text
    assert "name any of: abuse, hate" in unknown.text
    assert "kim judged document &#34;post-4711&#34; before" in again.text
    assert ">no, hate</textarea>" in again.text
    assert 'value="hate" checked' in again.text
    assert len(said(engine)) == 1


@pytest.mark.usefixtures("invented")
def test_last_verdict_can_be_undone_and_given_again(visit: Visit, engine: sa.Engine) -> None:
    """Without it, a verdict given with a wrong key stays for good."""
    kim, lin = visit("kim"), visit("lin")
    first = kim.get("/review/moderation")
    second = kim.follow(kim.judge(first))
    third = kim.follow(kim.judge(second))

    back = kim.follow(kim.undo(third))
    back_twice = kim.follow(kim.undo(back))
    stolen = lin.undo(third._replace(text=third.text.replace(kim.cookie, lin.cookie)))
    again = kim.undo(third)
    kim.judge(back_twice, "answer", answer=["fraud"])

    assert (back.document, back_twice.document) == (second.document, first.document)
    assert 'class="last"' not in back_twice.text
    assert stolen.status == 403
    assert again.status == 400
    assert "cannot be withdrawn" in again.text
    assert said(engine) == [("post-4711", "kim", "disagree", ["fraud"])]


def test_verdict_of_another_or_an_adjudicated_one_stays(
    visit: Visit, engine: sa.Engine, invented: dict[Task, JobId], annotator_engine: sa.Engine
) -> None:
    """Without it, people withdraw each other's verdicts, or one that a decision rests on."""
    kim = visit("kim")
    kim.judge(kim.get("/review/moderation"))
    page = kim.get("/review/moderation")
    withdraw = sa.text("select textmill.withdraw_feedback(:id, :annotator)")
    with annotator_engine.begin() as connection:
        number = connection.scalar(sa.text("select feedback_id from textmill.feedback"))
        with pytest.raises(sa.exc.IntegrityError, match="cannot be withdrawn"):
            connection.execute(withdraw, {"id": number, "annotator": "lin"})
    with annotator_engine.begin() as connection:
        connection.exec_driver_sql(
            f"select textmill.add_feedback('{invented[Task.MODERATION]}', 'post-4711', 'agree',"
            " annotator => 'max', adjudicates => true)"
        )

    refused = kim.undo(page)

    assert refused.status == 400
    assert 'class="last"' not in kim.get("/review/moderation").text
    assert len(said(engine)) == 2


@pytest.mark.usefixtures("invented")
def test_old_verdict_stays(visit: Visit, engine: sa.Engine) -> None:
    """Without it, gold that was trained on disappears."""
    kim = visit("kim")
    kim.judge(kim.get("/review/moderation"))
    page = kim.get("/review/moderation")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "update textmill.feedback set created_at = now() - interval '61 minutes'"
        )

    assert kim.undo(page).status == 400
    assert 'class="last"' not in kim.get("/review/moderation").text
    assert len(said(engine)) == 1


@pytest.mark.usefixtures("invented")
def test_annotators_at_once_each_count_once(visit: Visit, engine: sa.Engine) -> None:
    """Without it, a double click gives two verdicts, or a second annotator's verdict is lost."""
    visitors = [visit("kim"), visit("lin")]
    pages = [visitor.get("/review/moderation") for visitor in visitors]

    def judge(who: int) -> Answer:
        return visitors[who].judge(pages[who], "answer", answer=[("spam", "fraud")[who]])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(judge, [0, 1] * 4))

    assert sorted(answer.status for answer in answers) == [303] * 2 + [422] * 6
    assert sorted(said(engine)) == [
        ("post-4711", "kim", "disagree", ["spam"]),
        ("post-4711", "lin", "disagree", ["fraud"]),
    ]


@pytest.mark.usefixtures("invented")
def test_dispute_is_shown_with_what_was_said_and_decided(visit: Visit, engine: sa.Engine) -> None:
    """Without it, people adjudicate blindly, or decide the same dispute again and again."""
    kim, lin, lead = visit("kim"), visit("lin"), visit("lead")
    page = kim.get("/review/moderation")
    kim.judge(page, "answer", answer=["fraud"], comment="no spam")
    lin.judge(lin.get("/review/moderation?second=1"))

    dispute = lead.get("/review/moderation?order=disputed")
    blind = lead.get("/review/moderation?second=1")
    after = lead.follow(lead.judge(dispute, "answer", answer=["fraud"]))

    assert dispute.document == blind.document == "post-4711"
    assert "no spam" in dispute.text
    assert "no spam" not in blind.text
    assert "That was the last one" in after.text
    assert "Nothing left here" in lead.get("/review/moderation?order=disputed").text
    with engine.connect() as connection:
        (row,) = connection.execute(sa.text("select state, gold from textmill.feedback_status"))
    assert tuple(row) == ("adjudicated", ["fraud"])


@pytest.mark.usefixtures("invented")
def test_undone_verdict_is_given_again_as_what_it_was(visit: Visit, engine: sa.Engine) -> None:
    """Without it, a verdict undone among disputes decides for all, or a decision counts as one."""
    kim, lin = visit("kim"), visit("lin")
    kim.judge(kim.get("/review/moderation"), "answer", answer=["fraud"])
    lin.judge(lin.get("/review/moderation?second=1"))
    lin.judge(lin.get("/review/moderation"))

    undone = lin.follow(lin.undo(lin.get("/review/moderation?order=disputed")))
    lin.judge(undone)
    lin.judge(lin.get("/review/moderation?order=disputed"))
    decision = lin.follow(lin.undo(lin.get("/review/moderation?order=uncertain")))
    lin.judge(decision)

    assert (undone.document, decision.document) == ("post-4712", "post-4711")
    assert ("You decide" in undone.text, "You decide" in decision.text) == (False, True)
    with engine.connect() as connection:
        given = connection.execute(
            sa.text(
                "select external_id, annotator, adjudicates from textmill.feedback"
                " order by feedback_id"
            )
        )
        assert [tuple(row) for row in given] == [
            ("post-4711", "kim", False),
            ("post-4711", "lin", False),
            ("post-4712", "lin", False),
            ("post-4711", "lin", True),
        ]


@pytest.mark.parametrize(
    "statement",
    [
        "update textmill.document set text = null, metadata = null",  # as an erasure does
        "delete from textmill.document",
    ],
)
def test_document_without_a_text_is_passed_over(
    visit: Visit, engine: sa.Engine, invented: dict[Task, JobId], statement: str
) -> None:
    """Without it, everyone skips what nobody can judge, or the page says that all is judged."""
    job = invented[Task.MODERATION]
    with engine.begin() as connection:
        connection.execute(
            sa.text(f"{statement} where job_id = :job_id and seq in (1, 3)"), {"job_id": job}
        )
    kim = visit("kim")

    first = kim.get("/review/moderation")
    second = kim.follow(kim.judge(first))
    without = kim.get(f"/document/{job}/1")
    refused = kim.judge(without)

    assert (first.document, second.document) == ("post-4712", "post-4714")
    assert "cannot be judged any more" in without.text
    assert refused.status == 422
    assert said(engine) == [("post-4712", "kim", "agree", ["fraud", "spam"])]


def test_verdict_on_a_dropped_document_is_not_given_on_another(
    visit: Visit, engine: sa.Engine, invented: dict[Task, JobId]
) -> None:
    """Without it, a document that has the number of a dropped one gets its verdict."""
    job = invented[Task.MODERATION]
    with engine.begin() as connection:
        for statement in (
            "delete from textmill.document where job_id = :job_id and seq = 1",
            "update textmill.document set external_id = '1' where job_id = :job_id and seq = 2",
        ):
            connection.execute(sa.text(statement), {"job_id": job})
    kim = visit("kim")

    refused = kim.judge(kim.get(f"/document/{job}/1"))

    assert refused.status == 422
    assert "cannot be judged any more" in refused.text
    assert said(engine) == []


@pytest.mark.usefixtures("invented")
def test_progress_is_everyones(visit: Visit) -> None:
    """Without it, nobody knows what is left, or how far to trust each annotator."""
    kim, lin = visit("kim"), visit("lin")
    page = kim.get("/review/sentiment")
    for _ in range(2):
        page = kim.follow(kim.judge(page))
    lin.judge(lin.get("/review/sentiment?second=1"), "answer", answer=["neutral"])

    mine = kim.get("/review/sentiment").text
    everyone = kim.get("/progress/sentiment").text

    assert "<dt>by you</dt><dd>2</dd>" in mine
    assert "<dt>left</dt><dd>2</dd>" in mine
    assert "<dt>agreed</dt><dd>100%</dd>" in mine
    assert "<bdi>kim</bdi> (you)" in everyone
    assert "<bdi>kim</bdi> and <bdi>lin</bdi>" in everyone


def test_absent_database_is_named_and_may_come_back(database: DatabaseUrls) -> None:
    """Without it, a restart of Postgres shows a blank page, or ends the review."""
    with Proxy(sa.make_url(database.annotator).port or 0) as proxy:
        engine = create_engine(database.through(proxy).annotator, application="tests")
        with serving(engine, "kim", "127.0.0.1", 0) as site:
            kim = Visitor(site.url).enter()
            proxy.stop()
            gone = kim.get("/review/sentiment")
            proxy.start()
            back = kim.get("/review/sentiment")
        engine.dispose()

    assert (gone.status, back.status) == (503, 200)
    assert "does not answer" in gone.text
    assert "annotator_login@" in gone.text
