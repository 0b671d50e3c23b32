"""The review page in a real browser, by keyboard; these tests also take the guide's pictures."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from producer.feedback import add, parse
from producer.submit import submit
from schema.documents import Document, JobId, JobOptions, Task
from schema.settings import IntakeSettings
from tests.fixtures.outcomes import TEA, work_off

IMAGES = Path(__file__).parents[2] / "docs/images"
DESK, PHONE = (1280, 800), (390, 844)
PATIENCE = 20
"""Seconds that a page may take on a busy machine."""


class Person:
    """Someone at a keyboard."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.site = url.partition("/start")[0]
        driver.get(url)
        self.wait_for(lambda: driver.current_url == f"{self.site}/")

    def open(self, path: str) -> None:
        """Open a page and wait for its style: the driver may return before it has loaded."""
        self.driver.get(self.site + path)
        state = "return document.readyState"
        self.wait_for(lambda: bool(self.driver.execute_script(state) == "complete"))

    def press(self, *keys: str, until: str | None = None) -> None:
        """Press keys one after another; then wait until the heading is `until`."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)
        if until:
            self.wait_for(lambda: self.heading() == until)

    def heading(self) -> str:
        """The heading of the page."""
        return self.driver.find_element(By.TAG_NAME, "h1").text

    def ticked(self) -> list[str]:
        """The answers that are ticked as right."""
        found = self.driver.find_elements(By.CSS_SELECTOR, ".answer input:checked")
        return [box.get_attribute("value") or "" for box in found]

    def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds` is true, ignoring errors of the driver while the page changes."""
        wait = WebDriverWait(self.driver, PATIENCE, ignored_exceptions=[WebDriverException])
        wait.until(lambda _: holds())

    def complaints(self) -> list[str]:
        """What the browser wrote to its console since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]

    def screen(self, size: tuple[int, int], *, dark: bool = False) -> None:
        """Emulate a screen of another size, in light or dark mode."""
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


@pytest.fixture(scope="module")
def chrome() -> Iterator[webdriver.Chrome]:
    """The system's Chromium, without a window."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no chromium and chromedriver here; on Debian: apt install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in ("--headless=new", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # its sandbox refuses root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as started:
        yield started


@pytest.fixture
def kim(chrome: webdriver.Chrome, start_url: Callable[[str], str]) -> Iterator[Person]:
    """An annotator who has opened the page."""
    person = Person(chrome, start_url("kim"))
    person.screen(DESK)
    yield person
    assert person.complaints() == [], "the browser refused something, or a script failed"


def verdicts(engine: sa.Engine) -> list[tuple[str, str, list[str], str | None]]:
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "select external_id, verdict, answer, comment from textmill.feedback"
                " order by feedback_id"
            )
        )
        return [tuple(row) for row in rows]


@pytest.mark.usefixtures("invented")
def test_moderation_by_keys_alone(kim: Person, engine: sa.Engine) -> None:
    """Without it, a moderator with a thousand posts reaches for the mouse a thousand times."""
    kim.open("/review/moderation")
    kim.press("a", until="post-4712")
    kim.press("6", Keys.ENTER, until="post-4713")
    kim.press("c", "a friendly joke", Keys.ESCAPE, "0", Keys.ENTER, until="post-4714")
    kim.press("u", until="post-4713")
    undone = kim.ticked()
    kim.press("s", until="post-4714")
    kim.press("a", until="That was the last one")
    kim.press("u", until="post-4714")

    assert undone == ["abuse"]
    assert verdicts(engine) == [
        ("post-4711", "agree", ["fraud", "spam"], None),
        ("post-4712", "disagree", ["spam"], None),
    ]


@pytest.mark.usefixtures("invented")
def test_sentiment_by_one_key_each(kim: Person, engine: sa.Engine) -> None:
    """Without it, every label costs two keys."""
    kim.open("/review/sentiment")
    kim.press("2", until="review-18")
    kim.press("1", until="review-20")

    assert verdicts(engine) == [
        ("review-17", "disagree", ["neutral"], None),
        ("review-18", "agree", ["negative"], None),
    ]


