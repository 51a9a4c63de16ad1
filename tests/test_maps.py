"""Maps of embeddings: ``mamp map``."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser_helpers import PHONE, Visit, chromium

from mamp import Skeleton, load
from mamp.cli import main
from mamp.errors import ConfigError, DataError, MissingExtraError
from mamp.synthetic import write_recordings
from mamp.view.clips import Clip, Finder
from mamp.view.maps import draw_map
from mamp.view.points import Part, Points, read_labels, read_points
from mamp.view.project import choose_method, project


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings, and made-up embeddings of them: those of one action are alike."""
    place = tmp_path_factory.mktemp("map")
    paths = write_recordings(place / "moves", 4, 1.0, actions=["walk", "wave", "bow"])
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(3, 16)), 4, axis=0)
    rows = (centres + 0.1 * rng.normal(size=centres.shape)).astype(np.float32)
    names = [f"moves/{path.name}" for path in paths]
    np.savez(place / "moves.npz", embeddings=rows, files=names, weights="openmocap", fingerprint="0", pool="clip")
    return place


@pytest.fixture
def points(folder: Path) -> Points:
    return read_points(folder / "moves.npz").grouped()


def unpacked(page: Path) -> tuple[dict[str, Any], bytes]:
    text = page.read_text(encoding="utf-8")
    parts = {}
    for name in ("data", "clips"):
        (found,) = re.findall(rf'id="{name}">([^<]*)<', text)
        parts[name] = gzip.decompress(base64.b64decode(found))
    return json.loads(parts["data"]), parts["clips"]


@pytest.mark.parametrize("method", ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)])
def test_like_is_near_like(points: Points, method: str) -> None:
    if method != "pca":
        pytest.importorskip({"tsne": "sklearn", "umap": "umap"}[method])
    place = project(points.vectors, method)
    assert place.shape == (12, 2) and np.abs(place).max() == pytest.approx(1)
    far = np.linalg.norm(place[:, None] - place, axis=-1)
    np.fill_diagonal(far, np.inf)
    assert (far.argmin(1) // 4 == np.arange(12) // 4).all()
    np.testing.assert_array_equal(place, project(points.vectors, method))


def test_few_points_and_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2, 4):
        assert project(np.eye(count, 8, dtype=np.float32), "umap").shape == (count, 2)
    assert not project(np.ones((1, 8), np.float32)).any()
    monkeypatch.setattr("mamp.view.project.find_spec", lambda name: None)
    assert choose_method("auto", 100) == "pca"
    monkeypatch.setattr("mamp.view.project.find_spec", lambda name: True if name == "sklearn" else None)
    assert choose_method("auto", 100) == "tsne" and choose_method("auto", 50_000) == "pca"
    with pytest.raises(ConfigError, match="expected one of auto, umap, tsne, pca, found 'lda'"):
        choose_method("lda", 100)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingExtraError, match=r"mamp\[map\]"):
        project(np.eye(8, dtype=np.float32), "umap")


def test_groups(points: Points, folder: Path, tmp_path: Path) -> None:
    assert points.groups == ["walk"] * 4 + ["wave"] * 4 + ["bow"] * 4
    assert set(points.grouped("none").groups) == {""} and set(points.grouped("folder").groups) == {"moves"}
    assert points.grouped(r"-(\d)").groups[:5] == ["0", "1", "2", "3", "0"]
    assert points.grouped(r"w\w+").groups[-1] == "no match"
    for wrong in ("nothing like it", "("):
        with pytest.raises(DataError, match="a regular expression that some name matches"):
            points.grouped(wrong)
    (tmp_path / "labels.csv").write_text("file,label\nmoves/walk-0.bvh,a\nwave-0.bvh,b\n")
    labels = read_labels(tmp_path / "labels.csv")
    assert points.grouped(labels=labels).groups[:5] == ["a", "no label", "no label", "no label", "b"]
    (tmp_path / "labels.csv").write_text("name\nx\n")
    with pytest.raises(DataError, match="columns file and label"):
        read_labels(tmp_path / "labels.csv")
    many = Points("", "", np.zeros((3, 2), np.float32), [Part(name) for name in ("a1", "b2", "c3")])
    assert many.grouped().groups == ["", "", ""]  # as many groups as points say nothing


