"""The page of mamp view in a real Chromium: playing, keys, mouse, touch, neighbours; nothing from the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_helpers import SOFTWARE_GL, Visit, chromium

from mamp import Skeleton, get_layout, load
from mamp.synthetic import write_recordings
from mamp.view import page

Open = Callable[..., Visit]
AGAIN = """() => {
  const { clock } = mampView;
  clock.toggle(false), clock.setSpeed(1), clock.setPart(null);
  if (!clock.loop) clock.toggleLoop();
  clock.seek(0);
}"""
READING = {"unit": "cm", "up": "y"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium(*SOFTWARE_GL) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of one recording with neighbours, of three, and of two people of whom joints are missing."""
    folder = tmp_path_factory.mktemp("pages")
    write_recordings(folder / "recordings", variations=2, actions=("walk", "wave", "jump"))
    one, two, three = (load(folder / "recordings" / f"{name}-0.bvh", **READING) for name in ("walk", "wave", "jump"))
    hits = None
    try:
        from mamp.search import Index

        index = Index.create(folder / "moves", window=2.0)
        index.add(folder / "recordings", **READING)
        (folder / "one.html").write_text(page(one, index=index, k=3, reading=READING), encoding="utf-8")
    except ImportError:
        hits = []
        (folder / "one.html").write_text(page(one, hits=hits), encoding="utf-8")
    (folder / "three.html").write_text(page([one, two, three], weights=None), encoding="utf-8")
    (folder / "pair.html").write_text(page(pair(), weights=None), encoding="utf-8")
    return folder


def pair() -> Skeleton:
    """Two people in a layout without feet and thumbs, of whom some joints were not tracked."""
    rng = np.random.default_rng(0)
    pose = rng.uniform(-0.5, 0.5, size=(2, 1, 17, 3)) + np.array([0, 1, 0])
    positions = pose + 0.1 * np.sin(np.arange(60) / 7)[:, None, None] + [[[[0, 0, 0]]], [[[1.5, 0, 0]]]]
    positions[1, :20] = np.nan
    positions[0, 30:, 9] = np.nan
    return Skeleton(positions, "coco17", fps=20, name="pair")


@pytest.fixture(scope="module")
def opened(browser: Any, pages: Path) -> Iterator[dict[str, Visit]]:
    """Pages that tests share, since opening one takes a second."""
    found: dict[str, Visit] = {}
    yield found
    for one in found.values():
        one.close()


@pytest.fixture
def visit(browser: Any, pages: Path, opened: dict[str, Visit]) -> Iterator[Open]:
    """Opens a page, at its start; at the end nobody has complained, and nothing has come from the network."""
    own: list[Visit] = []

    def open_page(name: str = "one", **options: Any) -> Visit:
        if not options and name in opened:
            opened[name].page.evaluate(AGAIN)
            return opened[name]
        found = Visit(browser, **{"reduced_motion": "reduce", **options})
        found.open(pages / f"{name}.html")
        if options:
            own.append(found)
        else:
            opened[name] = found
        return found

    yield open_page
    for one in own:
        one.close()
    for one in [*own, *opened.values()]:
        assert one.complaints == [] and one.from_network == []


def time_of(page: Any) -> float:
    return float(page.evaluate("mampView.clock.time"))


def frame_of(page: Any) -> int:
    return int(page.evaluate("mampView.clock.frame"))


@pytest.mark.parametrize("name", ["one", "pair"])
def test_the_browser_has_the_positions(visit: Open, pages: Path, name: str) -> None:
    page = visit(name).page
    recording = load(pages / "recordings" / "walk-0.bvh", **READING) if name == "one" else pair()
    for body, joints in (("read", recording), ("model", recording.to_layout("ntu25"))):
        found = np.array(page.evaluate(f"Array.from(mampView.recordings[0].{body}.positions)"))
        tracked = np.array(page.evaluate(f"Array.from(mampView.recordings[0].{body}.tracked)"), bool)
        np.testing.assert_array_equal(tracked, joints.tracked.ravel())
        np.testing.assert_allclose(
            found.reshape(-1, 3)[tracked],
            joints.positions.reshape(-1, 3)[tracked],
            atol=1.2e-4 if body == "read" else 5e-4,
        )
    speed = page.evaluate("Array.from(mampView.recordings[0].motion(0))")
    moved = np.linalg.norm(np.diff(recording.positions[0, 3:5], axis=0), axis=-1).mean() * recording.fps
    assert speed[4] == pytest.approx(moved, rel=2e-2)


def test_play_and_pause(visit: Open) -> None:
    shown = visit()
    page = shown.page
    assert time_of(page) == 0 and not page.evaluate("mampView.clock.playing")  # motion is reduced: it waits
    page.click("#play")
    shown.until("mampView.clock.time > 0.3")
    page.keyboard.press("Space")
    stopped = time_of(page)
    page.wait_for_timeout(150)
    assert time_of(page) == stopped and page.text_content("#play-name") == "Play"
    assert page.text_content("#time").endswith(f"frame {frame_of(page)}")
    page.select_option("#speed", "4")
    page.keyboard.press("k")
    shown.until("mampView.clock.time > 3.5")  # and on, from the start, since it loops
    shown.until("mampView.clock.time < 1")


