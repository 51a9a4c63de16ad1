"""JSON files of one frame each: Panoptic Studio and EasyMocap; and confidence that says what was guessed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers_helpers import camera, landmarks, person, world

from mamp.cli import main
from mamp.errors import ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, load


def save(tmp_path: Path, frames: list[Any], name: str = "body3DScene_{:08d}.json") -> Path:
    folder = tmp_path / "frames"
    folder.mkdir(exist_ok=True)
    for number, frame in enumerate(frames):
        (folder / name.format(98 + number)).write_text(json.dumps(frame))
    return folder


def panoptic(*bodies: np.ndarray, confidence: float = 0.9) -> dict[str, Any]:
    """A frame of bodies [19, 3] in metres of the camera."""
    tables = [np.c_[100 * points, np.full(19, confidence)] for points in bodies]
    found = [{"id": 5 + number, "joints19": table.ravel().tolist()} for number, table in enumerate(tables)]
    return {"version": 0.7, "univTime": 1.0, "fpsType": "hd_29_97", "bodies": found}


def test_panoptic(tmp_path: Path):
    points = person("panoptic19", 4)
    folder = save(tmp_path, [panoptic(camera(frame)) for frame in points])
    skeleton = load(folder)
    assert (find_format(folder), skeleton.layout.name, skeleton.fps) == ("panoptic", "panoptic19", 29.97)
    assert (skeleton.info["unit"], skeleton.info["up"], skeleton.info["up_from"]) == ("cm", "-y", "format")
    np.testing.assert_allclose(skeleton.positions[0], points, atol=1e-5)
    one = sorted(folder.iterdir())[2]
    np.testing.assert_allclose(load(one).positions[0, 0], points[2], atol=1e-5)


def test_panoptic_people_and_joints_that_were_not_found(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    points = camera(person("panoptic19")[0])
    frames = [panoptic(points, points + np.array([1, 0, 0])), panoptic(points), {**panoptic(), "bodies": []}]
    frames[0]["bodies"][0]["joints19"][3] = -1
    frames[0]["bodies"][0]["joints19"][7] = 0.05
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, frames))
    assert skeleton.tracked.sum(-1).tolist() == [[17, 19, 0], [19, 0, 0]]
    assert "confidence below 0.1 and count as not tracked. Say min_confidence=0" in caplog.text
    assert load(tmp_path / "frames", min_confidence=0).tracked.sum() == 18 + 19 + 19


def test_easymocap(tmp_path: Path):
    points = person("body25", 4)
    frames = [[{"id": 3, "keypoints3d": np.c_[frame, np.ones(25)].tolist()}] for frame in points]
    frames[1][0]["keypoints3d"][4] = [0, 0, 0, 0]
    folder = save(tmp_path, frames, "{:06d}.json")
    skeleton = load(folder, fps=50)
    assert (find_format(folder), skeleton.layout.name, skeleton.info["unit_from"]) == ("easymocap", "body25", "format")
    seen = skeleton.tracked[0]
    assert seen.sum(1).tolist() == [25, 24, 25, 25]
    np.testing.assert_allclose(skeleton.positions[0][seen], points[seen], atol=1e-5)


def test_easymocap_with_hands_and_without_confidence(tmp_path: Path):
    points = np.concatenate([person("body25", 2), np.ones((2, 42, 3))], axis=1)
    folder = save(tmp_path, [[{"id": 0, "keypoints3d": frame.tolist()}] for frame in points], "{:06d}.json")
    assert load(folder).layout.joints == get_layout("body25").joints


BAD = {
    "other joints": (panoptic() | {"bodies": [{"id": 0, "joints19": [1, 2, 3]}]}, "joints19 of 19 joints, 4 numbers"),
    "no list": ({"joints19": 1, "bodies": 3}, "expected .*bodies"),
    "words": ({"bodies": [{"joints19": ["a"] * 76}]}, "something else than numbers"),
    "nobody": (panoptic() | {"joints19": 1}, "nobody was found"),
    "hand": ([{"id": 0, "keypoints3d": [[1, 2, 3, 1]] * 21}], "keypoints3d of 25 joints"),
    "no bodies": ({"keypoints3d": 3}, "expected .*keypoints3d"),
}


@pytest.mark.parametrize(("frame", "message"), BAD.values(), ids=BAD)
def test_bad(tmp_path: Path, frame: Any, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, [frame]))


def guessed_legs(tmp_path: Path, **more: Any) -> Path:
    """World landmarks of somebody whose legs are out of the picture: there, but of visibility 0.02."""
    frames = [landmarks(points) for points in world(3)]
    for frame in frames:
        for joint in range(25, 33):
            frame[joint]["visibility"] = 0.02
    path = tmp_path / "clip.json"
    path.write_text(json.dumps({"frames": [{"pose_world_landmarks": [frame]} for frame in frames], **more}))
    return path


def test_guessed_landmarks_are_not_tracked(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = guessed_legs(tmp_path)
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path)
    assert not skeleton.tracked[0, :, 25:].any() and skeleton.tracked[0, :, :25].all()
    assert "24.2 % of the joints have a confidence below 0.1" in caplog.text
    assert load(path, min_confidence=0).tracked.all()
    assert load(path, min_confidence=0.01).tracked.all()
    with pytest.raises(ReadError, match=r"no joint has a confidence of 0\.95 or more"):
        load(path, min_confidence=0.95)
    with pytest.raises(ReadError, match="min_confidence=2: expected a number from 0 to 1"):
        load(path, min_confidence=2)


def test_a_visibility_that_is_zero_throughout_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = tmp_path / "clip.json"
    path.write_text(json.dumps([{"worldLandmarks": [landmarks(points, 0.0)]} for points in world(3)]))
    with caplog.at_level(logging.WARNING, logger="mamp"):
        assert load(path).tracked.all()
    assert "no joint has a confidence of 0.1 or more; it is not used" in caplog.text


def test_a_confidence_of_ones_own_is_used_only_if_asked_for(tmp_path: Path):
    confidence = np.ones((3, 25))
    confidence[:, 5] = 0.3
    np.savez(tmp_path / "clip.npz", positions=person("ntu25", 3), confidence=confidence)
    assert load(tmp_path / "clip.npz").tracked.all()
    assert load(tmp_path / "clip.npz", min_confidence=0.5).tracked.sum() == 72


def test_the_option_of_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["info", str(guessed_legs(tmp_path)), "--min-confidence", "0"]) == 0
    assert "mediapipe33" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["metadata", "meta", "video_info"])
def test_the_rate_may_be_in_the_metadata(tmp_path: Path, key: str):
    assert load(guessed_legs(tmp_path, **{key: {"fps": 24, "width": 640}})).fps == 24
    assert load(guessed_legs(tmp_path, fps=25, **{key: {"fps": 24}})).fps == 25
