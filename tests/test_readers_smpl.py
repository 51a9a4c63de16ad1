"""SMPL pose parameters through forward kinematics, with a made-up body: no licensed model is needed or shipped."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers_helpers import amass_npz, npz, person, rest

from mamp.errors import ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, load
from mamp.readers.smpl import axis_angle, forward_kinematics

BODY = rest()
SMPL22 = get_layout("smpl22")


def save(tmp_path: Path, data: bytes, name: str = "clip.npz") -> Path:
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_amass(tmp_path: Path):
    """A body turned upright along z stands along y, where trans says."""
    path = save(tmp_path, amass_npz())
    assert find_format(path) == "smpl"
    skeleton = load(path, joints=BODY)
    assert (skeleton.layout.name, skeleton.fps) == ("smpl22", 120)
    assert (skeleton.info["up"], skeleton.info["up_from"], skeleton.info["gender"]) == ("z", "format", "male")
    wanted = BODY[:22] + np.array([[[0, 0.95, 0]], [[0.5, 0.95, 0]], [[1, 0.95, 0]]])
    np.testing.assert_allclose(skeleton.positions[0], wanted, atol=1e-6)


@pytest.mark.parametrize("kind", ["smpl", "smplh", "smplx", "flat parts", "body_pose", "three axes", "pose_body alone"])
def test_ways_to_write_poses(tmp_path: Path, kind: str):
    rng = np.random.default_rng(0)
    poses = rng.normal(scale=0.4, size=(4, 24, 3))
    flat = poses.reshape(4, 72)
    arrays: dict[str, Any] = {
        "smpl": {"poses": flat},
        "smplh": {"poses": np.c_[flat[:, :66], rng.normal(size=(4, 90))]},
        "smplx": {"poses": np.c_[flat[:, :66], rng.normal(size=(4, 99))], "mocap_frame_rate": np.array(60)},
        "flat parts": {"root_orient": flat[:, :3], "pose_body": flat[:, 3:66], "pose_hand": np.zeros((4, 90))},
        "body_pose": {"global_orient": flat[:, :3], "body_pose": flat[:, 3:72], "transl": np.zeros((4, 3))},
        "three axes": {"poses": poses},
        "pose_body alone": {"root_orient": poses[:, :1], "pose_body": poses[:, 1:22]},
    }[kind]
    joints = 24 if kind in ("smpl", "body_pose", "three axes") else 22
    skeleton = load(save(tmp_path, npz(**({"trans": np.zeros((4, 3))} | arrays))), joints=BODY, up="y")
    assert skeleton.layout.name == f"smpl{joints}" and skeleton.fps == (60 if kind == "smplx" else None)
    layout = skeleton.layout
    np.testing.assert_allclose(
        skeleton.positions[0], forward_kinematics(BODY[:joints], poses[:, :joints], layout.parents), atol=1e-6
    )


def test_kinematics_by_hand():
    """The left knee bent by a quarter about x puts the lower leg behind; what is above stays."""
    turns = np.zeros((1, 22, 3))
    knee, ankle, foot = (SMPL22.joints.index(f"left_{name}") for name in ("knee", "ankle", "foot"))
    turns[0, knee, 0] = np.pi / 2
    found = forward_kinematics(BODY[:22], turns, SMPL22.parents)[0]
    lower = BODY[ankle] - BODY[knee]
    np.testing.assert_allclose(found[ankle] - found[knee], [lower[0], -lower[2], lower[1]], atol=1e-12)
    moved = np.linalg.norm(found - BODY[:22], axis=-1) > 1e-9
    assert np.flatnonzero(moved).tolist() == [ankle, foot]


def test_kinematics_keep_bones_and_follow_the_root():
    rng = np.random.default_rng(1)
    turns = rng.normal(size=(5, 22, 3))
    found = forward_kinematics(BODY[:22], turns, SMPL22.parents)
    for joint, parent in enumerate(SMPL22.parents):
        if parent >= 0:
            length = np.linalg.norm(found[:, joint] - found[:, parent], axis=-1)
            np.testing.assert_allclose(length, np.linalg.norm(BODY[joint] - BODY[parent]), rtol=1e-9)
    still = turns.copy()
    still[:, 0] = 0
    unturned = forward_kinematics(BODY[:22], still, SMPL22.parents)
    np.testing.assert_allclose(found, np.einsum("tij,tvj->tvi", axis_angle(turns[:, 0]), unturned), atol=1e-9)


def test_axis_angle():
    vectors = np.random.default_rng(2).normal(size=(50, 3)) * np.array([[1], [1e-9], [3], [0], [10]] * 10)
    matrices = axis_angle(vectors)
    np.testing.assert_allclose(
        matrices @ np.swapaxes(matrices, -1, -2), np.broadcast_to(np.eye(3), (50, 3, 3)), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-9)
    np.testing.assert_allclose((matrices @ vectors[..., None])[..., 0], vectors, atol=1e-9, err_msg="its axis stays")
    quarter = axis_angle(np.array([0, 0, np.pi / 2]))
    np.testing.assert_allclose(quarter @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    sixth = axis_angle(np.array([0, 0, np.pi / 3]))
    np.testing.assert_allclose(sixth @ [1, 0, 0], [0.5, np.sqrt(0.75), 0], atol=1e-12)


def model(tmp_path: Path, **more: Any) -> tuple[Path, np.ndarray, np.ndarray]:
    """A model of 30 vertices, whose joints follow from them."""
    rng = np.random.default_rng(3)
    vertices = rng.normal(size=(30, 3))
    vertices[:24] = BODY
    regressor = np.eye(24, 30)
    shapes = rng.normal(scale=0.1, size=(30, 3, 10))
    arrays = {"J_regressor": regressor, "v_template": vertices, "shapedirs": shapes} | more
    path = tmp_path / "model.npz"
    path.write_bytes(npz(**{name: array for name, array in arrays.items() if array is not None}))
    return path, regressor, shapes


@pytest.mark.parametrize("form", ["array", "npy", "J", "J_template", "model", "list"])
def test_ways_to_give_the_rest_joints(tmp_path: Path, form: str):
    clip = save(tmp_path, amass_npz())
    given: Any = BODY
    if form == "list":
        given = BODY.tolist()
    elif form == "npy":
        given = tmp_path / "joints.npy"
        np.save(given, BODY)
    elif form == "model":
        given = model(tmp_path)[0]
    elif form != "array":
        given = str(save(tmp_path, npz(**{form: BODY, "kintree_table": np.zeros((2, 24))}), "joints.npz"))
    np.testing.assert_allclose(load(clip, joints=given).positions[0, 0] - [0, 0.95, 0], BODY[:22], atol=1e-6)


def test_the_shape_of_the_body(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    betas = np.random.default_rng(4).normal(size=16)
    arrays = {"poses": np.zeros((2, 66)), "trans": np.zeros((2, 3)), "mocap_framerate": np.array(30.0)}
    clip = save(tmp_path, npz(**arrays, betas=betas))
    path, regressor, shapes = model(tmp_path)
    wanted = BODY + regressor @ (shapes @ betas[:10])
    found = load(clip, joints=path, up="y").positions[0, 0]
    np.testing.assert_allclose(found, wanted[:22], atol=1e-6)
    assert np.abs(found - BODY[:22]).max() > 0.05
    with caplog.at_level(logging.WARNING, logger="mamp"):
        load(save(tmp_path, npz(**arrays), "plain.npz"), joints=path, up="y")
    assert "mean shape, for there are no betas" in caplog.text


def test_without_rest_joints_it_says_what_is_needed(tmp_path: Path):
    with pytest.raises(ReadError, match=r"rest joints .* may not be shipped here\. Give joints=.*J_regressor"):
        load(save(tmp_path, amass_npz()))


def test_where_up_is_if_it_is_not_amass(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Without a frame rate it may be anyone's; the body stands along y, so y is up."""
    clip = save(tmp_path, npz(global_orient=np.zeros((2, 3)), body_pose=np.zeros((2, 69))))
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(clip, joints=BODY)
    assert (skeleton.info["up"], skeleton.info["up_from"]) == ("y", "inferred")
    assert "there is no trans" in caplog.text
    np.testing.assert_allclose(skeleton.positions[0, 1], BODY, atol=1e-6)


