"""Pages of ``mamp view`` in a Chromium without a window: sizes, time to open, and time of a frame.

    python benchmarks/view.py [--frames 10000] [--people 1] [--seconds 10] [--weights openmocap] [--neighbours 6]

Needs playwright and Chromium. Prints JSON: bytes of the page and of its data, seconds to write and to open it, and
milliseconds of a frame while it plays (median and 95th percentile): ``script`` is what the page computes for a frame,
with the calls that draw it; ``between`` is the time from one frame to the next. WebGL is drawn by the processor here,
so that ``between`` is that of a machine without a graphics card.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from mamp import Skeleton, load
from mamp.synthetic import synthesize, write_recordings
from mamp.view import page
from mamp.view.template import asset

GL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def spread(milliseconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile."""
    return {
        "median": round(float(np.median(milliseconds)), 2),
        "p95": round(float(np.quantile(milliseconds, 0.95)), 2),
        "frames": len(milliseconds),
    }


def walking(folder: Path, frames: int, people: int) -> Skeleton:
    """People who walk beside each other."""
    (folder / "walk.bvh").write_text(synthesize("walk", seconds=frames / 30))
    one = load(folder / "walk.bvh", unit="cm", up="y")
    aside = np.zeros((people, 1, 1, 3), np.float32)
    aside[:, 0, 0, 0] = np.arange(people)
    return one.replace(positions=one.positions + aside)


def indexed(folder: Path) -> Any:
    """An index of synthetic recordings."""
    from mamp.search import Index

    write_recordings(folder / "recordings", variations=2)
    index = Index.create(folder / "moves", window=4.0)
    index.add(folder / "recordings", unit="cm", up="y")
    return index


def play(browser: Browser, file: Path, seconds: float) -> dict[str, Any]:
    """Open a page, and play it for some seconds."""
    shown = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce").new_page()
    began = time.perf_counter()
    shown.goto(file.as_uri())
    while not shown.evaluate("document.documentElement.dataset.ready === 'yes'"):
        shown.wait_for_timeout(10)
    opened = time.perf_counter() - began
    shown.wait_for_timeout(1000)
    shown.evaluate("mampView.times.script.length = mampView.times.between.length = 0, mampView.clock.toggle(true)")
    shown.wait_for_timeout(1000 * seconds)
    times = shown.evaluate("mampView.times")
    return {"open_s": round(opened, 2), **{name: spread(values) for name, values in times.items()}}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--people", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--weights", default="openmocap")
    parser.add_argument("--neighbours", type=int, default=6)
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        recording = walking(Path(folder), args.frames, args.people)
        weights = None if args.weights == "none" else args.weights
        index = indexed(Path(folder)) if args.neighbours else None
        began = time.perf_counter()
        text = page(recording, weights=weights, index=index, k=args.neighbours or 1, reading={"unit": "cm", "up": "y"})
        written = time.perf_counter() - began
        (Path(folder) / "page.html").write_text(text, encoding="utf-8")
        script = sum(len(asset(name).encode()) for name in ("viewer.js", "viewer.css", "page.html"))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", *GL])
        found = {
            "frames": recording.num_frames,
            "people": recording.num_people,
            "bytes": len(text.encode()),
            "script_bytes": script,
            "data_bytes": len(text.encode()) - script,
            "write_s": round(written, 1),
            **play(browser, Path(folder) / "page.html", args.seconds),
            "chromium": browser.version,
        }
        browser.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
