"""The review page, by its answers: who is let in, what is shown, what becomes of a verdict."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from markupsafe import escape

from producer.submit import submit
from schema.documents import Document, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.invented import HOSTILE
from tests.fixtures.outcomes import POSITIVE, work_off
from tests.fixtures.review import Answer, Visit, Visitor

PATHS = ["/", "/review/moderation", "/progress/moderation"]
FORGED: Mapping[str, Any] = {"form_token": "guess"}
POLICY = "default-src 'none'; style-src 'self'; script-src 'self';"


def said(engine: sa.Engine) -> list[tuple[str, str, str, list[str]]]:
    """Every verdict: of which document, by whom, and what."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select external_id, annotator, verdict, answer from textmill.feedback"
                " order by feedback_id"
            )
        )
        return [tuple(row) for row in rows]


@pytest.mark.usefixtures("invented")
def test_only_who_has_the_token_is_let_in(visit: Visit, engine: sa.Engine) -> None:
    """Without it, everyone on the machine reads the texts and judges in another's name."""
    kim = visit("kim")
    page = kim.get("/review/moderation")
    stranger = Visitor(f"http://127.0.0.1:{kim.port}/start?token=guess")

    start = stranger.get(stranger.start)
    answers = [stranger.get(path) for path in PATHS] + [stranger.judge(page)]
    stranger.cookie = f"{kim.cookie[:-1]}~"
    nearly = stranger.get("/")

    assert start.status == nearly.status == 401
    assert "set-cookie" not in start.headers
    assert {answer.status for answer in answers} == {401}
    assert not any("post-4711" in answer.text for answer in answers)
    assert said(engine) == []


