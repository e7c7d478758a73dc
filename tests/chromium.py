"""The system's Chromium, for the tests that look at a page as a person does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
needs_chromium = pytest.mark.skipif(not _CHROMIUM.exists(), reason=f"there is no {_CHROMIUM}")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window; the test is skipped where playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=str(_CHROMIUM), args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def listen(page: Any) -> list[str]:
    """What a page complains about from now on: its console and its errors."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints
