"""A person's way through the page, in a real browser: from its address to the saved table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pipeline.audit.decisions import Decision, read_decisions
from pipeline.audit.findings import Findings
from pipeline.review.app import make_app
from pipeline.review.pictures import Pictures
from pipeline.review.serving import _listening
from pipeline.review.session import Session

from ...chromium import chromium, listen, needs_chromium

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.slow, needs_chromium]
SCRIPT = "<script>alert(1)</script>"


class Served:
    """A server in a thread of its own, and the address with the token."""

    def __init__(self, session: Session, photos: Path) -> None:
        listener = _listening(0)
        port = listener.getsockname()[1]
        pictures = Pictures(photos, session.suspects.paths)
        app = make_app(session, pictures, title="<b>audit</b>", token="token", port=port)
        self.host = f"http://127.0.0.1:{port}"
        self.url = f"{self.host}/?token=token"
        config = uvicorn.Config(app, lifespan="off", ws="none", log_level="error")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def served(session: Session, photos: Path) -> Iterator[Served]:
    server = Served(session, photos)
    yield server
    server.stop()


@pytest.fixture
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Any) -> Any:
    return browser.new_page(viewport={"width": 1280, "height": 900})


@pytest.fixture
def troubles(page: Any) -> list[str]:
    """What a page complained about, asked of other hosts, or popped up."""
    return listen(page)


@pytest.fixture
def tab(page: Any, served: Served, troubles: list[str]) -> Any:
    """A tab that has opened the address."""

    def asked(request: Any) -> None:
        if not request.url.startswith(served.host):
            troubles.append(f"asked {request.url}")

    def popped(dialog: Any) -> None:
        troubles.append(f"popped up {dialog.message}")
        dialog.dismiss()

    page.set_default_timeout(20_000)
    playwright.expect.set_options(timeout=20_000)
    page.on("request", asked)
    page.on("dialog", popped)
    page.goto(served.url)
    return page


def shows(tab: Any, **texts: str) -> None:
    """Wait until elements have these texts."""
    for name, text in texts.items():
        playwright.expect(tab.locator(f"#{name.replace('_', '-')}")).to_have_text(text)


def presses(tab: Any, *keys: str) -> None:
    for key in keys:
        tab.keyboard.press(key)


def test_a_person_goes_from_the_address_to_the_saved_table(
    tab: Any, served: Served, session: Session, troubles: list[str]
) -> None:
    shows(tab, heading="1 of 5", kind_of="wrong label", given=SCRIPT, title="<b>audit</b>")
    shows(tab, suggested="tea & coffee", file="<img src=x onerror=alert(1)>.png")
    assert tab.url == f"{served.host}/"  # the token is not left in the address
    presses(tab, "k")
    shows(tab, heading="2 of 5", progress_text="1 of 5 decided", status="Saved: keep")
    presses(tab, "r")
    shows(tab, heading="3 of 5", status="Saved: relabel tea")
    presses(tab, "d")
    shows(tab, heading="4 of 5")
    presses(tab, "u")
    shows(tab, heading="3 of 5", status="Undone", verdict="")
    presses(tab, "n")
    tab.keyboard.type("kind of blurred")  # no key of a field decides
    presses(tab, "Enter", "d")
    shows(tab, heading="4 of 5", progress_text="3 of 5 decided")
    presses(tab, "l")
    tab.keyboard.type("tea")
    playwright.expect(tab.locator("#other-list li")).to_have_count(2)
    presses(tab, "ArrowDown", "Enter")
    shows(tab, heading="5 of 5", status="Saved: relabel tea & coffee")
    presses(tab, "ArrowLeft")
    shows(tab, heading="4 of 5", verdict="decided: tea & coffee")
    presses(tab, "ArrowRight")
    tab.get_by_role("button", name="Keep").click()
    shows(tab, progress_text="5 of 5 decided", progress_parts="2 keep, 2 relabel, 1 drop")
    presses(tab, "e")
    shows(tab, status=f"Saved 5 decisions in {session.out}")
    assert read_decisions(session.out) == session.decisions
    assert list(session.decisions.values())[1:4] == [
        Decision("a&b.png", "relabel", "tea"),
        Decision("2.png", "drop", "", "kind of blurred"),
        Decision("3.png", "relabel", "tea & coffee"),
    ]
    tab.reload()
    shows(tab, progress_text="5 of 5 decided", verdict="decided: keep")
    assert troubles == []


def test_filters_and_jumps_lead_to_the_findings_that_are_meant(
    tab: Any, troubles: list[str]
) -> None:
    shows(tab, heading="1 of 5")
    tab.locator("#kind").select_option("out of set")
    shows(tab, heading="1 of 1", given="tea", file="2.png")
    tab.locator("#kind").select_option("all")
    shows(tab, heading="1 of 8")
    presses(tab, "c")
    tab.keyboard.type("<SCR")
    presses(tab, "Enter")
    shows(tab, heading="1 of 2", given=SCRIPT)
    presses(tab, "k")
    shows(tab, heading="2 of 2", file="4.png")
    tab.locator("#state").select_option("undecided")
    shows(tab, heading="1 of 1", file="4.png")
    presses(tab, "g")
    tab.keyboard.type("7.png")
    presses(tab, "Enter")
    shows(tab, heading="8 of 8", kind_of="no suspect", file="7.png")  # its image is gone
    presses(tab, "g")
    tab.keyboard.type("3")
    presses(tab, "Enter")
    shows(tab, heading="3 of 8")
    tab.evaluate("Promise.all([...document.images].map(each => each.decode()))")  # or it fails
    presses(tab, "?")
    playwright.expect(tab.get_by_role("dialog")).to_be_visible()
    presses(tab, "Escape", "g")
    tab.keyboard.type("no such id")
    presses(tab, "Enter")
    playwright.expect(tab.get_by_role("alert")).to_contain_text('No image has "no such id"')
    assert troubles == []


def test_nothing_is_lost_or_shown_as_saved_when_the_program_ends(
    tab: Any, served: Served, session: Session
) -> None:
    shows(tab, heading="1 of 5")
    presses(tab, "k")
    shows(tab, heading="2 of 5")
    served.stop()
    presses(tab, "d")
    playwright.expect(tab.get_by_role("alert")).to_contain_text("dml review has ended")
    shows(tab, heading="2 of 5", progress_text="1 of 5 decided")
    assert len(session.decisions) == 1


def test_of_ten_thousand_suspects_only_those_near_by_are_fetched(
    begin: Callable[..., Session],
    make_findings: Callable[..., Findings],
    photos: Path,
    browser: Any,
) -> None:
    ids = [f"{row}.png" for row in range(10_000)]
    served = Served(begin(make_findings(ids=ids, kinds=["wrong label"] * len(ids))), photos)
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(served.url)
        shows(page, heading="1 of 10,000")
        presses(page, "k", "k", "g")
        page.keyboard.type("9,000")
        presses(page, "Enter")
        shows(page, heading="9,000 of 10,000", progress_text="2 of 10,000 decided")
        assert len([url for url in asked if "/api/findings" in url]) <= 3
        assert len([url for url in asked if "/pictures/" in url]) < 60
        assert page.evaluate("document.querySelectorAll('*').length") < 300
    finally:
        served.stop()


@pytest.mark.parametrize("width", [375, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_window_and_is_reached_by_the_keyboard(
    browser: Any, served: Served, width: int, scheme: str
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(served.url)
    shows(page, heading="1 of 5")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    names = "[...document.querySelectorAll('button')].filter(each => !each.textContent.trim())"
    assert page.evaluate(names) == []
    page.get_by_role("button", name="Drop").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    shows(page, heading="2 of 5")
