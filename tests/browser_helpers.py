"""A headless Chromium for pages: Debian's, driven by Playwright; tests that need it are skipped where it is absent."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

DESKTOP = {"width": 1280, "height": 800}
# WebGL on the processor: machines of tests have no graphics card.
SOFTWARE_GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PHONE = {"width": 390, "height": 800}


def find_chromium() -> str | None:
    """The path of a Chromium of the system."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def chromium(*arguments: str) -> Iterator[Any]:
    """A browser of Playwright, one at a time; ``SOFTWARE_GL`` are arguments for pages in 3D."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = find_chromium()
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", *(arguments or ("--disable-gpu",))]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address on loopback at which the files of a folder are served."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


class Visit:
    """A page in a browser: what it asked the network for, and what it complained of.

    Args:
        browser: Of :func:`chromium`.
        size: Of the window.
        options: Of the browser's context, such as ``color_scheme``.
    """

    def __init__(self, browser: Any, size: dict[str, int] | None = None, **options: Any) -> None:
        self.context = browser.new_context(viewport=size or DESKTOP, **options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and "GPU stall" not in text:
            self.complaints.append(text)

    def open(self, path: Path) -> Any:
        """Open a file, and wait until it says that it is ready."""
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready=yes]")
        return self.page

    @property
    def from_network(self) -> list[str]:
        """Requests of anything but the file itself."""
        return [url for url in self.requests if not url.startswith(("file:", "data:"))]

    def until(self, expression: str, seconds: float = 30) -> None:
        """Wait for an expression to be true; Playwright's own waiting uses eval, which a page may forbid."""
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"not within {seconds} s: {expression}"
            self.page.wait_for_timeout(20)

    def close(self) -> None:
        """Close the page."""
        self.context.close()

    def drawn(self, selector: str) -> str:
        """What a canvas shows."""
        text: str = self.page.eval_on_selector(selector, "canvas => canvas.toDataURL()")
        return text
