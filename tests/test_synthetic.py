"""Recordings made by formula: bodies that a person could have, feet on the ground, left on the left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mamp import load
from mamp.errors import RecordingError
from mamp.synthetic import ACTIONS, FPS, Style, synthesize, write_recordings

STYLES = {
    "usual": Style(),
    "small and turned": Style(speed=0.8, size=0.8, height=0.9, heading=0.8, side=-1, phase=2.0),
    "large and fast": Style(speed=1.25, size=1.2, height=1.12, heading=-0.8, phase=4.0),
}


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("action", ACTIONS)
def test_body_and_ground(action: str, style: Style, tmp_path: Path) -> None:
    path = tmp_path / "a.bvh"
    path.write_text(synthesize(action, style, seconds=3.0))
    recording = load(path, unit="cm", up="y")
    assert recording.num_frames == 3 * FPS and recording.fps == pytest.approx(FPS, abs=1e-3)
    positions, layout = recording.positions[0].astype(np.float64), recording.layout
    for joint, parent in enumerate(layout.parents):
        if parent >= 0:
            bone = np.linalg.norm(positions[:, joint] - positions[:, parent], axis=-1)
            assert np.ptp(bone) < 1e-5, layout.joints[joint]

    joints = {name: positions[:, i] for i, name in enumerate(layout.joints)}
    low = np.minimum.reduce([joints[side + name][:, 1] for side in ("Left", "Right") for name in ("Foot", "ToeBase")])
    toes = np.minimum(joints["LeftToeBase"][:, 1], joints["RightToeBase"][:, 1])
    assert low.min() > 0 and toes.min() < 0.03 * style.height  # never under the ground, and on it at some time
    if action not in ("run", "jump"):
        assert toes.max() < 0.12 * style.height  # one foot is always down

    speed = np.linalg.norm(np.diff(positions, axis=0), axis=-1) * FPS
    assert 0.3 < speed.max() < 12  # metres a second

    left = joints["LeftUpLeg"] - joints["RightUpLeg"]
    forward = joints["LeftToeBase"] + joints["RightToeBase"] - joints["LeftFoot"] - joints["RightFoot"]
    up = np.array([0.0, 1.0, 0.0])
    assert (np.cross(up, forward.mean(axis=0)) * left.mean(axis=0)).sum() > 0  # up x forward is left
    np.testing.assert_allclose(np.arctan2(forward.mean(axis=0)[0], forward.mean(axis=0)[2]), style.heading, atol=0.05)


def test_walk_moves_forwards_and_a_standing_foot_stays(tmp_path: Path) -> None:
    path = tmp_path / "walk.bvh"
    path.write_text(synthesize("walk", seconds=3.0))
    recording = load(path, unit="cm", up="y")
    joints = {name: recording.positions[0, :, i] for i, name in enumerate(recording.layout.joints)}
    assert 0.7 < (joints["Hips"][-1, 2] - joints["Hips"][0, 2]) / 3 < 1.8  # metres a second
    for side in ("Left", "Right"):
        toe = joints[side + "ToeBase"]
        still = np.linalg.norm(np.diff(toe[:, [0, 2]], axis=0), axis=1) < 1e-4
        assert 0.3 < still.mean() < 0.9  # flat on the ground for a good part of the cycle
    hand, foot, shoulder = (joints["Left" + n][:, 2] - joints["Right" + n][:, 2] for n in ("Hand", "Foot", "Arm"))
    assert np.corrcoef(hand, foot)[0, 1] < -0.5 and np.corrcoef(shoulder, foot)[0, 1] < -0.5  # arms against legs


def test_punching_shoulder_goes_along(tmp_path: Path) -> None:
    path = tmp_path / "punch.bvh"
    path.write_text(synthesize("punch"))
    recording = load(path, unit="cm", up="y")
    joints = {name: recording.positions[0, :, i, 2] for i, name in enumerate(recording.layout.joints)}
    hand, shoulder = (joints["Left" + n] - joints["Right" + n] for n in ("Hand", "Arm"))
    assert np.corrcoef(hand, shoulder)[0, 1] > 0.8


def test_waving_hand_is_that_of_the_leading_side(tmp_path: Path) -> None:
    for side, name in ((1.0, "Left"), (-1.0, "Right")):
        path = tmp_path / f"{name}.bvh"
        path.write_text(synthesize("wave", Style(side=side)))
        recording = load(path, unit="cm", up="y")
        highest = recording.positions[0, -1, :, 1].argmax()
        assert recording.layout.joints[highest].startswith(name + "Hand")


def test_seed_decides(tmp_path: Path) -> None:
    first = write_recordings(tmp_path / "a", variations=3, seconds=0.5, seed=5, actions=["walk", "wave"])
    again = write_recordings(tmp_path / "b", variations=3, seconds=0.5, seed=5, actions=["walk", "wave"])
    other = write_recordings(tmp_path / "c", variations=3, seconds=0.5, seed=6, actions=["walk", "wave"])
    assert [path.name for path in first] == [f"{a}-{i}.bvh" for a in ("walk", "wave") for i in range(3)]
    texts = [[path.read_text() for path in paths] for paths in (first, again, other)]
    assert texts[0] == texts[1] and len(set(texts[0])) == 6
    assert [a == b for a, b in zip(texts[0], texts[2], strict=True)] == [True, False, False] * 2


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="unknown action 'fly'; expected one of walk, run"):
        synthesize("fly")
    with pytest.raises(RecordingError, match="above zero, found -1"):
        synthesize("walk", seconds=-1)
    with pytest.raises(RecordingError, match="at least one variation"):
        write_recordings(tmp_path / "none", variations=0)
    with pytest.raises(RecordingError, match="unknown action"):
        write_recordings(tmp_path / "none", actions=["walk", "fly"])
    assert not (tmp_path / "none").exists()
