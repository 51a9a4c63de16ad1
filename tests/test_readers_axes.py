"""Which axis points up, and whether the axes are right-handed: inferred from the body, said, and given."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from readers_helpers import person
from scipy.spatial.transform import Rotation

from mamp.errors import ReadError
from mamp.layouts import get_layout
from mamp.readers import load
from mamp.readers.axes import TO_Y_UP
from mamp.readers.infer import Body

FRONTED = ["ntu25", "azure32", "body25", "coco17", "h36m17", "mediapipe33", "smpl22", "smpl24"]


def save(tmp_path: Path, points: np.ndarray) -> Path:
    path = tmp_path / "clip.npy"
    np.save(path, points)
    return path


@pytest.mark.parametrize("up", TO_Y_UP)
def test_tables_turn_and_do_not_mirror(up: str):
    matrix = np.array(TO_Y_UP[up])
    assert np.linalg.det(matrix) == 1
    axis = np.eye(3)["xyz".index(up[-1])] * (-1 if up[0] == "-" else 1)
    np.testing.assert_array_equal(matrix @ axis, [0, 1, 0])


@pytest.mark.parametrize("layout", FRONTED)
@pytest.mark.parametrize("up", ["y", "z", "-y"])
def test_up_is_inferred(tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str, up: str):
    points = person(layout, 4)
    path = save(tmp_path, points @ np.array(TO_Y_UP[up]))  # the way back of a rotation is its transpose
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path, layout=layout, unit="m")
    assert (skeleton.info["up"], skeleton.info["up_from"]) == (up, "inferred")
    assert ("does not say its up" in caplog.text) == (up != "y")
    np.testing.assert_allclose(skeleton.positions[0], points, atol=1e-6)


@pytest.mark.parametrize("axis", ["x", "-x", "-z"])
def test_axes_that_are_never_inferred(tmp_path: Path, caplog: pytest.LogCaptureFixture, axis: str):
    """Along these, people lie: y is taken, and a warning says so."""
    points = person("ntu25", 4) @ np.array(TO_Y_UP[axis])
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, points), layout="ntu25", unit="m")
    assert (skeleton.info["up"], skeleton.info["up_from"]) == ("y", "assumed")
    assert "nobody stands along one; 'y' taken. Say up=" in caplog.text
    np.testing.assert_allclose(skeleton.positions[0], points, atol=1e-6)


@pytest.mark.parametrize(("degrees", "up"), [(0, "y"), (24, "y"), (30, "y"), (60, "y"), (66, "z"), (90, "z")])
def test_how_far_one_may_lean(degrees: float, up: str):
    turned = person("ntu25", 4) @ Rotation.from_euler("x", degrees, degrees=True).as_matrix().T
    found, sure = Body(turned[None], get_layout("ntu25")).guess_up()
    assert (found, sure) == (up, not 27 < degrees < 63)


@pytest.mark.parametrize("layout", FRONTED)
def test_mirrored_recordings_are_noticed_and_left_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, layout: str
):
    points = person(layout, 4) @ Rotation.from_euler("y", 130, degrees=True).as_matrix().T
    sound = load(save(tmp_path, points), layout=layout, unit="m")
    assert (sound.info["handedness"], sound.info["handedness_from"]) == ("right", "inferred")
    path = save(tmp_path, points * [1, 1, -1])
    with caplog.at_level(logging.WARNING, logger="mamp"):
        doubtful = load(path, layout=layout, unit="m")
    assert "looks mirrored" in caplog.text and "say handedness='left'" in caplog.text
    assert doubtful.info["handedness_from"] == "doubtful"
    np.testing.assert_allclose(doubtful.positions[0], points * [1, 1, -1], atol=1e-6)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="mamp"):
        told = load(path, layout=layout, unit="m", handedness="left")
        believed = load(path, layout=layout, unit="m", handedness="right")
    assert not caplog.records and (told.info["handedness"], told.info["handedness_from"]) == ("left", "given")
    np.testing.assert_array_equal(believed.positions, doubtful.positions)
    turned, wanted = (array - array[:, :1] for array in (told.positions[0].astype(float), points))
    turn = Rotation.align_vectors(wanted[0], turned[0])
    np.testing.assert_allclose(turn[0].apply(turned[0]), wanted[0], atol=1e-5, err_msg="a rotation away from the truth")


def test_swapped_sides_look_mirrored_too():
    layout = get_layout("ntu25")
    order = list(range(25))
    for left, right in layout.pairs:
        a, b = layout.joints.index(left), layout.joints.index(right)
        order[a], order[b] = b, a
    assert Body(person("ntu25", 2)[None][:, :, order], layout).looks_mirrored() is True


def test_bodies_that_say_nothing_about_handedness():
    layout = get_layout("kinect20")
    flat = person("ntu25", 3)[..., :] * [1, 1, 0]
    straight = np.stack([flat[:, get_layout("ntu25").joints.index(name)] for name in (
        "spine_base", "spine_mid", "spine_shoulder", "head",
        *(f"{part}_{side}" for side in ("left", "right") for part in ("shoulder", "elbow", "wrist", "hand")),
        *(f"{part}_{side}" for side in ("left", "right") for part in ("hip", "knee", "ankle", "foot")),
    )], axis=1)  # fmt: skip
    assert Body(straight[None], layout).looks_mirrored() is None
    assert Body(np.full((1, 3, 20, 3), np.nan), layout).looks_mirrored() is None


def test_lying_down_does_not_change_the_answer():
    for turn in ("x", "z"):
        points = person("ntu25", 3) @ Rotation.from_euler(turn, 90, degrees=True).as_matrix().T
        assert Body(points[None], get_layout("ntu25")).looks_mirrored() is False
        assert Body(points[None] * [-1, 1, 1], get_layout("ntu25")).looks_mirrored() is True


@pytest.mark.parametrize("handedness", ["both", 3, ""])
def test_bad_handedness(tmp_path: Path, handedness: object):
    with pytest.raises(ReadError, match="expected that of the file's axes: right or left"):
        load(save(tmp_path, person("ntu25")), handedness=handedness)  # type: ignore[arg-type]


REAL = ("bandai-namco/*.bvh", "cmu-bvh/*.bvh", "cmu-amc/**/*.amc", "hdm05/**/*.amc", "nw-ucla/*.json", "msr-action3d/*")


@pytest.mark.parametrize("pattern", REAL)
def test_real_recordings(shared: Path, pattern: str):
    """People of real recordings stand along y and face where their feet point."""
    files = [
        path
        for path in sorted((shared / "data" / "raw").glob(pattern))
        if path.suffix in (".bvh", ".amc", ".json", ".txt")
    ]
    if not files:
        pytest.skip(f"no {pattern}")
    skeleton = load(files[0])
    step = slice(None, None, max(1, skeleton.num_frames // 300))
    positions = skeleton.positions[:, step]
    assert Body(positions, skeleton.layout).guess_up() == ("y", True)
    assert Body(positions, skeleton.layout).looks_mirrored() is False
    assert Body(positions * np.float32([-1, 1, 1]), skeleton.layout).looks_mirrored() is True
