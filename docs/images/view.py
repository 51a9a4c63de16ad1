"""Photograph docs/images/view.png and view-phone.png: the page of mamp view, of recordings of the demo.

python docs/images/view.py

Needs playwright and Chromium.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from mamp import load
from mamp.search import Index
from mamp.synthetic import write_recordings
from mamp.view import page

HERE = Path(__file__).parent
READING = {"unit": "cm", "up": "y"}


def photograph(browser: Any, file: Path, picture: str, actions: tuple[str, ...], **options: Any) -> None:
    """Open the page, seek, click on some elements, and save what is to be seen in 128 colours."""
    shown = browser.new_context(reduced_motion="reduce", **options).new_page()
    shown.goto(file.as_uri())
    shown.wait_for_selector("html[data-ready=yes]")
    shown.evaluate("mampView.clock.seek(1.4)")
    for selector in actions:
        shown.click(selector)
    shown.wait_for_timeout(1500)
    image = Image.open(io.BytesIO(shown.screenshot()))
    image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(HERE / picture, optimize=True)


def main() -> None:
    """Write the pictures."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        recordings, file = Path(folder) / "recordings", Path(folder) / "page.html"
        write_recordings(recordings, variations=2)
        index = Index.create(Path(folder) / "moves", window=2.0)
        index.add(recordings, **READING)
        walk = load(recordings / "walk-1.bvh", **READING)
        file.write_text(page(walk, index=index, reading=READING), encoding="utf-8")
        gl = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = playwright.chromium.launch(executable_path=chromium, args=gl)
        first = (".players button >> nth=0",)
        photograph(browser, file, "view.png", first, viewport={"width": 1200, "height": 750})
        phone = {"viewport": {"width": 390, "height": 780}, "color_scheme": "dark"}
        photograph(browser, file, "view-phone.png", ("[data-view=front]",), **phone)
        browser.close()


if __name__ == "__main__":
    main()
