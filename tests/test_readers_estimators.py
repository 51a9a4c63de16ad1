"""MediaPipe, OpenPose, MMPose and Azure Kinect: what each tool writes becomes the body that it was made of."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers_helpers import (
    azure_content,
    azure_json,
    camera,
    landmarks,
    mediapipe_csv,
    mediapipe_json,
    mmpose_json,
    mmpose_points,
    openpose_frame,
    openpose_json,
    person,
    world,
)

from mamp.errors import LayoutError, MAMPError, ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, load
from mamp.skeleton import Skeleton

POSE = get_layout("mediapipe33").joints


def save(tmp_path: Path, content: Any, name: str = "clip.json") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def assert_is(skeleton: Skeleton, layout: str, frames: int = 3, atol: float = 1e-5) -> None:
    """It is the made-up person, in metres, y up, right-handed; where the origin is does not matter."""
    assert skeleton.layout.name == layout
    wanted, found = person(layout, frames), skeleton.positions[0].astype(float)
    root = 0 if layout not in ("body25", "mediapipe33") else [j.lower() for j in skeleton.layout.joints].index("nose")
    np.testing.assert_allclose(found - found[:, [root]], wanted - wanted[:, [root]], atol=atol)


# --- MediaPipe ---


def spellings() -> dict[str, Any]:
    bodies = [landmarks(points) for points in world(3)]
    lists = [[[*point.values()] for point in body] for body in bodies]
    names = [dict(zip((joint.upper() for joint in POSE), body, strict=True)) for body in bodies]
    image = landmarks(np.random.default_rng(0).uniform(size=(33, 3)))
    return {
        "javascript, one person": [{"poseLandmarks": image, "poseWorldLandmarks": body} for body in bodies],
        "javascript, people": [{"landmarks": [image], "worldLandmarks": [body]} for body in bodies],
        "python": [{"pose_landmarks": [image], "pose_world_landmarks": [body]} for body in bodies],
        "frames": {"fps": 30, "frames": [{"world_landmarks": body} for body in bodies]},
        "by number": {str(i): {"world_landmarks": bodies[i]} for i in (2, 0, 1)},
        "by name": {f"frame_{i}": names[i] for i in range(3)},
        "message": [{"poseWorldLandmarks": {"landmark": body}} for body in bodies],
        "one object": {"pose_world_landmarks": lists},
        "only lists": lists,
        "lists of people": [[body] for body in lists],
        "only landmarks": bodies,
        "people": [{"people": [{"id": 1, "poseWorldLandmarks": body}]} for body in bodies],
        "named world": [{"world": body} for body in names],
        "tensorflow": [
            [{"score": 0.9, "keypoints": image, "keypoints3D": landmarks(p, None, score=0.9)}] for p in world(3)
        ],
    }


@pytest.mark.parametrize("kind", spellings())
def test_mediapipe_json(tmp_path: Path, kind: str):
    path = save(tmp_path, spellings()[kind])
    assert find_format(path) == "mediapipe"
    skeleton = load(path)
    assert_is(skeleton, "mediapipe33")
    assert skeleton.confidence is not None
    np.testing.assert_allclose(skeleton.confidence, 0.9, rtol=1e-6)
    facts = skeleton.info
    assert (facts["unit_from"], facts["up"], facts["up_from"], facts["handedness"]) == (
        "format", "-y", "format", "right",
    )  # fmt: skip


def test_mediapipe_lines(tmp_path: Path):
    lines = [json.dumps({"world_landmarks": [landmarks(points)]}) for points in world(3)]
    assert_is(load(save(tmp_path, "\n".join(lines).encode(), "clip.jsonl")), "mediapipe33")


def test_mediapipe_frames_without_anybody_and_several_people(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    one, two = world(2)
    frames: list[Any] = [
        {"timestamp_ms": 0, "world_landmarks": [landmarks(one), landmarks(two)]},
        {"timestamp_ms": 20, "world_landmarks": []},
        {"timestamp_ms": 40, "world_landmarks": None},
        {"timestamp_ms": 60},
        {"timestamp_ms": 80, "world_landmarks": [landmarks(two)]},
    ]
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, frames))
    assert "people are told by their place in each frame" in caplog.text
    assert skeleton.positions.shape == (2, 5, 33, 3) and skeleton.fps == 50
    assert skeleton.tracked.all(-1).tolist() == [[True, False, False, False, True], [True] + [False] * 4]
    np.testing.assert_allclose(skeleton.positions[1, 0], two * [1, -1, -1], atol=1e-6)
    assert skeleton.confidence is not None and skeleton.confidence[:, 1:4].max() == 0


@pytest.mark.parametrize("key", ["poseLandmarks", "pose_landmarks", "landmarks", "only"])
def test_mediapipe_image_landmarks_are_refused(tmp_path: Path, key: str):
    image = (world(1)[0] * [0.2, 0.3, 0.2] + [0.5, 0.5, 0]).clip(0, 1)
    content = [landmarks(image)] if key == "only" else [{key: [landmarks(image)]}]
    for options in ({}, {"format": "mediapipe"}, {"allow_2d": True}):
        with pytest.raises(ReadError, match=r"image .*depth that is not measured.*Save pose_world_landmarks"):
            load(save(tmp_path, content), **options)


def test_mediapipe_csv_of_image_landmarks_is_refused(tmp_path: Path):
    image = (world(3) * [0.2, 0.3, 0.2] + [0.5, 0.5, 0]).round(4)
    header = ",".join(f"{joint}_{axis}" for joint in POSE for axis in "xyz")
    text = "\n".join([header, *(",".join(map(str, row)) for row in image.reshape(3, 99))])
    path = save(tmp_path, text.encode(), "clip.csv")
    with pytest.raises(ReadError, match=r"the middle of the hips is 0\.71 from the origin"):
        load(path)
    assert load(path, format="csv", unit="m", up="-y").layout.name == "mediapipe33", "who insists gets it"


CSV = {
    "x0 y0 z0 v0": lambda i, name, axis: f"{axis}{i}",
    "x1": lambda i, name, axis: f"{axis}{i + 1}",
    "x_0": lambda i, name, axis: f"{axis}_{i}",
    "0_x": lambda i, name, axis: f"{i}_{axis}",
    "landmark_0_x": lambda i, name, axis: f"landmark_{i}_{axis}",
    "NOSE_x": lambda i, name, axis: f"{name.upper()}_{axis}",
    "nose.x": lambda i, name, axis: f"{name}.{axis}",
    "x_nose": lambda i, name, axis: f"{axis}_{name}",
    "world": lambda i, name, axis: f"pose_world_landmarks_{i}_{axis}",
}


@pytest.mark.parametrize("spelling", CSV)
@pytest.mark.parametrize("more", ["", "frame", "timestamp_ms", "class"])
def test_mediapipe_csv(tmp_path: Path, spelling: str, more: str):
    values = np.c_[world(3).reshape(99, 3), np.full(99, 0.75)].reshape(3, 132).round(6)
    header = [CSV[spelling](i, name, axis) for i, name in enumerate(POSE) for axis in "xyzv"]
    rows = [[*map(str, row)] for row in values]
    if more:
        header = [more, *header]
        rows = [["jump" if more == "class" else str(number * 40), *row] for number, row in enumerate(rows)]
    path = save(tmp_path, "\n".join(",".join(row) for row in [header, *rows]).encode(), "clip.csv")
    assert find_format(path) == "mediapipe"
    skeleton = load(path)
    assert_is(skeleton, "mediapipe33")
    assert skeleton.confidence is not None and (skeleton.confidence == 0.75).all()
    assert skeleton.fps == (25 if more == "timestamp_ms" else None)


def test_mediapipe_csv_with_image_and_world(tmp_path: Path):
    points = world(2)
    header, rows = ["frame"], [["0"], ["1"]]
    for kind, values in (("pose", points * 0.1 + 0.5), ("pose_world", points)):
        header += [f"{kind}_{i}_{axis}" for i in range(33) for axis in "xyz"]
        for row, frame in zip(rows, values, strict=True):
            row += [str(number) for number in frame.ravel().round(6)]
    path = save(tmp_path, "\n".join(",".join(row) for row in [header, *rows]).encode(), "clip.csv")
    assert_is(load(path, format="mediapipe"), "mediapipe33", frames=2)


@pytest.mark.parametrize("names", ["name", "id"])
def test_mediapipe_csv_a_row_a_landmark(tmp_path: Path, names: str):
    rows = [f"frame,landmark_{names},x,y,z,visibility"]
    for frame, points in enumerate(world(3)):
        for i in np.random.default_rng(frame).permutation(33):
            rows.append(f"{frame},{POSE[i].upper() if names == 'name' else i},{','.join(map(str, points[i]))},0.5")
    path = save(tmp_path, "\n".join(rows).encode(), "clip.csv")
    assert find_format(path) == "mediapipe"
    skeleton = load(path)
    assert_is(skeleton, "mediapipe33")
    assert skeleton.confidence is not None and (skeleton.confidence == 0.5).all()


BAD_MEDIAPIPE = {
    "hand": ([[landmarks(np.ones((21, 3)))]], "expected the 33 landmarks of MediaPipe's pose, found 21. A hand has 21"),
    "no z": ([{"world_landmarks": [[{"x": 1, "y": 2}] * 33]}], "nobody"),
    "a landmark without z": ([[*landmarks(world()[0])[:32], {"x": 1}]], "expected landmarks with x, y and z"),
    "text": ([[*landmarks(world()[0])[:32], {"x": "a", "y": 1, "z": 1}]], "something else than numbers"),
    "deep": ([[[[[[[[[[[[1]]]]]]]]]]]], "nested too deeply"),
    "numbers": ([1, 2, 3], "expected landmarks, found 1"),
    "nobody": ([{"world_landmarks": []}] * 3, "found nobody"),
    "infinite": ([{"world_landmarks": landmarks(np.full((33, 3), np.inf))}], "found -?inf"),
}


@pytest.mark.parametrize(("content", "message"), BAD_MEDIAPIPE.values(), ids=BAD_MEDIAPIPE)
def test_bad_mediapipe(tmp_path: Path, content: Any, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, content), format="mediapipe")


# --- OpenPose ---


def test_openpose_folder_in_the_order_of_its_numbers(tmp_path: Path):
    folder = tmp_path / "json"
    folder.mkdir()
    bodies = person("body25", 12)
    for number in (9, 0, 10, 11, *range(1, 9)):
        save(folder, openpose_frame(camera(bodies[number])), f"clip_{number}_keypoints.json")
    (folder / "notes.txt").write_text("not a frame")
    assert find_format(folder) == "openpose"
    skeleton = load(folder, fps=30)
    assert_is(skeleton, "body25", frames=12)
    assert (skeleton.info["unit"], skeleton.info["up"], skeleton.info["up_from"]) == ("mm", "-y", "inferred")
    np.testing.assert_allclose(skeleton.positions[0].astype(float), bodies, atol=1e-5)


@pytest.mark.parametrize("shape", ["one frame", "list", "frames", "by name"])
def test_openpose_in_one_file(tmp_path: Path, shape: str):
    frames = [openpose_frame(camera(points)) for points in person("body25", 1 if shape == "one frame" else 3)]
    content = {
        "one frame": frames[0], "list": frames, "frames": {"frames": frames},
        "by name": {f"{i}.png": frame for i, frame in enumerate(frames)},
    }[shape]  # fmt: skip
    path = save(tmp_path, content)
    assert find_format(path) == "openpose"
    assert_is(load(path), "body25", frames=len(frames))


def test_openpose_people_by_number_and_joints_that_were_not_found(tmp_path: Path):
    one, two = camera(person("body25", 2))
    frames = [openpose_frame(one, two, person_id=[4, 7]), openpose_frame(two, person_id=[7])]
    frames[0]["people"][0]["pose_keypoints_3d"][4 * 3 : 4 * 4] = [0, 0, 0, 0]
    skeleton = load(save(tmp_path, frames), unit="mm", up="-y")
    assert skeleton.positions.shape == (2, 2, 25, 3)
    assert not skeleton.tracked[0, 1].any() and skeleton.tracked[1].all()
    assert skeleton.tracked[0, 0].sum() == 24 and not skeleton.tracked[0, 0, 3]
    np.testing.assert_allclose(skeleton.positions[1, 1], person("body25", 2)[1], atol=1e-6)
    assert skeleton.confidence is not None and skeleton.confidence[0, 0, 3] == 0 and skeleton.confidence[1].all()


def test_openpose_people_without_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    one, two = camera(person("body25", 2))
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, [openpose_frame(one, two)] * 2), unit="mm", up="-y")
    assert skeleton.positions.shape == (2, 2, 25, 3) and "by their place in each frame" in caplog.text


def test_openpose_coco(tmp_path: Path):
    """The 18 joints of the older model: a neck, and the others in an order of their own."""
    order = [
        "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
        "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye",
        "right_ear", "left_ear",
    ]  # fmt: skip
    points = dict(zip(get_layout("coco17").joints, camera(person("coco17"))[0], strict=True)) | {"neck": np.ones(3)}
    frame = openpose_frame(np.array([points[name] for name in order]))
    skeleton = load(save(tmp_path, frame))
    np.testing.assert_allclose(skeleton.positions[0].astype(float), person("coco17"), atol=1e-5)


def flat_openpose() -> dict[str, Any]:
    frame = openpose_frame(camera(person("body25"))[0])
    frame["people"][0]["pose_keypoints_3d"] = []
    return frame


def test_openpose_2d_is_refused_unless_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path, [flat_openpose()] * 3)
    with pytest.raises(
        ReadError, match=r"no pose_keypoints_3d .*were not trained on; lift them to 3D, or say allow_2d"
    ):
        load(path)
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path, allow_2d=True)
    assert "does not say its unit" in caplog.text
    assert not skeleton.positions[..., 2].any() and skeleton.tracked.all()
    found = skeleton.positions[0, 0].astype(float)
    wanted = person("body25")[0, :, :2]
    found, wanted = found[:, :2] - found[0, :2], wanted - wanted[0]
    np.testing.assert_allclose(found / np.ptp(found[:, 1]), wanted / np.ptp(wanted[:, 1]), atol=1e-3)
    assert 1.4 < np.ptp(found[:, 1]) < 2, "scaled to a person's height, head up"


BAD_OPENPOSE: dict[str, tuple[Any, str]] = {
    "numbers": ({"people": [{"pose_keypoints_3d": [1.0] * 99}]}, r"25 or 18 joints, 4 numbers each; found \[99\]"),
    "nested": ({"people": [{"pose_keypoints_3d": [[1.0] * 4] * 25}]}, r"found \[25, 4\]"),
    "people": ({"people": [1]}, "expected {.people.:"),
    "nobody": ([{"people": []}] * 3, "nobody was found in 3 frames"),
    "twice": (openpose_frame(*person("body25", 2), person_id=[3, 3]), "holds the person 3 twice"),
    "differing": ({"people": [{"pose_keypoints_3d": [1.0] * n} for n in (100, 72)]}, "found 25 and 17"),
    "list": ([[1]], "expected {.people.:"),
}


@pytest.mark.parametrize(("content", "message"), BAD_OPENPOSE.values(), ids=BAD_OPENPOSE)
def test_bad_openpose(tmp_path: Path, content: Any, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, content), format="openpose")


def test_folders_of_no_use(tmp_path: Path):
    with pytest.raises(ReadError, match="is a folder; expected a file with one recording, or a folder of JSON"):
        load(tmp_path)
    with pytest.raises(ReadError, match="expected a folder of JSON files as OpenPose writes them"):
        load(tmp_path, format="openpose")


# --- MMPose ---


@pytest.mark.parametrize("shape", ["inferencer", "demo", "batch", "nested"])
def test_mmpose(tmp_path: Path, shape: str):
    frames = json.loads(mmpose_json())
    if shape == "nested":
        for frame in frames:
            frame["instances"][0]["keypoints"] = [frame["instances"][0]["keypoints"]]
    content = {"demo": {"meta_info": {"dataset_name": "h36m"}, "instance_info": frames}, "batch": frames}
    path = save(tmp_path, content.get(shape, frames))
    assert find_format(path) == "mmpose"
    skeleton = load(path)
    assert_is(skeleton, "h36m17")
    assert skeleton.confidence is not None
    np.testing.assert_allclose(skeleton.confidence, 0.8, rtol=1e-6)
    assert (skeleton.info["up"], skeleton.info["handedness"], skeleton.info["handedness_from"]) == (
        "z", "left", "format",
    )  # fmt: skip


def test_mmpose_folder_of_pictures(tmp_path: Path):
    for number, points in enumerate(person("h36m17", 3)):
        instance = {"keypoints": mmpose_points(points).tolist(), "keypoint_scores": [1.0] * 17}
        save(tmp_path, [instance], f"picture_{number:03}.json")
    assert find_format(tmp_path) == "mmpose"
    assert_is(load(tmp_path), "h36m17")


def test_mmpose_2d_is_refused_unless_asked_for(tmp_path: Path):
    points = camera(person("coco17"))[0, :, :2] * 200 + 400
    path = save(tmp_path, [{"frame_id": 0, "instances": [{"keypoints": points.tolist()}]}])
    with pytest.raises(ReadError, match=r"predictions in 2D; a lifter .* lift them to 3D"):
        load(path)
    skeleton = load(path, allow_2d=True)
    assert skeleton.layout.name == "coco17" and skeleton.confidence is None
    heights = skeleton.positions[0, 0, :, 1]
    joints = skeleton.layout.joints
    assert heights[joints.index("nose")] > heights[joints.index("left_hip")] > heights[joints.index("left_ankle")]


BAD_MMPOSE: dict[str, tuple[Any, str]] = {
    "keypoints": ([{"instances": [{"keypoints": [1, 2]}]}], r"expected keypoints \[joints\]\[3\], found \[2\]"),
    "scores": ([{"instances": [{"keypoints": [[1, 2, 3]] * 17, "keypoint_scores": [1]}]}], "expected 17 keypoint_sc"),
    "frames": ({"instance_info": {}}, "expected frames with .instances."),
    "a frame": ([{"frame_id": 3}], "expected frames with .instances."),
    "instance": ([{"instances": [3]}], "expected an instance with .keypoints."),
}


@pytest.mark.parametrize(("content", "message"), BAD_MMPOSE.values(), ids=BAD_MMPOSE)
def test_bad_mmpose(tmp_path: Path, content: Any, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, content), format="mmpose")


def test_mmpose_of_other_joints_needs_a_layout(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(18, 3)).tolist()
    with pytest.raises(LayoutError, match="no registered layout has 18"):
        load(save(tmp_path, [{"instances": [{"keypoints": points}]}]))


# --- Azure Kinect ---


def test_azure(tmp_path: Path):
    path = save(tmp_path, azure_json())
    assert find_format(path) == "azure"
    skeleton = load(path)
    assert_is(skeleton, "azure32")
    assert (skeleton.fps, skeleton.info["unit"], skeleton.info["up"]) == (30, "mm", "-y")
    assert skeleton.positions[0, 0, 0, 2] == pytest.approx(-2.5, abs=0.05), "the camera looks along -z"


def test_azure_bodies_and_confidence(tmp_path: Path):
    content = azure_content(3)
    for number in (1, 2):
        other = {"body_id": 3, "joint_positions": content["frames"][number]["bodies"][0]["joint_positions"]}
        content["frames"][number]["bodies"].insert(0, other)
    for frame in content["frames"]:
        for body in frame["bodies"]:
            body["confidence_levels"] = [0, 1, 2, 3] + [2] * 28
    skeleton = load(save(tmp_path, content))
    assert skeleton.positions.shape == (2, 3, 32, 3)
    assert skeleton.tracked.any(-1).tolist() == [[True] * 3, [False, True, True]]
    assert skeleton.confidence is not None and skeleton.confidence[0, 0, :5].tolist() == [0, 0.5, 1, 1, 1]
    assert not skeleton.tracked[0, 0, 0] and skeleton.tracked[0, 0, 1:].all()


def test_azure_joints_in_another_order(tmp_path: Path):
    content = azure_content(3)
    order = np.random.default_rng(0).permutation(32)
    content["joint_names"] = [content["joint_names"][i].replace("NAVEL", "NAVAL") for i in order]
    for frame in content["frames"]:
        frame["bodies"][0]["joint_positions"] = [frame["bodies"][0]["joint_positions"][i] for i in order]
    skeleton = load(save(tmp_path, content))
    back = [skeleton.layout.joints.index(joint) for joint in get_layout("azure32").joints]
    np.testing.assert_allclose(
        np.diff(skeleton.positions[0][:, back], axis=1), np.diff(person("azure32", 3), axis=1), atol=1e-5
    )


BAD_AZURE: dict[str, tuple[Any, str]] = {
    "joints": ({"frames": [{"bodies": [{"joint_positions": [[1, 2, 3]] * 25}]}]}, r"\[32\]\[3\], found \[25, 3\]"),
    "names": ({**azure_content(), "joint_names": ["HEAD"]}, "expected the 32 joint_names of the SDK"),
    "no names": ({**azure_content(), "joint_names": 3.5}, "expected the 32 joint_names of the SDK"),
    "bodies": ({"frames": [{"frame_id": 0}]}, "expected a frame with .bodies."),
    "frames": ({"frames": 3}, "expected {.frames.:"),
    "levels": (
        {"frames": [{"bodies": [{"joint_positions": [[1, 2, 3]] * 32, "confidence_levels": [1]}]}]},
        r"expected confidence_levels \[32\], found \[1\]",
    ),
}


@pytest.mark.parametrize(("content", "message"), BAD_AZURE.values(), ids=BAD_AZURE)
def test_bad_azure(tmp_path: Path, content: Any, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, content), format="azure")


@pytest.mark.parametrize("data", [mediapipe_json, mediapipe_csv, openpose_json, mmpose_json, azure_json])
def test_what_the_caller_says_wins(tmp_path: Path, data: Any):
    path = save(tmp_path, data(), "clip.csv" if data is mediapipe_csv else "clip.json")
    plain = load(path, unit=0.1, up="y", handedness="right", fps=10)
    mirrored = load(path, unit="mm", up="y", handedness="left")
    assert (plain.fps, plain.info["unit_from"], plain.info["handedness_from"]) == (10, "given", "given")
    np.testing.assert_allclose(mirrored.positions, plain.positions * np.array([-0.01, 0.01, 0.01]), rtol=1e-5)


def test_formats_are_not_mistaken(tmp_path: Path):
    path = save(tmp_path, azure_json())
    for format in ("openpose", "mmpose", "nwucla"):
        with pytest.raises(MAMPError, match="expected"):
            load(path, format=format)


NUMBERS = ",".join("1" for _ in range(1_000_000))


ZEROS = ",".join("0" for _ in range(1_000_000))
MANY = (f'{{"pose_world_landmarks": [{NUMBERS}]}}', f"[{NUMBERS}]", f'{{"skeletons": [{NUMBERS}]}}', f"[{ZEROS}]")


@pytest.mark.parametrize("text", MANY, ids=["landmarks", "list", "skeletons", "zeros"])
def test_many_integers_are_refused_soon(tmp_path, text: str):
    """Two megabytes; three times as many were to take ten seconds at most."""
    (tmp_path / "clip.json").write_text(text)
    start = time.process_time()
    with pytest.raises(ReadError):
        load(tmp_path / "clip.json")
    assert time.process_time() - start < 5


@pytest.mark.parametrize("depth", [33, 70, 900])
@pytest.mark.parametrize("key", ["skeletons", "people", "pose_world_landmarks", "bodies", "keypoints3d"])
def test_lists_in_lists_in_lists(tmp_path, key: str, depth: int):
    text = f'{{"frames": [{{"{key}": {"[" * depth}1{"]" * depth}}}]}}'
    for content in (text, f'{{"{key}": {"[" * depth}1{"]" * depth}}}'):
        (tmp_path / "clip.json").write_text(content)
        with pytest.raises(ReadError):
            load(tmp_path / "clip.json")