@pytest.mark.usefixtures("invented")
def test_keywords_are_unticked_and_added(kim: Person, engine: sa.Engine) -> None:
    """Without it, a keyword that a model missed has to be typed."""
    kim.open("/review/keywords")
    kim.driver.execute_script(
        "const text = document.querySelector('#text');"
        "const found = text.firstChild.data.indexOf('last');"
        "getSelection().setBaseAndExtent(text.firstChild, found, text.firstChild, found + 4)"
    )
    kim.press("4", "k", "; log out", Keys.ENTER, until="ticket-2")

    assert verdicts(engine) == [
        (
            "ticket-1",
            "disagree",
            ["invoice page", "last", "log out", "mobile app", "reset my password"],
            None,
        )
    ]


@pytest.mark.usefixtures("invented")
def test_selection_over_a_line_break_keeps_its_words_apart(kim: Person, engine: sa.Engine) -> None:
    """Without it, a keyword that spans two lines becomes a word that no text contains."""
    kim.open("/review/keywords")
    kim.driver.execute_script(
        "const text = document.querySelector('#text').firstChild;"
        "text.data = text.data.replace('the last', 'the\\nlast');"
        "const found = text.data.indexOf('the');"
        "getSelection().setBaseAndExtent(text, found, text, found + 8)"
    )
    kim.press("k", Keys.ENTER, until="ticket-2")

    ((_, _, answer, _),) = verdicts(engine)
    assert "the last" in answer


def test_selection_has_no_names_of_hidden_characters(
    kim: Person, engine: sa.Engine, producer_engine: sa.Engine, worker_engine: sa.Engine
) -> None:
    """Without it, a keyword that is selected in a text says U+200B, which no text contains."""
    document = Document(external_id="1", text="green tea, a p\u200bot of it")
    job_id = submit(
        *(producer_engine, Task.KEYWORDS, [document], JobOptions()),
        submitter="tester",
        limits=IntakeSettings(),
    ).job_id
    work_off(
        producer_engine,
        worker_engine,
        job_id,
        TEA.model_copy(update={"keywords": TEA.keywords[:1]}),
    )
    kim.open("/review/keywords")
    kim.driver.execute_script(
        "const end = document.querySelector('#text').lastChild;"
        "const before = end.previousSibling.previousSibling;"
        "getSelection().setBaseAndExtent(before, before.data.indexOf('p'), end, 2)"
    )

    kim.press("k", Keys.ENTER, until="That was the last one")

    assert verdicts(engine) == [("1", "disagree", ["green tea", "pot"], None)]


def test_dispute_is_decided_by_taking_an_answer(
    kim: Person, annotator_engine: sa.Engine, engine: sa.Engine, invented: dict[Task, JobId]
) -> None:
    """Without it, people who adjudicate copy answers by hand."""
    job = invented[Task.KEYWORDS]
    for annotator, words in (("lin", ["invoice page", "log out"]), ("max", ["mobile app"])):
        given = {"job_id": job, "external_id": "ticket-1", "verdict": "disagree"}
        add(annotator_engine, parse({**given, "keywords": words, "annotator": annotator}))

    kim.open("/review/keywords?order=disputed")
    kim.driver.find_element(By.CSS_SELECTOR, "[data-takes]").click()
    ticked = kim.ticked()
    kim.press(Keys.ENTER, until="That was the last one")

    assert ticked == ["invoice page"]
    assert verdicts(engine)[-1] == ("ticket-1", "disagree", ["invoice page", "log out"], None)
    with engine.connect() as connection:
        (row,) = connection.execute(sa.text("select state, gold from textmill.feedback_status"))
    assert tuple(row) == ("adjudicated", ["invoice page", "log out"])


