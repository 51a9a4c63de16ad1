"""The demonstration in examples/app: what its buttons do, and the whole of it in a browser."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_helpers import PHONE, Visit, chromium

for needed in ("gradio", "lancedb", "matplotlib"):
    pytest.importorskip(needed, reason="needs mamp[app]: make setup-all", exc_type=ImportError)

pytestmark = pytest.mark.filterwarnings("ignore")  # Gradio and what it brings

APP = Path(__file__).resolve().parents[1] / "examples" / "app" / "app.py"


@pytest.fixture(scope="module")
def app() -> Any:
    specification = importlib.util.spec_from_file_location("app", APP)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules["app"] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo(app: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = tmp_path_factory.mktemp("app")
    archive = app.Archive.open(place / "data", variations=1)
    again = app.Archive.open(place / "data", variations=1)
    assert len(archive.samples) == 9 and len(again.index) == len(archive.index) == 27  # nothing is indexed twice
    return app.Demo(archive, place)


def test_look(app: Any, demo: Any) -> None:
    frame, rows, drawn, about = demo.look(str(demo.archive.samples["run-0.bvh"]))
    assert frame.startswith("<iframe") and "srcdoc=" in frame and "<script" not in frame  # all of it is escaped
    assert len(rows) == 5 and "run-0.bvh" not in [row[0] for row in rows]  # it is no neighbour of itself
    assert Path(drawn).read_bytes()[:4] == b"GIF8"
    assert "**run-0.bvh**: 1 person, 120 frames, 30 frames/s, 4.0 s" in about


def test_label(app: Any, demo: Any) -> None:
    path = str(demo.archive.samples["walk-0.bvh"])
    shares, rows, said = demo.label(path, app.UPLOAD, "walking", "wave-0.bvh", "waving", "bow-0.bvh", " ")
    assert shares["walking"] > 0.5 and len(rows) == 9 and "Learnt from 2 examples of walking, waving" in said
    assert dict(row[:2] for row in rows)["wave-0.bvh"] == "waving"
    shares, _, said = demo.label(None, "wave-0.bvh", "a *b*")
    assert shares is None and "above" not in said


def test_what_visitors_do_wrong(app: Any, demo: Any, tmp_path: Path) -> None:
    import gradio

    (tmp_path / "x.bvh").write_text("<b>nothing</b>")
    for path, message in ((None, "Drop a recording"), (tmp_path / "x.bvh", "x.bvh"), (tmp_path / "y.bvh", "y.bvh")):
        with pytest.raises(gradio.Error, match=message) as caught:
            demo.look(path)
        assert "<b>" not in str(caught.value)
    with pytest.raises(gradio.Error, match="at least one example"):
        demo.label(None, "walk-0.bvh", "", None, "x")
    with pytest.raises(gradio.Error, match="unknown"):
        demo.label(None, "walk-0.bvh", "unknown")
    assert app._plain("a_b*<i>") == r"a\_b\*&lt;i&gt;"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (tmp_path / "log").open("w")
    command = [sys.executable, str(APP), "--port", str(port), "--data", str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(600):
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
        log.close()


@pytest.mark.slow
def test_app_in_a_browser(served: str, tmp_path: Path) -> None:
    upload = tmp_path / "data" / "recordings" / "jump-3.bvh"
    with chromium() as browser:
        for size, options in ((None, {}), (PHONE, {"has_touch": True, "is_mobile": True, "color_scheme": "dark"})):
            visit = Visit(browser, size, **options)
            page = visit.page
            page.set_default_timeout(120_000)
            page.goto(served)
            page.click("#samples >> text=kick-0.bvh")
            frame = page.frame_locator("#player iframe")
            frame.locator("canvas").first.wait_for()
            page.wait_for_selector("#about >> text=kick-0.bvh")
            assert "kick" in page.inner_text("#nearest")
            before = page.locator("#player").screenshot()
            page.wait_for_timeout(700)
            assert page.locator("#player").screenshot() != before  # it plays
            page.set_input_files("#upload input[type=file]", str(upload))
            page.wait_for_selector("#about >> text=jump-3.bvh")
            page.click("role=tab[name=Label]")
            page.click("#learn")
            page.wait_for_selector("#said >> text=Learnt from 3 examples of squat, walk, wave")
            assert "walk" in page.inner_text("#labels")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            outside = [url for url in visit.requests if not url.startswith((served, "data:", "blob:", "about:"))]
            assert outside == []
            known = ("GL Driver Message", "Method not implemented.")  # of a screenshot, and of Gradio at an upload
            assert [text for text in visit.complaints if not any(one in text for one in known)] == []
