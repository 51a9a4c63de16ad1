"""Arrays that say what they are by their shape: HumanML3D, KIT-ML, SMPL-H and SMPL-X bodies, VIBE, FreeMoCap."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from readers_helpers import person

from mamp.layouts import get_layout
from mamp.readers import load


def save(tmp_path: Path, array: np.ndarray) -> Path:
    np.save(tmp_path / "clip.npy", array)
    return tmp_path / "clip.npy"


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([np.cos(angle) * x + np.sin(angle) * z, y, np.cos(angle) * z - np.sin(angle) * x], axis=-1)


def walk(layout: str, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """A body that walks in a circle, [T, V, 3], and where it faces; the first frame is at the origin and faces z."""
    body = person(layout)[0]
    body[:, [0, 2]] -= body[0, [0, 2]]
    angles = np.linspace(0, 1.5, frames)
    places = np.stack([np.sin(angles), np.zeros(frames), 1 - np.cos(angles)], axis=-1)
    return np.stack([turned(body, angle) + place for angle, place in zip(angles, places, strict=True)]), angles


def features(points: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """HumanML3D's features [T, 12 V - 1] of a body, without rotations and speeds."""
    frames, joints, _ = points.shape
    table = np.full((frames, 12 * joints - 1), 7.0)
    for t in range(frames):
        root = points[t, 0]
        if t + 1 < frames:
            table[t, 0] = -(angles[t + 1] - angles[t]) / 2
            step = turned(points[t + 1, 0] - root, -angles[t + 1])
            table[t, 1:3] = step[[0, 2]]
        table[t, 3] = root[1]
        table[t, 4 : 1 + 3 * joints] = turned(points[t, 1:] - root * np.array([1, 0, 1]), -angles[t]).ravel()
    return table


def test_humanml3d(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    points, angles = walk("smpl22", 30)
    table = features(points, angles)
    assert table.shape == (30, 263)
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, table))
    assert (skeleton.layout.name, skeleton.fps, skeleton.info["up"]) == ("smpl22", 20, "y")
    np.testing.assert_allclose(skeleton.positions[0], points, atol=1e-5)
    assert "taken as the features of HumanML3D" in caplog.text


def test_kit_ml(tmp_path: Path):
    joints = get_layout("mmm21").joints
    body = np.random.default_rng(0).normal(size=(1, 21, 3))
    points = np.repeat(body - body[:, :1] * np.array([1, 0, 1]), 5, 0)
    table = features(points, np.zeros(5))
    assert table.shape == (5, 251)
    skeleton = load(save(tmp_path, table), unit="m")
    assert (skeleton.layout.joints, skeleton.fps) == (joints, 12.5)
    np.testing.assert_allclose(skeleton.positions[0], points, atol=1e-5)


BODIES = [(52, "smpl22"), (55, "smpl22"), (127, "smpl22"), (144, "smpl22"), (45, "smpl24"), (49, "body25"),
          (553, "mediapipe33")]  # fmt: skip


@pytest.mark.parametrize(("joints", "layout"), BODIES)
@pytest.mark.parametrize("people", [None, 2])
def test_bodies_with_more_behind_them(tmp_path: Path, joints: int, layout: str, people: int | None):
    body = person(layout, 4)
    points = np.full((4, joints, 3), 3.0)
    points[:, : body.shape[1]] = body
    array = points if people is None else np.stack([points] * people)
    skeleton = load(save(tmp_path, array))
    assert skeleton.layout.name == layout
    np.testing.assert_allclose(skeleton.positions[0], body, atol=1e-5)
    assert len(skeleton.positions) == (people or 1)


def test_confidence_goes_along(tmp_path: Path):
    points = np.full((4, 55, 3), 3.0)
    points[:, :22] = person("smpl22", 4)
    np.savez(tmp_path / "clip.npz", positions=points, confidence=np.tile(np.arange(55) / 55, (4, 1)))
    confidence = load(tmp_path / "clip.npz").confidence
    assert confidence is not None and confidence.shape == (1, 4, 22)


def test_a_layout_that_is_said_wins(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(4, 52, 3))
    assert load(save(tmp_path, points), layout=[*get_layout("smpl22").joints, *(f"h{i}" for i in range(30))], up="y",
                unit="m").positions.shape[2] == 52  # fmt: skip


def test_arrays_of_21_joints(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, np.random.default_rng(0).normal(size=(4, 21, 3))), unit="m", up="y")
    assert skeleton.layout.name == "mmm21" and "21 of them taken as layout 'mmm21'" in caplog.text


@pytest.mark.parametrize("people", [None, 2])
def test_smpl_without_pelvis(tmp_path: Path, people: int | None, caplog: pytest.LogCaptureFixture):
    body = person("smpl22", 4)
    array = body[:, 1:] if people is None else np.stack([body[:, 1:]] * people)
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, array))
    assert skeleton.layout.name == "smpl22" and "smpl22 without its pelvis" in caplog.text
    np.testing.assert_allclose(skeleton.positions[0][:, 1:], body[:, 1:], atol=1e-5)
    assert np.linalg.norm(skeleton.positions[0][:, 0] - body[:, 0], axis=-1).max() < 0.06


def test_master_motor_map(tmp_path: Path):
    side = {
        "S": (0.18, 1.42, 0), "E": (0.25, 1.15, -0.02), "W": (0.28, 0.9, 0.05), "H": (0.1, 0.93, 0),
        "K": (0.11, 0.5, 0.06), "A": (0.11, 0.09, 0), "Mrot": (0.11, 0.05, 0.02), "F": (0.12, 0.03, 0.14),
    }  # fmt: skip
    middle = {"root": (0, 0.95, 0), "BP": (0, 1.05, 0), "BT": (0, 1.2, 0), "BLN": (0, 1.45, 0), "BUN": (0, 1.55, 0)}
    points = [middle.get(name) or np.array(side[name[1:]]) * [1 if name[0] == "L" else -1, 1, 1]
              for name in get_layout("mmm21").joints]  # fmt: skip
    skeleton = load(save(tmp_path, np.stack([np.array(points, dtype=np.float64)] * 3)))
    assert (skeleton.layout.name, skeleton.info["unit"], skeleton.info["up"]) == ("mmm21", "m", "y")
