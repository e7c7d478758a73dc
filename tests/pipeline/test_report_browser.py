"""A report's page in a real browser: narrow and wide, light and dark, on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cache import FeatureStore
from pipeline.choices.settings import Settings
from pipeline.output.report_page import save_report
from pipeline.report import report
from pipeline.reporting.sources import open_sources
from pipeline.train import train

from ..chromium import chromium, listen, needs_chromium

pytestmark = [pytest.mark.slow, needs_chromium]
_TEXT = "getComputedStyle(document.querySelector('svg text')).fill"
_OVERLAPS = """() => [...document.querySelectorAll('svg')].filter(
    each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1).length"""


@pytest.fixture(scope="module")
def page(store: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    settings = Settings(loss="prism", noise="symmetric:0.3", dim=8, epochs=2)
    run = train(store, settings, folder / "run", device="cpu")
    file = folder / "report.html"
    save_report(report(open_sources([run.path]), device="cpu"), file, command="dml report")
    return file


@pytest.mark.parametrize("width", [360, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_its_window_and_asks_nobody(page: Path, width: int, scheme: str):
    with chromium() as browser:
        window = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        complaints = listen(window)
        requests: list[str] = []
        window.on("request", lambda request: requests.append(request.url))
        window.goto(page.as_uri())
        found: Any = window.evaluate(
            f"[document.documentElement.scrollWidth, {_TEXT}, "
            "[...document.images].every(each => each.naturalWidth > 0)]"
        )
        overlaps = window.evaluate(_OVERLAPS)
        paper = window.pdf() if (width, scheme) == (1400, "dark") else b"%PDF"
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()]
    ink = {"light": "rgb(27, 31, 36)", "dark": "rgb(232, 234, 237)"}[scheme]
    assert found == [width, ink, True]
    assert overlaps == 0
    assert paper.startswith(b"%PDF")