def test_cookie_is_kept_from_scripts_and_other_sites(visit: Visit) -> None:
    """Without it, any page that the annotator opens can take the token along."""
    kim = visit("kim")

    cookie = kim.get(kim.start).headers["set-cookie"]

    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert cookie.startswith(f"textmill_review_{kim.port}=")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("[::1]:9000", 200),
        ("evil.example", 421),
        ("evil.example:{port}", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost@evil.example", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_foreign_name_is_refused(visit: Visit, host: str, status: int) -> None:
    """Without it, a name that an attacker lets lead to 127.0.0.1 opens the page to their site."""
    kim = visit("kim")

    assert kim.get("/", Host=host.format(port=kim.port)).status == status


@pytest.mark.usefixtures("invented")
def test_form_of_another_site_is_refused(visit: Visit, engine: sa.Engine) -> None:
    """Without it, a page that the annotator opens elsewhere gives verdicts."""
    kim = visit("kim")
    page = kim.get("/review/moderation")

    answers = [
        kim.judge(page, **FORGED),
        kim.post("/verdict", {"place": page.field("place"), "action": "agree"}),
        kim.post("/undo", {"place": page.field("place"), "feedback_id": 1}),
        kim.post(
            "/verdict", {"form_token": page.field("form_token")}, Origin="http://evil.example"
        ),
        kim.post("/verdict", {"form_token": page.field("form_token")}, Origin="null"),
        kim.post("/verdict", {}, **{"Sec-Fetch-Site": "cross-site"}),
        kim.get("/verdict"),
    ]

    assert [answer.status for answer in answers] == [403] * 6 + [405]
    assert said(engine) == []


@pytest.mark.usefixtures("invented")
def test_every_answer_carries_the_policy(visit: Visit) -> None:
    """Without it, a text that slips through as HTML runs, or the page is framed."""
    kim = visit("kim")
    page = kim.get("/review/moderation")
    stranger = Visitor(f"http://127.0.0.1:{kim.port}/")

    answers = [
        *(kim.get(path) for path in (*PATHS, "/nothing", "/static/review.css")),
        kim.judge(page, **FORGED),
        kim.judge(page),
        stranger.get("/"),
        kim.get("/", Host="evil.example"),
    ]

    for answer in answers:
        assert answer.headers["content-security-policy"].startswith(POLICY)
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "style=" not in answer.text
        assert "<script>" not in answer.text
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")


def test_hostile_text_is_text(visit: Visit, invented: dict[Task, UUID]) -> None:
    """Without it, whoever writes a post gives the verdict on it."""
    kim = visit("kim")

    page = kim.get(f"/document/{invented[Task.MODERATION]}/4")

    assert page.document == "post-4714"
    assert escape(HOSTILE.partition("\n")[0]) in page.text
    assert "<script>document" not in page.text
    assert "<img" not in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\u202e" not in page.text
    assert 'title="RIGHT-TO-LEFT OVERRIDE">U+202E</span>' in page.text


def test_hostile_names_are_text_and_huge_texts_are_cut(
    visit: Visit, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, an id, a name or a megabyte breaks what a text may not."""
    job_id = submit(
        producer_engine,
        Task.SENTIMENT,
        [Document(external_id="<b>\"'&", text="x" * 1_000_000, metadata={"<i>": "<u>"})],
        JobOptions(name="<s>night</s>"),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(producer_engine, worker_engine, job_id, POSITIVE)
    kim = visit("<kim>")

    page = kim.get("/review/sentiment")
    whole = kim.get(f"/document/{job_id}/1?whole=1")
    after = kim.follow(kim.judge(page, comment="<q>"))

    assert page.document == "<b>\"'&"
    assert "980,000 more characters" in page.text
    assert len(page.text) < 60_000
    assert "x" * 1_000_000 in whole.text
    for text in (page.text, whole.text, after.text, kim.get("/progress/sentiment").text):
        assert not {'<b>"', "<i>", "<u>", "<s>", "<kim>", "<q>"} & set(text.split())
        assert "&lt;kim&gt;" in text


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
    kim.judge(keywords, "answer", answer=["invoice page"], more=" log out ；invoice page; ")

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
        ("ticket-1", "kim", "disagree", ["invoice page", "log out"]),
    ]
    with engine.connect() as connection:
        comments = connection.scalars(sa.text("select comment from textmill.feedback")).all()
    assert comments == ["clear", None, None, None, None, None]


@pytest.mark.usefixtures("invented")
def test_refused_verdict_says_why_and_keeps_what_was_typed(visit: Visit, engine: sa.Engine) -> None:
    """Without it, a slip costs the comment, or is thought to be saved."""
    kim = visit("kim")
    keywords = kim.get("/review/keywords")
    moderation = kim.get("/review/moderation")

    none = kim.judge(keywords, "answer", more=" ; ", comment="nothing fits")
    unknown = kim.judge(moderation, "answer", answer=["rude"])
    kim.judge(moderation)
    again = kim.judge(moderation, "answer", answer=["hate"], comment="no, hate")

    assert [none.status, unknown.status, again.status] == [422] * 3
    assert "a disagreement about keywords names the right keywords" in none.text
    assert ">nothing fits</textarea>" in none.text
    assert "Set labels to any (none: clean) of: abuse, hate" in unknown.text
    assert "this annotator judged document" in again.text
    assert ">no, hate</textarea>" in again.text
    assert 'value="hate" checked' in again.text
    assert len(said(engine)) == 1


@pytest.mark.usefixtures("invented")
def test_last_verdict_can_be_undone_and_given_again(visit: Visit, engine: sa.Engine) -> None:
    """Without it, a wrong key is wrong for good."""
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
    visit: Visit, engine: sa.Engine, invented: dict[Task, UUID], annotator_engine: sa.Engine
) -> None:
    """Without it, people take back each other's verdicts, or pull the ground from a decision."""
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
    """Without it, a double click is two verdicts, or a second annotator's is lost."""
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
    """Without it, whoever adjudicates does so blindly, or again and again."""
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
def test_progress_is_everyones(visit: Visit) -> None:
    """Without it, nobody knows what is left, or how far to trust whom."""
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


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/review/translate", 404),
        ("/review/sentiment?order=flagged", 400),
        ("/review/sentiment?order=best", 400),
        ("/review/sentiment?job=7", 400),
        ("/review/sentiment?after=7/x", 400),
        ("/review/sentiment?after=0190f3c2-0000-7000-8000-000000000000/7", 200),
        ("/review/sentiment?job=0190f3c2-0000-7000-8000-000000000000", 200),
        ("/document/0190f3c2-0000-7000-8000-000000000000/7", 404),
        ("/document/0190f3c2-0000-7000-8000-000000000000/99999999999999999999", 404),
        ("/document/x/7", 400),
        ("/static/../app.py", 404),
        ("/static/%2e%2e/app.py", 404),
    ],
)
def test_address_that_leads_nowhere_says_so(visit: Visit, path: str, status: int) -> None:
    """Without it, a mistyped address looks like a fault of the server."""
    assert visit("kim").get(path).status == status


@pytest.mark.usefixtures("invented")
def test_too_large_form_is_refused(visit: Visit, engine: sa.Engine) -> None:
    """Without it, a slip with the clipboard fills the database."""
    kim = visit("kim")
    page = kim.get("/review/moderation")

    assert kim.judge(page, comment="x" * 300_000).status == 413
    assert said(engine) == []