def test_hostile_text_does_nothing(
    kim: Person, engine: sa.Engine, invented: dict[Task, JobId]
) -> None:
    """Without it, the author of a post can run a script in the moderator's browser."""
    kim.open(f"/document/{invented[Task.MODERATION]}/4")

    text = kim.driver.find_element(By.ID, "text")
    assert "<script>document.title = 'taken'</script>" in text.text
    assert "U+202Etxt.exeU+202C" in text.text
    assert kim.driver.title.startswith("post-4714")
    assert not text.find_elements(By.CSS_SELECTOR, "script, img")
    kim.press("a", until="That was the last one")
    assert [verdict[0] for verdict in verdicts(engine)] == ["post-4714"]


@pytest.mark.usefixtures("invented")
def test_narrow_screen_needs_no_sideways_scrolling(kim: Person) -> None:
    """Without it, nobody can review on a phone."""
    kim.screen(PHONE)
    for path in ("/", "/review/moderation", "/review/keywords", "/progress/sentiment"):
        kim.open(path)
        wide, shown = kim.driver.execute_script(
            "return [document.documentElement.scrollWidth, innerWidth]"
        )
        assert wide <= shown, path
    kim.open("/review/moderation")
    agree = kim.driver.find_element(By.CSS_SELECTOR, "[data-agrees]")

    assert agree.rect["height"] >= 44
    assert agree.rect["y"] + agree.rect["height"] <= PHONE[1]


CONTRASTS = """
const channels = (color) => {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.fillStyle = color;
  canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
};
const over = (top, below) => top.slice(0, 3).map((c, i) => c * top[3] / 255 + below[i] * (1 - top[3] / 255));
const luminance = (rgb) => rgb.map((c) => c / 255)
  .map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
  .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
const ground = (element) => element
  ? over(channels(getComputedStyle(element).backgroundColor), ground(element.parentElement))
  : [255, 255, 255];
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || element.matches(".unseen, .to-content, option, kbd")) continue;
  const below = ground(element);
  const [a, b] = [luminance(over(channels(getComputedStyle(element).color), below)), luminance(below)];
  const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (contrast < 4.5) found.push(`${element.tagName} ${element.className}: ${contrast.toFixed(2)}`);
}
return found;
"""  # noqa: E501


@pytest.mark.usefixtures("invented")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_can_be_read_and_reached(kim: Person, dark: bool) -> None:  # noqa: FBT001
    """Without it, people with poor eyesight, or without a mouse, are shut out."""
    kim.screen(DESK, dark=dark)
    for path in ("/", "/review/moderation", "/review/keywords", "/progress/sentiment", "/x"):
        kim.open(path)
        assert kim.driver.execute_script(CONTRASTS) == [], path
        unnamed = [
            element.get_attribute("outerHTML")
            for element in kim.driver.find_elements(
                By.CSS_SELECTOR, "a, button:not([aria-hidden]), input:not([type=hidden]), textarea"
            )
            if element.is_displayed() and not element.accessible_name
        ]
        assert unnamed == [], path
    assert len(kim.complaints()) == 1, "more than the page that is not there"


@pytest.mark.usefixtures("invented")
def test_pictures_of_the_guide_can_be_taken_and_are_small(
    kim: Person, pytestconfig: pytest.Config
) -> None:
    """Without it, the pictures cannot be kept up to date; `pytest --rewrite-docs` takes them."""
    taken = {
        "review-moderation": ("/review/moderation", DESK, False),
        "review-keywords": ("/review/keywords", DESK, True),
        "review-phone": ("/review/sentiment", PHONE, False),
        "review-start": ("/", DESK, False),
    }
    for name, (path, size, dark) in taken.items():
        kim.screen(size, dark=dark)
        kim.open(path)
        assert kim.heading()
        if pytestconfig.getoption("--rewrite-docs"):
            IMAGES.mkdir(exist_ok=True)
            kim.driver.save_screenshot(str(IMAGES / f"{name}.png"))
        assert (IMAGES / f"{name}.png").stat().st_size < 150_000
