"""A headless Chromium for pages: Debian's, driven by Playwright; tests that need it are skipped where it is absent."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 800}


def find_chromium() -> str | None:
    """The path of a Chromium of the system."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = find_chromium()
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Visit:
    """A page in a browser: what it asked the network for, and what it complained of.

    Args:
        browser: Of :func:`chromium`.
        size: Of the window.
        options: Of the browser's context, such as ``color_scheme``.
    """

    def __init__(self, browser: Any, size: dict[str, int] | None = None, **options: Any) -> None:
        self.page = browser.new_context(viewport=size or DESKTOP, **options).new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def open(self, path: Path) -> Any:
        """Open a file, and wait until it says that it is ready."""
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]")
        return self.page

    def drawn(self, selector: str) -> str:
        """What a canvas shows."""
        text: str = self.page.eval_on_selector(selector, "canvas => canvas.toDataURL()")
        return text