def test_windows_people_and_frames_of_a_file(tmp_path: Path) -> None:
    def write(pool: str, shape: tuple[int, ...], **more: Any) -> Points:
        np.savez(tmp_path / "e.npz", embeddings=np.ones(shape, np.float32), files=["a.bvh", "b.bvh"], pool=pool, **more)
        return read_points(tmp_path / "e.npz")

    windows = write("clip", (5, 8), offsets=[0, 4, 5])
    assert [str(part) for part in windows.parts[1::3]] == ["a.bvh, 25%-50%", "b.bvh"]
    assert [part.person for part in write("person", (3, 8), offsets=[0, 2, 3]).parts] == [0, 1, None]
    with pytest.raises(DataError, match="found those of joints"):
        write("joint", (2, 25, 8))
    with pytest.raises(DataError, match="expected a row for each of 2 parts, found 5 rows"):
        write("clip", (5, 8))
    np.savez(tmp_path / "f.npz", embeddings=np.ones((900, 4), np.float32), files=np.arange(900).astype(str))
    some = read_points(tmp_path / "f.npz", most=100)
    assert len(some) == 100 and some.total == 900 and (some.parts[0].name, some.parts[-1].name) == ("0", "899")
    for name, content in (("g.npz", b"nothing"), ("h.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="expected what mamp embed writes"):
            read_points(tmp_path / name)
    with pytest.raises(DataError, match="expected what mamp embed writes"):
        read_points(tmp_path / "absent.npz")
    np.savez(tmp_path / "i.npz", embeddings=np.zeros((0, 4), np.float32), files=np.array([], str))
    with pytest.raises(DataError, match="expected embeddings to draw, found none"):
        read_points(tmp_path / "i.npz")


def test_parquet(tmp_path: Path) -> None:
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = pa.array(np.eye(3, dtype=np.float32).tolist(), pa.list_(pa.float32(), 3))
    table = pa.table({"file": ["a", "a", "b"], "row": [0, 1, 0], "embedding": rows})
    parquet.write_table(table.replace_schema_metadata({"pool": "person"}), tmp_path / "e.parquet")
    points = read_points(tmp_path / "e.parquet")
    assert [(part.name, part.person) for part in points.parts] == [("a", 0), ("a", 1), ("b", None)]
    (tmp_path / "f.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="expected what mamp embed writes"):
        read_points(tmp_path / "f.parquet")


def test_index(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lancedb")
    from mamp import MAMPConfig, MAMPEncoder
    from mamp.search import Index

    encoder = MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2)).eval()
    index = Index.create(tmp_path / "index", encoder, window=0.5, stride=0.5)
    index.add(folder / "moves", unit="cm")
    points = read_points(tmp_path / "index").grouped()
    assert len(points) == 24 == points.total and points.vectors.shape == (24, 16)
    assert sorted(set(points.groups)) == ["bow", "walk", "wave"]
    part = next(part for part in points.parts if part.name == "walk-0.bvh" and part.start == 0.5)
    assert str(part) == "walk-0.bvh, 0.5-1.0 s"
    finder = Finder(points, {"unit": "cm"})
    movement = finder.movement(part)
    assert movement is not None and movement.num_frames == 30  # a half second is too short to see anything
    assert len(read_points(tmp_path / "index", most=7)) == 7


def test_clips_are_what_was_recorded(folder: Path) -> None:
    recording = load(folder / "moves" / "wave-0.bvh", unit="cm")
    clip = Clip.of(recording)
    assert clip is not None and clip.values.shape == (12, 1, 25, 2)
    assert (0.9 < clip.metres < 1.4 and clip.values.max() == 127) or clip.values.min() == -127
    frames = np.frombuffer(clip.changes, np.uint8).reshape(12, -1)
    again = np.cumsum(frames, axis=0, dtype=np.uint8).view(np.int8).reshape(clip.values.shape)
    np.testing.assert_array_equal(again, clip.values)
    positions = recording.positions.copy()
    positions[:, :, 3:6] = np.nan
    gaps = Clip.of(recording.replace(positions=positions))
    assert gaps is not None and (gaps.values == -128).any()
    other = Skeleton(np.random.default_rng(0).normal(size=(4, 2, 3)), _two())
    assert Clip.of(other) is None


def _two() -> Any:
    from mamp import Layout

    return Layout("two", ("a", "b"), (-1, 0))


def test_finder(points: Points, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names are looked for from here, then from the folder of the embeddings
    finder = Finder(points, {"unit": "cm"})
    whole = finder.movement(points.parts[0])
    assert whole is not None and whole.num_frames == 30
    quarter = finder.movement(Part("moves/walk-0.bvh", share=(0.5, 0.75)))
    assert quarter is not None and quarter.num_frames == 30
    assert finder.movement(Part("gone.bvh")) is None and not finder.failed
    (tmp_path / "bad.bvh").write_text("nothing")
    assert finder.movement(Part("bad.bvh")) is None and list(finder.failed) == ["bad.bvh"]
    assert finder.movement(Part("moves/walk-0.bvh", person=3)) is None
    shutil.make_archive(str(tmp_path / "all"), "zip", folder / "moves")
    assert finder.movement(Part("all.zip/bow-1.bvh")) is not None


def test_page(points: Points, folder: Path, tmp_path: Path) -> None:
    found = draw_map(points, tmp_path / "map.html", "pca", reading={"unit": "cm"})
    assert found == {"method": "pca", "points": 12, "groups": 3, "clips": 12, "failed": {}}
    data, clips = unpacked(tmp_path / "map.html")
    assert data["names"][0] == "moves/walk-0.bvh" and [group[0] for group in data["groups"]] == ["bow", "walk", "wave"]
    assert sum(clip[0] * clip[1] * 25 * 2 for clip in data["clips"]) == len(clips)
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=.?https?:", text) and "{{" not in re.sub(r"<script>.*", "", text, flags=re.DOTALL)
    assert len(text) < 60_000
    first = (tmp_path / "map.html").read_bytes()
    draw_map(points, tmp_path / "map.html", "pca", reading={"unit": "cm"})
    assert (tmp_path / "map.html").read_bytes() == first
    assert draw_map(points, tmp_path / "map.html", "pca", clips=5, reading={"unit": "cm"})["clips"] == 5
    assert draw_map(points, tmp_path / "map.html", "pca", clips=0)["clips"] == 0
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        draw_map(points, tmp_path / "map.gif")


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>{{data}}"
    points = Points(evil, evil, np.eye(3, 4, dtype=np.float32), [Part(evil), Part("b"), Part("c")])
    draw_map(points, tmp_path / "map.html", "pca")
    text = (tmp_path / "map.html").read_text(encoding="utf-8")
    assert "<script>alert" not in text and unpacked(tmp_path / "map.html")[0]["names"][0] == evil


def test_picture(points: Points, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("PIL.Image")
    found = draw_map(points, tmp_path / "map.png", "pca", reading={"unit": "cm"})
    assert found["clips"] >= 2
    with image.open(tmp_path / "map.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = (abs(pixels - [27, 111, 194]) < 30).all(-1)
    assert pixels.shape[1] > 900 and blue.sum() > 100  # left sides of poses
    draw_map(points, tmp_path / "map.svg", "pca", theme="dark")
    assert "#12141b" in (tmp_path / "map.svg").read_text(encoding="utf-8")


def test_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "map.html"
    words = ["map", str(folder / "moves.npz"), "-o", str(out), "--method", "pca", "--unit", "cm"]
    assert main(words) == 0
    assert "12 points in 3 groups, pca, 12 with their movement" in capsys.readouterr().out
    assert main([*words, "--json", "--by", "none", "--most", "6"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["points"] == 6 and said["total"] == 12 and said["groups"] == 0
    assert main([*words, "--by", "none", "--labels", "x.csv"]) == 1
    assert "leave --by out" in capsys.readouterr().err
    assert main(["map", str(tmp_path), "-o", str(out)]) == 1
    assert "expected" in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "moves" / "bow-0.bvh").write_text("damaged")
    assert main(["map", str(tmp_path / "copy" / "moves.npz"), *words[2:]]) == 1
    told = capsys.readouterr()
    assert "bow-0.bvh" in told.err and "11 with their movement" in told.out


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    points = read_points(folder / "moves.npz").grouped()
    path = tmp_path_factory.mktemp("page") / "map.html"
    draw_map(points, path, "pca", reading={"unit": "cm"})
    return path


def test_page_in_a_browser(browser: Any, page: Path) -> None:
    visit = Visit(browser)
    seen = visit.open(page)
    x, y = _place(seen, page, 5)
    seen.mouse.move(x + 2, y + 2)
    seen.wait_for_selector("#card.shown canvas")
    assert "wave-1" in seen.inner_text("#card")
    seen.wait_for_timeout(150)
    before = visit.drawn("#card canvas")
    seen.wait_for_timeout(300)
    assert visit.drawn("#card canvas") != before  # it plays
    seen.mouse.click(x + 2, y + 2)
    assert "wave-1" in seen.inner_text("#pinned figure")
    seen.mouse.move(5, 300)
    assert not seen.is_visible("#card")
    seen.focus("#plot")
    seen.keyboard.press("ArrowRight")
    first = seen.inner_text("#card")
    seen.keyboard.press("ArrowLeft")
    assert seen.inner_text("#card") != first and seen.inner_text("#said")
    seen.keyboard.press("Enter")
    assert seen.locator("#pinned figure").count() == 2
    seen.locator("#pinned button").first.click()
    assert seen.locator("#pinned figure").count() == 1
    whole = visit.drawn("#plot")
    seen.keyboard.press("+")
    seen.wait_for_timeout(100)
    assert visit.drawn("#plot") != whole
    seen.keyboard.press("0")
    seen.keyboard.press("Escape")
    assert not seen.is_visible("#card")
    seen.fill("#find", "bow-2")
    seen.keyboard.press("Enter")
    assert "bow-2" in seen.inner_text("#card")
    seen.fill("#find", "")
    seen.click("#legend button:has-text('walk')")
    assert seen.get_attribute("#legend button:has-text('walk')", "aria-pressed") == "false"
    light = visit.drawn("#plot")
    seen.click("#theme")
    assert seen.evaluate("document.documentElement.dataset.theme") == "dark"
    assert light
    assert (visit.complaints == [] and visit.requests == [page.as_uri(), "data:,"]) or visit.requests == [page.as_uri()]


def _place(seen: Any, page: Path, point: int) -> tuple[float, float]:
    """Where a point is in the window."""
    data, _ = unpacked(page)
    box = seen.locator("#plot").bounding_box()
    unit = min(box["width"], box["height"]) / 2 - 22
    x = box["x"] + box["width"] / 2 + data["x"][point] * unit
    return x, box["y"] + box["height"] / 2 - data["y"][point] * unit


def test_page_on_a_phone_and_with_reduced_motion(browser: Any, page: Path) -> None:
    visit = Visit(browser, PHONE, has_touch=True, is_mobile=True, reduced_motion="reduce", color_scheme="dark")
    seen = visit.open(page)
    seen.touchscreen.tap(*_place(seen, page, 9))
    seen.wait_for_selector("#card.shown canvas")
    assert "bow" in seen.inner_text("#card")
    card, width = seen.locator("#card").bounding_box(), seen.evaluate("document.documentElement.scrollWidth")
    assert card["x"] >= 0 and card["x"] + card["width"] <= 390 and width <= 390
    seen.wait_for_timeout(150)
    before = visit.drawn("#card canvas")
    seen.wait_for_timeout(300)
    assert visit.drawn("#card canvas") == before  # a still of three poses
    assert visit.complaints == []
