"""Whom the review page lets in, and that hostile texts have no effect on it."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from markupsafe import escape

from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.outcomes import Keyword
from schema.settings import IntakeSettings
from tests.fixtures.invented import HOSTILE
from tests.fixtures.outcomes import POSITIVE, TEA, work_off
from tests.fixtures.review import Visit, Visitor, said

PATHS = ["/", "/review/moderation", "/progress/moderation"]
FORGED: Mapping[str, Any] = {"form_token": "guess"}
POLICY = "default-src 'none'; style-src 'self'; script-src 'self';"


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
    """Without it, any page that the annotator opens can steal the token."""
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
    """Without it, an attacker's site reads the page by a name that resolves to 127.0.0.1."""
    kim = visit("kim")

    assert kim.get("/", Host=host.format(port=kim.port)).status == status


@pytest.mark.usefixtures("invented")
def test_form_of_another_site_is_refused(visit: Visit, engine: sa.Engine) -> None:
    """Without it, another site that the annotator opens can give verdicts."""
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
        kim.post("/verdict", {"form_token": page.field("form_token")}, Origin="http://[::1"),
        kim.post("/verdict", {}, **{"Sec-Fetch-Site": "cross-site"}),
        kim.get("/verdict"),
    ]

    assert [answer.status for answer in answers] == [403] * 7 + [405]
    assert said(engine) == []


@pytest.mark.usefixtures("invented")
def test_every_answer_carries_the_policy(visit: Visit) -> None:
    """Without it, a text that slips through as HTML can run, or another site can frame the page."""
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


def test_hostile_text_is_text(visit: Visit, invented: dict[Task, JobId]) -> None:
    """Without it, the author of a post can give the verdict on it."""
    kim = visit("kim")

    page = kim.get(f"/document/{invented[Task.MODERATION]}/4")

    assert page.document == "post-4714"
    assert escape(HOSTILE.partition("\n")[0]) in page.text
    assert "<script>document" not in page.text
    assert "<img" not in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\u202e" not in page.text
    assert 'title="RIGHT-TO-LEFT OVERRIDE">U+202E</span>' in page.text


def test_keyword_shows_its_hidden_characters(
    visit: Visit, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, an annotator cannot see that a keyword is disguised, or reads it reversed."""
    text = "green tea, a p\u200bo\u202et"
    found = Keyword(text="p\u200bo\u202et", score=0.5, spans=[(13, 18)])
    result = TEA.model_copy(update={"keywords": [*TEA.keywords[:1], found]})
    job_id = submit(
        *(producer_engine, Task.KEYWORDS, [Document(external_id="a\u202eb", text=text)]),
        JobOptions(),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(producer_engine, worker_engine, job_id, result)

    page = visit("kim").get("/review/keywords").text

    shown = re.sub(r"<(?!bdi|/bdi)[^>]*>", "", page)
    assert "<bdi>aU+202Eb</bdi>" in shown
    assert "<bdi>pU+200BoU+202Et</bdi>" in shown


def test_hostile_names_are_text_and_huge_texts_are_cut(
    visit: Visit, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a hostile id or name, or a text of a megabyte, breaks the page."""
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
        ("/document/0190f3c2-0000-7000-8000-000000000000/99999999999999999999", 400),
        (f"/document/0190f3c2-0000-7000-8000-000000000000/{'9' * 18}", 404),
        (f"/document/0190f3c2-0000-7000-8000-000000000000/{'9' * 4500}", 400),
        (f"/review/sentiment?after=0190f3c2-0000-7000-8000-000000000000/{'9' * 19}", 400),
        ("/document/x/7", 400),
        ("/static/../app.py", 404),
        ("/static/%2e%2e/app.py", 404),
    ],
)
def test_address_that_leads_nowhere_says_so(visit: Visit, path: str, status: int) -> None:
    """Without it, a mistyped address looks like a fault of the server."""
    assert visit("kim").get(path).status == status


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize("digits", [19, 5000])
def test_verdict_of_no_number_cannot_be_undone(visit: Visit, digits: int) -> None:
    """Without it, a forged form looks like a fault of the server."""
    kim = visit("kim")
    page = kim.get("/review/moderation")
    form = {name: page.field(name) for name in ("form_token", "task", "order", "place")}

    assert kim.post("/undo", {**form, "feedback_id": "9" * digits}).status == 400


@pytest.mark.usefixtures("invented")
def test_comment_has_a_limit_that_browsers_count_alike(visit: Visit, engine: sa.Engine) -> None:
    """Without it, pasted text fills the database, or a comment that a browser accepted is lost."""
    kim = visit("kim")
    page = kim.get("/review/moderation")

    refused = kim.judge(page, comment="x" * 2001)

    assert 'maxlength="2000"' in page.text
    assert (refused.status, "at most 2,000 characters" in refused.text) == (400, True)
    assert said(engine) == []
    assert kim.judge(page, comment="x\r\n" * 999 + "xx").status == 303


@pytest.mark.usefixtures("invented")
def test_too_large_form_is_refused(visit: Visit, engine: sa.Engine) -> None:
    """Without it, an accidental paste fills the database."""
    kim = visit("kim")
    page = kim.get("/review/moderation")

    assert kim.judge(page, comment="x" * 300_000).status == 413
    assert said(engine) == []
