"""Pictures and films of recordings: ``mamp.view.film`` and ``mamp plot``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mamp import Layout, MAMPError, Skeleton, get_layout, load
from mamp.cli import main
from mamp.errors import ConfigError, DataError, LayoutError, MissingExtraError, RecordingError
from mamp.figures import DARK, GROUPS, LIGHT, css_variables, group_colours
from mamp.stick import camera, joint_colours
from mamp.synthetic import write_recordings
from mamp.view import film
from mamp.view.scene import Scene
from mamp.view.stage import Timing, floor_lines

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

MODEL = get_layout("ntu25")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_recordings(tmp_path_factory.mktemp("recordings"), 1, 1.0, actions=["walk", "wave", "squat"])


@pytest.fixture(scope="module")
def walk(files: list[Path]) -> Skeleton:
    return load(files[0], unit="cm")


def pixels(path: Path, frame: int = 0) -> Any:
    with Image.open(path) as image:
        image.seek(frame)
        return np.asarray(image.convert("RGB")).astype(int)


def near(image: Any, colour: str, within: int = 40) -> Any:
    """Where an image has about a colour, [H, W]."""
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return (abs(image - wanted) < within).all(-1)


def standing(frames: int = 4, people: int = 1, facing: float = 0.0) -> Skeleton:
    """People whose left side is at larger x if they face along z, turned about the vertical."""
    pose = np.zeros((25, 3), np.float32)
    for joint, name in enumerate(MODEL.joints):
        side = {"left": 0.2, "right": -0.2}.get(name.rpartition("_")[2], 0.0)
        height = {"ankle": 0.1, "knee": 0.5, "hip": 0.9, "head": 1.7}.get(name.partition("_")[0], 1.3)
        pose[joint] = side, height, 0.3 if name.startswith("foot") else 0.0
    turn = np.array([[np.cos(facing), 0, np.sin(facing)], [0, 1, 0], [-np.sin(facing), 0, np.cos(facing)]])
    places = np.arange(people)[:, None, None, None] * np.array([0.8, 0, 0])
    return Skeleton((pose @ turn.T + places).repeat(frames, 1).astype(np.float32), "ntu25", fps=30, name="standing")


@pytest.mark.parametrize("facing", [0.0, 1.0, 3.0])
def test_front_has_the_left_side_on_the_right(facing: float, tmp_path: Path) -> None:
    recording = standing(facing=facing)
    film(recording, tmp_path / "front.png", view="front", names=False)
    image = pixels(tmp_path / "front.png")
    left, right = near(image, LIGHT.left), near(image, LIGHT.right)
    poses = 4
    width = image.shape[1] / poses
    for pose in range(poses):
        part = slice(round(pose * width), round((pose + 1) * width))
        assert np.flatnonzero(left[:, part].any(0)).mean() > np.flatnonzero(right[:, part].any(0)).mean()


def test_side_has_the_front_on_the_right() -> None:
    recording = standing(facing=0.7)
    seen = recording.positions[0, 0] @ camera(recording, "side").T
    assert seen[MODEL.joints.index("foot_left"), 0] > seen[MODEL.joints.index("ankle_left"), 0] + 0.25
    above = recording.positions[0, 0] @ camera(recording, "top").T
    assert np.ptp(above[:, 1]) < 0.35  # no height is left
    with pytest.raises(ConfigError, match="expected one of front, side, top, corner, found 'behind'"):
        camera(recording, "behind")


def test_picture_has_a_row_for_each_recording(files: list[Path], walk: Skeleton, tmp_path: Path) -> None:
    assert film(walk, tmp_path / "one.png", poses=5) == tmp_path / "one.png"
    film(files, tmp_path / "three.png", poses=5, width=600)
    one, three = pixels(tmp_path / "one.png"), pixels(tmp_path / "three.png")
    assert one.shape[1] == 1000 and three.shape[1] == 600
    floors = np.flatnonzero(near(three, LIGHT.line, 12).mean(1) > 0.6)  # lines across the picture
    assert len(np.split(floors, np.flatnonzero(np.diff(floors) > 2) + 1)) == 3
    film(walk, tmp_path / "dark.png", theme="dark")
    assert near(pixels(tmp_path / "dark.png"), DARK.paper, 2).mean() > 0.7


def test_svg_is_the_same_each_time_and_has_words(walk: Skeleton, tmp_path: Path) -> None:
    film(walk, tmp_path / "a.svg")
    film(walk, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert "walk-0.bvh" in text and "0.97 s" in text and LIGHT.left in text


def test_gif_plays_at_the_speed_of_the_recording(walk: Skeleton, tmp_path: Path) -> None:
    film(walk, tmp_path / "walk.gif")
    with Image.open(tmp_path / "walk.gif") as image:
        count, delay = image.n_frames, image.info["duration"]
        assert image.size[0] == 320 and image.info["loop"] == 0
    assert count == 20 and delay == 50  # a second
    first, later = pixels(tmp_path / "walk.gif"), pixels(tmp_path / "walk.gif", 10)
    assert (first != later).any(-1).mean() > 0.01
    assert tuple(first[0, 0]) == (255, 255, 255)  # colours of the theme exactly
    assert near(first, LIGHT.left, 2).any() and near(first, LIGHT.right, 2).any()
    assert (tmp_path / "walk.gif").stat().st_size < 200_000


def test_recordings_play_side_by_side_at_their_own_rates(tmp_path: Path) -> None:
    slow, fast = standing(8), standing(30)
    film([slow.replace(fps=8.0), fast.replace(fps=60.0)], tmp_path / "two.gif", names=False, width=300)
    with Image.open(tmp_path / "two.gif") as image:
        assert image.size[0] == 300
        # Nothing moves, so that the frames are one picture that is shown for a second.
        total = sum(image.seek(frame) or image.info["duration"] for frame in range(image.n_frames))
    assert total == 1000
    scenes = [Scene.of(slow.replace(fps=8.0)), Scene.of(fast.replace(fps=60.0))]
    assert Timing.of(scenes, 20.0, exact=True) == Timing(20.0, 1.0) and len(Timing.of(scenes, 20.0, exact=True)) == 20
    assert Timing.of(scenes[:1], 20.0, exact=False).rate == 8.0


def test_view_follows_who_walks_away(tmp_path: Path) -> None:
    still = standing(60)
    walking = still.replace(positions=still.positions + np.linspace(0, 6, 60)[None, :, None, None] * [0, 0, 1])
    assert not np.ptp(Scene.of(still).middle, axis=0).any()
    middle = Scene.of(walking).middle
    assert np.ptp(middle[:, 2]) > 5 and abs(middle[:, 2] - walking.positions[0, :, 0, 2]).max() < 0.5
    lines = floor_lines(middle[20], 1.0)
    ends = lines + middle[20]
    assert np.linalg.norm(lines, axis=-1).max() <= 1.0 + 1e-6  # a disc
    across = lines[:, 0, 2] == lines[:, 1, 2]
    np.testing.assert_allclose(ends[across, 0, 2] / 0.5, np.round(ends[across, 0, 2] / 0.5), atol=1e-5)  # stays put


def test_further_people_are_paler_and_absent_ones_are_not_drawn(tmp_path: Path) -> None:
    two = standing(4, people=2)
    positions = two.positions.copy()
    positions[1, 2:] = np.nan
    recording = two.replace(positions=positions)
    assert Scene.of(recording).people == (1, 0)
    film(recording, tmp_path / "two.gif", names=False, view="front")
    before, after = pixels(tmp_path / "two.gif"), pixels(tmp_path / "two.gif", 1)
    pale = "#a4c5e7"  # 40 % of the left side's blue on white
    assert near(before, pale, 25).sum() > 3 * near(after, pale, 25).sum()
    nobody = two.replace(positions=np.full_like(two.positions, np.nan), name="empty")
    with pytest.raises(RecordingError, match="empty: expected somebody to draw, found nobody"):
        film(nobody, tmp_path / "nobody.gif")


def test_recordings_with_gaps_and_one_frame(tmp_path: Path) -> None:
    gaps = standing(10).positions.copy()
    gaps[:, 3:5] = np.nan
    gaps[:, :, MODEL.joints.index("elbow_left")] = np.nan
    film(Skeleton(gaps, "ntu25", name="gaps"), tmp_path / "gaps.gif")
    film(Skeleton(gaps[:, :1], "ntu25"), tmp_path / "one.gif")
    film(Skeleton(gaps[:, :1], "ntu25", name="$x_1$"), tmp_path / "one.svg")
    assert "frame 0" in (tmp_path / "one.svg").read_text(encoding="utf-8")  # no rate, no seconds
    positions = np.random.default_rng(0).normal(size=(5, 3, 3))
    film(Skeleton(positions, _three(), name="three"), tmp_path / "three.png")
    with pytest.raises(LayoutError):
        film(Skeleton(positions, _three(), name="three"), tmp_path / "three.png", model=True)


def _three() -> Layout:
    return Layout("three", ("a", "b", "c"), (-1, 0, 1))


def test_model_draws_the_joints_of_the_model(walk: Skeleton) -> None:
    assert Scene.of(walk).points(0).shape[1] == len(walk.layout.joints)
    assert Scene.of(walk, model=True).points(0).shape[1] == 25


def test_mp4(walk: Skeleton, tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    film(walk, tmp_path / "walk.mp4", width=201)
    frames, seconds = ffmpeg.count_frames_and_secs(str(tmp_path / "walk.mp4"))
    assert frames == 30 and seconds == pytest.approx(1.0, abs=0.05)
    reader = ffmpeg.read_frames(str(tmp_path / "walk.mp4"))
    size = next(reader)["size"]
    image = np.frombuffer(next(reader), np.uint8).reshape(size[1], size[0], 3).astype(int)
    reader.close()
    assert size[0] == 200 and near(image, LIGHT.left, 60).any() and near(image, LIGHT.right, 60).any()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.mp4"]


def test_what_cannot_be_drawn(walk: Skeleton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, message in (("walk.avi", r"ends in \.png, \.svg"), ("walk", "found ''")):
        with pytest.raises(ConfigError, match=message):
            film(walk, tmp_path / name)
    for options, message in (
        ({"poses": 0}, "poses: expected a number from 1"),
        ({"rate": 500}, "rate: expected"),
        ({"theme": "pink"}, "theme: expected light or dark, found 'pink'"),
        ({"colour": "red"}, "expected options of view, theme"),
    ):
        with pytest.raises(ConfigError, match=message):
            film(walk, tmp_path / "walk.png", **options)
    with pytest.raises(RecordingError, match="expected a recording to draw, found none"):
        film([], tmp_path / "walk.png")
    long = standing(2).replace(positions=standing(2).positions.repeat(1000, 1), fps=10)
    with pytest.raises(RecordingError, match=r"at most 120 seconds for a GIF, found 200\.0"):
        film(long, tmp_path / "long.gif")
    with pytest.raises(DataError, match="does not exist"):
        film(walk, tmp_path / "no" / "walk.png")
    with pytest.raises(MAMPError, match="does not exist"):
        film(walk, tmp_path / "no" / "walk.gif")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(MissingExtraError, match=r"mamp\[film\]"):
        film(walk, tmp_path / "walk.mp4")
    assert list(tmp_path.iterdir()) == []


def test_plot_command(files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "both.gif"
    assert main(["plot", f"{files[0]}@0.2-0.7", str(files[1]), "-o", str(out), "--unit", "cm", "--theme", "dark"]) == 0
    assert "both.gif: 2 recordings" in capsys.readouterr().out
    assert main(["plot", f"{files[0]}@0.2-0.7", "-o", str(out), "--unit", "cm", "--rate", "10"]) == 0
    with Image.open(out) as image:
        assert (image.n_frames, image.info["duration"]) == (5, 100)
    (tmp_path / "bad.bvh").write_text("nothing")
    capsys.readouterr()
    words = ["plot", str(files[0]), str(tmp_path / "bad.bvh"), "-o", str(tmp_path / "a.png"), "--unit", "cm", "--json"]
    assert main(words) == 1
    told = capsys.readouterr()
    said = json.loads(told.out)
    assert said["recordings"] == ["walk-0.bvh"] and list(said["failed"]) == [str(tmp_path / "bad.bvh")]
    assert "bad.bvh" in told.err and (tmp_path / "a.png").exists()
    assert main(["plot", str(tmp_path / "bad.bvh"), "-o", str(tmp_path / "b.png")]) == 1
    assert "none of the 1 files could be drawn" in capsys.readouterr().err and not (tmp_path / "b.png").exists()
    assert main(["plot", str(files[0]), "-o", str(tmp_path / "no" / "b.png")]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert main(["plot", str(files[0]), "-o", str(tmp_path / "b.xyz")]) == 1
    assert "expected a name that ends in" in capsys.readouterr().err


def test_colours_are_in_one_place() -> None:
    assert joint_colours(MODEL)[MODEL.joints.index("hip_left")] == LIGHT.left
    assert group_colours(12)[:2] == group_colours(12)[10:] == list(GROUPS[:2])
    css = css_variables()
    assert css.count(f"--left:{DARK.left}") == 2 and css.count(f"--left:{LIGHT.left}") == 2
    root = Path(__file__).resolve().parents[1] / "mamp"
    colour = re.compile(r"\"#[0-9a-f]{6}\"|tab:")
    others = [path for path in root.rglob("*.py") if colour.search(path.read_text(encoding="utf-8"))]
    assert [path.name for path in others] == ["figures.py"]