def test_it_plays_at_once_where_motion_is_not_reduced(visit: Open) -> None:
    visit(reduced_motion="no-preference", size={"width": 480, "height": 360}).until("mampView.clock.time > 0.2")


def test_keys(visit: Open) -> None:
    shown = visit()
    page = shown.page
    for keys, frame in (
        (".", 1), (".", 2), (",", 1), ("ArrowRight", 31), ("ArrowLeft", 1), ("ArrowLeft", 0), ("End", 119), (".", 119),
        ("Home", 0), ("5", 60), ("0", 0), ("9", 108), ("Shift+ArrowLeft", 0),
    ):  # fmt: skip
        page.keyboard.press(keys)
        assert frame_of(page) == frame, keys
    page.keyboard.press("ArrowUp")
    assert page.evaluate("mampView.clock.speed") == 2 and page.input_value("#speed") == "2"
    page.keyboard.press("l")
    assert page.get_attribute("#loop", "aria-pressed") == "false"
    page.keyboard.press("3")
    page.keyboard.press("i")
    page.keyboard.press("6")
    page.keyboard.press("o")
    assert page.evaluate("mampView.clock.part.map((t) => Math.round(10 * t))") == [12, 24]
    assert page.is_visible("#part")
    page.keyboard.press("Home")
    page.keyboard.press("l")  # a part that is marked is looped; now it is not, and then it is again
    page.keyboard.press("l")
    page.keyboard.press("4")
    page.keyboard.press("Space")
    shown.until("mampView.clock.time > 2.2")
    shown.until("mampView.clock.time < 1.6")
    assert time_of(page) >= 1.2
    page.keyboard.press("x")
    assert not page.is_visible("#part")
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")


def test_scrub_and_loop_with_the_mouse(visit: Open) -> None:
    page = visit().page
    box = page.locator("[data-row=motion] canvas").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 4, middle)
    page.mouse.down()
    assert time_of(page) == pytest.approx(1, abs=0.02)
    page.mouse.move(box["x"] + box["width"] * 0.75, middle, steps=4)
    page.mouse.up()
    assert time_of(page) == pytest.approx(3, abs=0.02)
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    assert time_of(page) == pytest.approx(3, abs=0.02) and "m/s" in page.text_content("#tip")
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert page.evaluate("mampView.clock.part") == pytest.approx([2, 2.4], abs=0.02)
    assert page.get_attribute("#timeline", "aria-valuetext").startswith("0:03.0")


def test_views_and_what_is_shown(visit: Open) -> None:
    shown = visit()
    page = shown.page
    places = set()
    for key, view in (("v", "front"), ("s", "side"), ("t", "top"), ("r", "free")):
        page.keyboard.press(key)
        assert page.get_attribute(f"[data-view={view}]", "aria-pressed") == "true"
        places.add(tuple(round(one) for one in page.evaluate("mampView.stage.where(0, 6)")))
    assert len(places) == 4
    page.keyboard.press("v")
    left, right = (page.evaluate(f"mampView.stage.where(0, {joint})")[0] for joint in (4, 8))
    assert left > right  # from the front, the person's left is on the right
    for show in ("beside", "read", "model", "over"):
        page.keyboard.press("m")
        assert page.get_attribute(f"[data-show={show}]", "aria-pressed") == "true"
    box = page.locator("#view").bounding_box()
    centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.until("!mampView.stage.dirty")
    before = page.evaluate("mampView.stage.where(0, 6)")
    page.mouse.move(*centre)
    page.mouse.wheel(0, -600)
    page.wait_for_timeout(100)
    shown.until("!mampView.stage.dirty")
    near = page.evaluate("mampView.stage.where(0, 6)")
    assert abs(near[0] - centre[0]) > abs(before[0] - centre[0])  # zoomed in
    page.mouse.down()
    page.mouse.move(centre[0] + 80, centre[1], steps=3)
    page.mouse.up()
    assert page.get_attribute("[data-view=front]", "aria-pressed") == "false"  # orbited


def test_a_joint_is_chosen_by_a_click(visit: Open) -> None:
    page = visit().page
    page.keyboard.press("v")
    page.click("[data-show=model]")
    page.wait_for_timeout(200)
    page.mouse.click(*page.evaluate("mampView.stage.where(0, 6)"))
    assert page.evaluate("mampView.state().chosen") == 6
    page.click("#tab-joints")
    assert page.get_attribute(".joints li:nth-child(7) button", "aria-pressed") == "true"
    page.click("#tab-method")
    caption = "figure:has([data-picture=attention]) figcaption"
    assert "Where wrist_left at this time looks" in page.text_content(caption)
    before = page.evaluate("document.querySelector('[data-picture=attention]').toDataURL()")
    page.keyboard.press("5")
    assert page.evaluate("document.querySelector('[data-picture=attention]').toDataURL()") != before
    assert "without a decoder" in page.text_content("#no-decoder")
    page.locator("[data-picture=mask]").click(position={"x": 3, "y": 3})
    assert page.evaluate("mampView.state().chosen") == 0 and time_of(page) < 0.1