def test_arrays_of_positions_are_no_poses(tmp_path: Path):
    path = save(tmp_path, npz(positions=person("ntu25", 3), poses=np.zeros((3, 66))))
    assert find_format(path) == "numpy"


GOOD = {"poses": np.zeros((3, 156)), "trans": np.zeros((3, 3)), "mocap_framerate": np.array(120.0)}
BAD: dict[str, tuple[dict[str, Any], Any, str]] = {
    "few joints": ({"poses": np.zeros((3, 63))}, BODY, "at least 22 joints a frame, found 63 numbers"),
    "no multiple": ({"poses": np.zeros((3, 157))}, BODY, "found 157 numbers. Other representations"),
    "trans": ({"trans": np.zeros((2, 3))}, BODY, r"expected trans \[3, 3\], found \[2, 3\]"),
    "nan": ({"poses": np.full((3, 156), np.nan)}, BODY, "found nan"),
    "objects": ({"poses": np.array([{}], dtype=object)}, BODY, "objects are refused"),
    "text": ({"poses": np.array([["a"] * 66])}, BODY, "expected numbers, found type <U1"),
    "no frames": ({"poses": np.zeros((0, 156)), "trans": np.zeros((0, 3))}, BODY, r"expected poses \[frames, 3"),
    "rate": ({"mocap_framerate": np.array(-1.0)}, BODY, "to be frames per second, found -1"),
    "rest": ({}, BODY[:20], r"expected rest joints \[24, 3\]"),
    "rest of text": ({}, np.array([["a"] * 3] * 24), "expected rest joints"),
    "infinite rest": ({}, np.full((24, 3), np.inf), "found inf"),
}


@pytest.mark.parametrize(("changes", "joints", "message"), BAD.values(), ids=BAD)
def test_bad(tmp_path: Path, changes: dict[str, Any], joints: Any, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, npz(**(GOOD | changes))), joints=joints)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"v_template": None}, "or J_regressor and v_template; found none"),
        ({"v_template": np.ones((31, 3))}, r"expected J_regressor \[joints, vertices\]"),
        ({"shapedirs": np.ones((30, 10))}, r"expected shapedirs \[vertices, 3, shapes\]"),
        ({"J_regressor": np.array(["a"])}, "expected numbers"),
    ],
)
def test_bad_models(tmp_path: Path, arrays: dict[str, Any], message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, amass_npz()), joints=model(tmp_path, **arrays)[0])


def test_no_poses(tmp_path: Path):
    with pytest.raises(ReadError, match="expected SMPL's poses, or root_orient and pose_body; found trans"):
        load(save(tmp_path, npz(trans=np.zeros((3, 3)))), format="smpl", joints=BODY)
