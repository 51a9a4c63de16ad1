"""C3D: markers of optical motion capture."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from readers_helpers import c3d_bytes, c3d_file, person

from mamp.errors import LayoutError, MissingExtraError, ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, load

NTU25 = list(get_layout("ntu25").joints)
BODY = person("ntu25", 3)


def z_up(points: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def save(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "clip.c3d"
    path.write_bytes(data)
    return path


def test_markers_named_as_joints(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path, c3d_file())
    assert find_format(path) == "c3d"
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path)
    assert "does not say its up; 'z' inferred" in caplog.text
    assert (skeleton.layout.joints, skeleton.fps) == (tuple(NTU25), 100)
    assert (skeleton.info["unit"], skeleton.info["unit_from"], skeleton.info["up_from"]) == ("mm", "format", "inferred")
    np.testing.assert_allclose(skeleton.positions[0], BODY, atol=1e-5)


@pytest.mark.parametrize(("unit", "metres"), [("m", 1), ("cm", 0.01), ("meters", 1), ("inch", 0.0254)])
def test_units(tmp_path: Path, unit: str, metres: float):
    path = save(tmp_path, c3d_bytes(NTU25, BODY / metres, unit=unit))
    np.testing.assert_allclose(load(path).positions[0], BODY, atol=1e-5)


def test_an_unknown_unit_is_inferred(tmp_path: Path):
    skeleton = load(save(tmp_path, c3d_bytes(NTU25, BODY * 100, unit="?")))
    assert (skeleton.info["unit"], skeleton.info["unit_from"]) == ("cm", "inferred")


def test_labels_of_a_subject_in_another_order_and_unseen_markers(tmp_path: Path):
    order = np.random.default_rng(0).permutation(25)
    points = BODY[:, order] * 1000
    points[1, 4] = np.nan
    skeleton = load(save(tmp_path, c3d_bytes([f"Ann:{NTU25[i]}" for i in order], points))).to_layout("ntu25")
    assert not skeleton.tracked[0, 1, order[4]] and skeleton.tracked.sum() == 74
    seen = skeleton.tracked[0]
    np.testing.assert_allclose(skeleton.positions[0][seen], BODY[seen], atol=1e-5)


def test_joints_in_the_middle_of_markers(tmp_path: Path):
    labels = ["LASI", "LPSI", "RKNE", "S:LKNE"]
    points = np.random.default_rng(0).normal(size=(4, 4, 3)) * 1000
    points[2, 0] = np.nan
    path = save(tmp_path, c3d_bytes(labels, points))
    skeleton = load(path, markers={"hip_left": ["LASI", "LPSI"], "knee_right": "RKNE", "knee_left": ["LKNE"]}, up="y")
    assert skeleton.layout.name == "ntu25"
    found = skeleton.positions[0][:, [NTU25.index(name) for name in ("hip_left", "knee_right", "knee_left")]]
    np.testing.assert_allclose(found[:, 1:], points[:, 2:] / 1000, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0], points[:, :2].mean(1) / 1000, rtol=1e-5)
    assert skeleton.tracked[0].sum(-1).tolist() == [3, 3, 2, 3]
    with pytest.raises(ReadError, match="there are no markers LELB; found LASI"):
        load(path, markers={"elbow_left": "LELB"})
    with pytest.raises(ReadError, match="'elbow' is no joint of layout 'ntu25'"):
        load(path, markers={"elbow": "LASI"})
    other = load(path, markers={"left_hip": "LASI"}, layout="smpl22", up="y")
    assert other.layout.name == "smpl22" and other.tracked.any((0, 1)).sum() == 1


def test_labels_that_say_nothing(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(3, 25, 3)) * 1000
    path = save(tmp_path, c3d_bytes([f"M{i}" for i in range(25)], points))
    with pytest.raises(LayoutError, match=r"markers are not joints.* M0, M1.*Say markers=\{joint"):
        load(path)
    assert load(path, layout="ntu25", up="y").layout.name == "ntu25", "who says it has the joints in order is believed"
    with pytest.raises(LayoutError, match="has 20 joints, the file has 25"):
        load(path, layout="kinect20", up="y")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "c3d", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mamp\[c3d\]'"):
        load(save(tmp_path, c3d_file()))


BAD = {
    "short": (c3d_file()[:400], "not a C3D file, or cut"),
    "text": (b"hello " * 200, "not a C3D file, or cut"),
    "header only": (c3d_file()[:600], "damaged or cut"),
    "more frames than bytes": (
        c3d_bytes(NTU25, np.repeat(BODY, 20, 0))[: 512 * 12],
        "60 frames of 25 markers announced in 6144 bytes",
    ),
    "no data": (c3d_file()[: 512 * 9], "damaged or cut"),
    "cut in the last frames": (c3d_bytes(NTU25, np.repeat(BODY, 20, 0))[:-4000], "damaged or cut"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_bad(tmp_path: Path, data: bytes, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, data))