def test_neighbours_follow_the_time_and_a_click(visit: Open) -> None:
    pytest.importorskip("lancedb", reason="needs mamp[search]")
    page = visit().page
    page.click("#tab-neighbours")
    assert "seconds 0.0 to 2.0" in page.text_content("#neighbours")
    page.keyboard.press("9")
    assert "seconds 2.0 to 4.0" in page.text_content("#neighbours")
    first = page.locator(".players button").first
    assert "walk" in first.text_content()
    picture = "document.querySelector('.players canvas').toDataURL()"
    before = page.evaluate(picture)
    page.keyboard.press(",")
    assert page.evaluate(picture) != before  # the small players keep step
    first.click()
    assert page.evaluate("[mampView.stage.actors.length, mampView.state().guest]") == [2, True]
    assert first.get_attribute("aria-pressed") == "true" and page.locator(".name").count() == 2
    guest = page.evaluate("mampView.stage.actors[1].time(mampView.clock.time)")
    assert guest == pytest.approx(time_of(page) - 2)  # in step with the window that it was found for
    first.click()
    assert page.evaluate("mampView.stage.actors.length") == 1
    box = page.locator("[data-row=windows] canvas").bounding_box()
    page.mouse.click(box["x"] + 4, box["y"] + 4)
    page.keyboard.press("9")
    assert "seconds 0.0 to 2.0" in page.text_content("#neighbours")  # the window that was clicked stays
    page.click("#neighbours .small")
    assert "seconds 2.0 to 4.0" in page.text_content("#neighbours")


def test_several_recordings_in_step(visit: Open) -> None:
    page = visit("three").page
    assert page.evaluate("mampView.stage.actors.length") == 3
    page.keyboard.press("5")
    page.wait_for_timeout(100)
    xs = [page.evaluate(f"mampView.stage.where({actor}, 3)")[0] for actor in range(3)]
    assert xs == sorted(xs) and min(np.diff(xs)) > 40
    box = page.locator("#view").bounding_box()
    assert box["x"] < xs[0] and xs[-1] < box["x"] + box["width"]
    page.select_option("#which", "2")
    assert (
        page.evaluate("mampView.state().active") == 2 and "jump" in page.locator("#which option").nth(2).text_content()
    )
    assert "made without weights" in page.text_content("#method")


def test_absent_joints_are_marked(visit: Open) -> None:
    page = visit("pair").page
    assert "12 taken, 5 between, 4 extrapolated, 4 absent" in page.text_content("#joints")
    colours = page.evaluate(
        "[...document.querySelectorAll('.joints .dot')].map((one) => getComputedStyle(one).borderColor)"
    )
    layout = get_layout("ntu25")
    assert len(colours) == 25 and colours[layout.joints.index("thumb_left")] != colours[0]


@pytest.mark.parametrize("size", [(390, 844), (640, 400), (320, 568)])
def test_narrow_screens_and_large_text(visit: Open, size: tuple[int, int]) -> None:
    """A phone, and a laptop at 200 %, which has half its width."""
    page = visit("one", size={"width": size[0], "height": size[1]}, has_touch=True).page
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    for tab in ("joints", "neighbours", "method"):
        page.tap(f"#tab-{tab}")
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], tab
    sizes = (
        "[...document.querySelectorAll('button, p, span, dd')].map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    small = min(page.evaluate(sizes))
    assert small >= 11
    box = page.locator("[data-row=motion] canvas").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + 5)
    assert time_of(page) == pytest.approx(2, abs=0.1)


def test_dark_and_light(visit: Open) -> None:
    back = "getComputedStyle(document.body).backgroundColor"
    for scheme, other in (("light", "dark"), ("dark", "light")):
        page = visit("one", color_scheme=scheme).page
        first = page.evaluate(back)
        page.click("#theme")
        assert page.evaluate(back) != first and page.get_attribute("html", "data-theme") == other
        page.click("#theme")
        assert page.evaluate(back) == first


def test_without_webgl_the_rest_of_the_page_works(browser: Any, pages: Path, tmp_path: Path) -> None:
    text, off = (pages / "one.html").read_text(encoding="utf-8"), "HTMLCanvasElement.prototype.getContext"
    code = (
        f"const get = {off}; {off} = function (kind, o) {{ return kind === '2d' ? get.call(this, kind, o) : null; }};"
    )
    without = f"<script>{{{code}}}</script>"
    (tmp_path / "flat.html").write_text(text.replace("<body>", f"<body>{without}"), encoding="utf-8")
    visit = Visit(browser, reduced_motion="reduce")
    visit.open(tmp_path / "flat.html")
    assert "shows no 3D" in visit.page.text_content("#problem")
    visit.page.keyboard.press("5")
    assert frame_of(visit.page) == 60 and visit.from_network == []
    visit.close()
