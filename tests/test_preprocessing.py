"""From a recording to the clip that the weights expect, against the published data preparation and feeder."""

from __future__ import annotations

import dataclasses
import logging
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch.nn import functional as F

import mamp
from mamp import Preprocessing, Skeleton, get_layout
from mamp.data import ClipStore, StoreWriter
from mamp.errors import ConfigError, LayoutError, RecordingError
from mamp.geometry import lerp, middle_crop, resample_index
from mamp.preprocessing import NormalizedClip, normalize, prepare_clip, to_stream

Array = NDArray[np.float32]
Arrays = Mapping[str, Any]
JOINTS = get_layout("ntu25").joints
PUBLISHED = Preprocessing()
AS_IS = Preprocessing(center="none", max_people=None, absent_person="none")


def joint(name: str) -> int:
    return JOINTS.index(name)


def body(frames: int = 12, seed: int = 0) -> Array:
    """Joints [T, 25, 3] that move smoothly, none of them at the origin."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 3, frames)[:, None, None]
    x = rng.normal(size=(25, 3)) + 0.3 * np.sin(t * rng.uniform(1, 3, (25, 3)) + rng.uniform(0, 6, (25, 3)))
    return np.asarray(x + 5, np.float32)


def resize(x: Array, start: int, length: int, frames: int) -> Array:
    """[M, T, V, 3] cut and resized to ``frames`` by the functions of the package."""
    low, high, share = resample_index(start, length, frames)
    return lerp(x[:, low], x[:, high], share[:, None, None])


# --- the published feeder -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["cut", "full"])
def feeder(request: pytest.FixtureRequest, golden: Path) -> Arrays:
    folder = golden if request.param == "cut" else request.getfixturevalue("shared") / "reference" / "golden"
    with np.load(folder / "feeder.npz") as file:
        return dict(file)


def test_middle_crop_and_resize(feeder: Arrays) -> None:
    cases = [name for name in feeder if name.startswith("vcr/L") and "/p" in name]
    assert len(cases) >= 2
    for name in cases:
        _, length, window, share, _ = name.split("/")
        frames = int(length[1:])
        x = np.ascontiguousarray(feeder[f"vcr/{length}/data"].transpose(3, 1, 2, 0))
        golden = feeder[name].transpose(3, 1, 2, 0)
        found = resize(x, *middle_crop(frames, float(share[1:])), int(window[1:]))
        np.testing.assert_allclose(found[: len(golden)], golden, rtol=0, atol=1e-6, err_msg=name)
        assert not found[len(golden) :].any()


def test_clips_of_one_and_two_frames() -> None:
    for frames in (1, 2):
        x = body(frames)[None]
        start, length = middle_crop(frames, 0.95)
        assert (start, length) == (0, frames)
        found = resize(x, start, length, 64)
        np.testing.assert_allclose(found[:, 0], x[:, 0], atol=1e-6)
        np.testing.assert_allclose(found[:, -1], x[:, -1], atol=1e-6)


@pytest.mark.parametrize("length, frames", [(1, 16), (7, 16), (16, 16), (250, 120), (119, 120), (4, 3)])
def test_resize_is_interpolate(length: int, frames: int) -> None:
    x = body(length + 5)[None]
    expected = F.interpolate(
        torch.from_numpy(x[0, 2 : 2 + length]).permute(1, 2, 0), size=frames, mode="linear", align_corners=False
    )
    np.testing.assert_allclose(resize(x, 2, length, frames)[0], expected.permute(2, 0, 1).numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames, share, expected", [(100, 0.95, (2, 96)), (300, 0.95, (7, 286)), (39, 0.95, (0, 39))])
def test_middle_crop(frames: int, share: float, expected: tuple[int, int]) -> None:
    assert middle_crop(frames, share) == expected
    assert middle_crop(frames, 1.0) == (0, frames)


def test_items_of_the_test_protocol(shared: Path) -> None:
    """Items of the published feeder: camera coordinates, first ``valid_frame_num`` frames, crop 0.95, 120 frames."""
    folder = shared / "reference" / "golden"
    with np.load(folder / "feeder.npz") as file, np.load(folder / "feeder_dataset.npz") as dataset:
        for item, row in enumerate(dataset["x_test"]):
            x = row.reshape(-1, 2, 25, 3).transpose(1, 0, 2, 3)
            valid = int((x.sum(axis=(0, 2, 3)) != 0).sum())
            people = 2 if x[1].any() else 1
            expected = dataclasses.replace(PUBLISHED, center="none")
            clip, _ = prepare_clip(Skeleton(x[:people, :valid], "ntu25"), expected, 120)
            golden = file[f"ds/test{item}/data"].transpose(3, 1, 2, 0)
            np.testing.assert_allclose(clip, golden, rtol=0, atol=1e-6, err_msg=str(item))


# --- the published NTU preparation ----------------------------------------------------------------------------------


def as_recording(denoised: Array) -> Skeleton:
    """[T, 75 or 150] with zeros where an actor is not seen -> a recording with NaN there."""
    x = denoised.reshape(len(denoised), -1, 25, 3).transpose(1, 0, 2, 3).copy()
    x[x.reshape(*x.shape[:2], 75).sum(-1) == 0] = np.nan
    return Skeleton(x, "ntu25", fps=30)


def as_row(clip: NormalizedClip) -> Array:
    """[2, T, 25, 3] -> [T, 150]."""
    assert len(clip.positions) == 2
    return clip.positions.transpose(1, 0, 2, 3).reshape(-1, 150)


@pytest.fixture(scope="module")
def ntu(shared: Path) -> Arrays:
    with np.load(shared / "reference" / "golden" / "ntu_raw" / "expected.npz") as file:
        return {name: file[name] for name in file.files if not name.startswith("raw/")}


def test_ntu_translation(ntu: Arrays) -> None:
    names = [name.removeprefix("translated/") for name in ntu if name.startswith("translated/")]
    assert len(names) == 20
    for name in names:
        golden = ntu[f"translated/{name}"]
        row = as_row(normalize(as_recording(ntu[f"denoised/{name}"]), PUBLISHED))
        np.testing.assert_array_equal(row[:, : golden.shape[1]], golden, err_msg=name)
        assert not row[:, golden.shape[1] :].any()


@pytest.mark.parametrize("release, absent", [("ntu", "zeros"), ("ntu120", "copy")])
def test_ntu_absent_person(ntu: Arrays, release: str, absent: Any) -> None:
    expected = dataclasses.replace(PUBLISHED, absent_person=absent)
    copied = []
    for name, frames, golden in zip(
        ntu[f"{release}/names"].tolist(), ntu[f"{release}/frames_cnt"], ntu[f"{release}/aligned"], strict=True
    ):
        clip = normalize(as_recording(ntu[f"denoised/{name}"]), expected)
        np.testing.assert_array_equal(as_row(clip), golden[:frames], err_msg=name)
        assert not golden[frames:].any()
        copied += [name] if clip.copied else []
    alone = [name for name in ntu[f"{release}/names"].tolist() if ntu[f"denoised/{name}"].shape[1] == 75]
    assert copied == (alone if absent == "copy" else [])
    assert "S016C001P004R001A023" not in copied, "an array of two slots, the second empty, is not copied"


# --- without the full golden data -----------------------------------------------------------------------------------


def test_centring() -> None:
    x = np.stack([body(seed=1), body(seed=2)])
    x[0, :2] = np.nan  # the first person comes in later
    x[1, 5:] = np.nan
    clip = normalize(Skeleton(x, "ntu25"), PUBLISHED)
    origin = x[0, 2, joint("spine_mid")]
    np.testing.assert_array_equal(clip.positions, np.nan_to_num(x - origin))
    assert clip.num_present == 2 and not clip.copied
    assert not clip.positions[0, :2].any() and not clip.positions[1, 5:].any()
    other = dataclasses.replace(PUBLISHED, center_joint="head")
    assert not normalize(Skeleton(x, "ntu25"), other).positions[0, 2, joint("head")].any()
    kept = normalize(Skeleton(x, "ntu25"), dataclasses.replace(PUBLISHED, center="none")).positions
    np.testing.assert_array_equal(kept, np.nan_to_num(x))


@pytest.mark.parametrize("absent, people", [("zeros", 2), ("copy", 2), ("none", 1)])
def test_absent_person(absent: Any, people: int) -> None:
    x = body()
    clip = normalize(Skeleton(x, "ntu25"), dataclasses.replace(PUBLISHED, absent_person=absent))
    assert clip.positions.shape == (people, 12, 25, 3) and clip.num_present == 1
    assert clip.copied == (absent == "copy")
    if people == 2:
        expected = clip.positions[0] if absent == "copy" else np.zeros_like(x)
        np.testing.assert_array_equal(clip.positions[1], expected)


def test_more_slots_than_two() -> None:
    clip = normalize(Skeleton(body(), "ntu25"), dataclasses.replace(PUBLISHED, max_people=4))
    assert clip.positions.shape == (4, 12, 25, 3) and not clip.positions[1:].any()


def test_frames_without_anybody_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    x = np.stack([body(seed=1), body(seed=2)])
    x[:, [0, 5, 6, 11]] = np.nan
    with caplog.at_level(logging.INFO, "mamp"):
        clip = normalize(Skeleton(x, "ntu25", name="wave"), AS_IS)
    assert clip.frames.tolist() == [1, 2, 3, 4, 7, 8, 9, 10]
    np.testing.assert_array_equal(clip.positions, x[:, clip.frames])
    assert "wave: dropped 4 frames without anybody" in caplog.text


def test_person_who_is_never_seen_is_nobody() -> None:
    x = np.stack([body(seed=1), np.full((12, 25, 3), np.nan, np.float32), body(seed=2)])
    clip = normalize(Skeleton(x, "ntu25"), AS_IS)
    np.testing.assert_array_equal(clip.positions, x[[0, 2]])


def test_gaps_are_filled_over_time() -> None:
    x = body()
    full = x.copy()
    gap = joint("hand_left")
    x[4:7, gap] = np.nan
    x[:2, joint("head")] = np.nan
    x[10:, joint("foot_right"), 1] = np.nan  # one coordinate is enough
    found = normalize(Skeleton(x, "ntu25"), AS_IS).positions[0]
    for step, t in enumerate((4, 5, 6), start=1):
        expected = full[3, gap] + (full[7, gap] - full[3, gap]) * step / 4
        np.testing.assert_allclose(found[t, gap], expected, atol=1e-5)
    np.testing.assert_array_equal(found[:2, joint("head")], full[[2, 2], joint("head")])
    np.testing.assert_array_equal(found[10:, joint("foot_right")], full[[9, 9], joint("foot_right")])
    untouched = ~np.isnan(x)
    untouched[10:, joint("foot_right")] = False
    np.testing.assert_array_equal(found[untouched], full[untouched])
    assert np.isnan(x[4, gap]).all(), "the recording itself is left as it was"


def test_gaps_are_not_filled_where_the_person_is_away() -> None:
    x = np.stack([body(seed=1), body(seed=2)])
    x[1, 3:6] = np.nan
    x[1, 8, joint("head")] = np.nan
    found = normalize(Skeleton(x, "ntu25"), dataclasses.replace(PUBLISHED, center="none")).positions[1]
    assert not found[3:6].any()
    np.testing.assert_allclose(found[8, joint("head")], (x[1, 7] + x[1, 9])[joint("head")] / 2, atol=1e-5)


def test_joints_that_are_never_tracked_hang_on_the_next() -> None:
    x = body()
    lost = ("wrist_left", "hand_left", "hand_tip_left", "thumb_left", "head")
    x[:, [joint(name) for name in lost]] = np.nan
    x[3:5, joint("elbow_left")] = np.nan
    found = normalize(Skeleton(x, "ntu25"), AS_IS).positions[0]
    for name, anchor in {"hand_left": "elbow_left", "wrist_left": "elbow_left", "head": "neck"}.items():
        np.testing.assert_array_equal(found[:, joint(name)], found[:, joint(anchor)])
    assert np.isfinite(found).all()


def test_joints_that_are_never_tracked_lie_between_those_around_them() -> None:
    """A trunk that is placed at its parent would move the centre of the body."""
    x = body()
    x[:, [joint("spine_mid"), joint("knee_left"), joint("ankle_left"), joint("neck"), joint("shoulder_left")]] = np.nan
    found = normalize(Skeleton(x, "ntu25"), AS_IS).positions[0]
    for name, above, below, share in (
        ("spine_mid", "spine_base", "spine_shoulder", 1 / 2),
        ("knee_left", "hip_left", "foot_left", 1 / 3),
        ("ankle_left", "hip_left", "foot_left", 2 / 3),
        ("neck", "spine_shoulder", "head", 1 / 2),
    ):
        expected = x[:, joint(above)] * (1 - share) + x[:, joint(below)] * share
        np.testing.assert_allclose(found[:, joint(name)], expected, atol=1e-5)


def test_a_trunk_that_is_never_tracked_lies_between_hips_and_shoulders() -> None:
    x = body()
    x[:, [joint("spine_base"), joint("spine_mid")]] = np.nan
    found = normalize(Skeleton(x, "ntu25"), AS_IS).positions[0]
    hips = x[:, [joint("hip_left"), joint("hip_right")]].mean(axis=1)
    expected = (hips / 2 + x[:, joint("spine_shoulder")]) / 1.5  # two bones away, and one
    np.testing.assert_allclose(found[:, joint("spine_mid")], expected, atol=1e-5)


def test_root_that_is_never_tracked_is_the_middle_of_those_around_it() -> None:
    x = body()
    x[:, joint("spine_base")] = np.nan
    found = normalize(Skeleton(x, "ntu25"), AS_IS).positions[0]
    around = [joint(name) for name in ("spine_mid", "hip_left", "hip_right")]
    np.testing.assert_allclose(found[:, joint("spine_base")], x[:, around].mean(axis=1), atol=1e-5)


def test_root_that_is_never_tracked_of_a_person_who_leaves() -> None:
    x = np.stack([body(seed=1), body(seed=2)])
    x[1, :, joint("spine_base")] = np.nan
    x[1, 3:6] = np.nan
    found = normalize(Skeleton(x, "ntu25"), dataclasses.replace(PUBLISHED, center="none")).positions[1]
    assert not found[3:6].any()
    around = [joint(name) for name in ("spine_mid", "hip_left", "hip_right")]
    np.testing.assert_allclose(found[0, joint("spine_base")], x[1, 0, around].mean(axis=0), atol=1e-5)


def test_joints_of_another_layout() -> None:
    x = np.random.default_rng(0).normal(size=(12, 20, 3)).astype(np.float32)
    found = normalize(Skeleton(x, "kinect20"), AS_IS).positions
    np.testing.assert_array_equal(found, Skeleton(x, "kinect20").to_layout("ntu25").positions)


def test_seven_people(caplog: pytest.LogCaptureFixture) -> None:
    x = np.stack([5 + (body(seed=i) - 5) * (1 + i % 3 + i / 10) for i in range(7)]).astype(np.float32)
    spread = [float(person.reshape(-1, 3).var(axis=0).sum()) for person in x]
    first, second = np.argsort(spread)[::-1][:2]
    expected = dataclasses.replace(PUBLISHED, center="none")
    with caplog.at_level(logging.WARNING, "mamp"):
        clip = normalize(Skeleton(x, "ntu25", name="crowd"), expected)
    np.testing.assert_array_equal(clip.positions, x[[first, second]])
    assert "crowd: 7 people, the weights take 2; kept those who move most" in caplog.text
    assert normalize(Skeleton(x, "ntu25"), AS_IS).positions.shape == (7, 12, 25, 3)


def test_people_of_a_crowd_who_come_and_go() -> None:
    x = np.stack([body(seed=i) for i in range(3)])
    x[0] = x[0, :1]  # stands still, far away from where he is when he is not there
    x[0, 6:] = np.nan
    clip = normalize(Skeleton(x, "ntu25"), dataclasses.replace(PUBLISHED, center="none", max_people=2))
    kept = {int(np.argmin([np.nan_to_num(abs(p - q)).sum() for q in x])) for p in clip.positions}
    spread = [float(person[~np.isnan(person).any((1, 2))].reshape(-1, 3).var(axis=0).sum()) for person in x]
    assert kept == set(np.argsort(spread)[1:].tolist())


def test_one_frame() -> None:
    clip, normalized = prepare_clip(Skeleton(body(1), "ntu25"), PUBLISHED, 120)
    assert clip.shape == (2, 120, 25, 3) and normalized.frames.tolist() == [0]
    assert (clip == clip[:, :1]).all() and not clip[0, 0, joint("spine_mid")].any()


def test_ten_thousand_frames() -> None:
    """Memory grows with the length of a recording, not with its square."""
    x = np.stack([body(10_000, seed) for seed in (0, 1)])
    x[1, 2000:7000] = np.nan
    x[0, ::7, joint("head")] = np.nan
    recording = Skeleton(x, "ntu25")
    for expected in (PUBLISHED, dataclasses.replace(PUBLISHED, absent_person="none", facing=True)):
        tracemalloc.start()
        try:
            clip, _ = prepare_clip(recording, expected, 120)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert clip.shape == (2, 120, 25, 3) and np.isfinite(clip).all()
        assert peak < 20 * x.nbytes


def test_nothing_tracked() -> None:
    with pytest.raises(RecordingError, match=r"wave: expected at least one tracked joint, found none \(all NaN\)"):
        normalize(Skeleton(np.full((4, 25, 3), np.nan), "ntu25", name="wave"), PUBLISHED)


def test_all_zero_positions_are_a_person_at_the_origin() -> None:
    clip = normalize(Skeleton(np.zeros((4, 25, 3)), "ntu25"), PUBLISHED)
    assert clip.num_present == 1 and not clip.positions.any()


def test_joints_that_cannot_be_had() -> None:
    with pytest.raises(LayoutError, match="has no mapping to 'kinect20'"):
        normalize(Skeleton(body(), "ntu25"), dataclasses.replace(PUBLISHED, layout="kinect20", center="none"))


def test_held_pose() -> None:
    x = np.stack([body(seed=1), body(seed=2)])
    x[1, :2] = np.nan
    x[1, 5:9] = np.nan
    clip = normalize(Skeleton(x, "ntu25"), AS_IS)
    np.testing.assert_array_equal(clip.positions[1, :2], x[1, [2, 2]])
    np.testing.assert_array_equal(clip.positions[1, 5:9], x[1, [4, 4, 9, 9]])
    np.testing.assert_array_equal(clip.positions[0], x[0])


# --- facing ---------------------------------------------------------------------------------------------------------

FACING = dataclasses.replace(PUBLISHED, facing=True)


def yaw(x: Array, angle: float) -> Array:
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(x @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]).T, np.float32)


def forward(positions: Array) -> NDArray[np.float64]:
    """Mean direction of the chest over time, in the plane; a person has the left of his body at his left."""
    left = positions[:, joint("hip_left")] - positions[:, joint("hip_right")]
    left = left + positions[:, joint("shoulder_left")] - positions[:, joint("shoulder_right")]
    ahead = np.cross(left, np.array([0.0, 1.0, 0.0]))
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    return np.asarray(ahead.mean(axis=0) / np.linalg.norm(ahead.mean(axis=0)))


def walker(seed: int = 3) -> Array:
    """A body whose hips and shoulders are where they belong, so that it has a front."""
    x = body(seed=seed) - 5
    x *= np.float32(0.1)
    for name in JOINTS:
        side = {"left": 1, "right": -1}.get(name.rsplit("_", 1)[-1], 0)
        x[:, joint(name), 0] += 0.3 * side
    return x


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.7, np.pi, -2.5])
def test_faced_clip_does_not_depend_on_where_it_looked(angle: float) -> None:
    x = np.stack([walker(), walker(4) + np.float32(1)])
    expected = normalize(Skeleton(x, "ntu25"), FACING).positions
    found = normalize(Skeleton(yaw(x, angle) + np.float32(2), "ntu25"), FACING).positions
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(found[..., 1], (x - x[0, 0, joint("spine_mid")])[..., 1], atol=1e-5)
    np.testing.assert_allclose(forward(found[0]), [0, 0, -1], atol=1e-5)


def test_facing_is_a_rotation() -> None:
    x = np.stack([walker(), walker(4) + np.float32(1)])
    found = normalize(Skeleton(yaw(x, 1.0), "ntu25"), FACING).positions
    distances = [np.linalg.norm(p[:, :, :, None] - p[:, :, None], axis=-1) for p in (found, x)]
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-4)
    between = [np.linalg.norm(p[0] - p[1], axis=-1) for p in (found, x)]
    np.testing.assert_allclose(between[0], between[1], atol=1e-4)


def test_body_without_a_front_is_left_as_it_is() -> None:
    x = np.zeros((4, 25, 3), np.float32)
    x[..., 1] = np.arange(25)
    found = normalize(Skeleton(x, "ntu25"), dataclasses.replace(FACING, center="none")).positions
    np.testing.assert_array_equal(found[0], x)


# --- axes, unit, stream ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit, factor", [("m", 1), ("cm", 100), ("mm", 1000)])
def test_unit(unit: Any, factor: int) -> None:
    recording = Skeleton(walker(), "ntu25")
    found = normalize(recording, dataclasses.replace(PUBLISHED, unit=unit)).positions
    np.testing.assert_allclose(found, normalize(recording, PUBLISHED).positions * factor, rtol=1e-6)


def test_up() -> None:
    x = np.stack([walker(), walker(4)])
    x[1, 3:5] = np.nan
    plain = normalize(Skeleton(x, "ntu25"), PUBLISHED).positions
    found = normalize(Skeleton(x, "ntu25"), dataclasses.replace(PUBLISHED, up="z")).positions
    np.testing.assert_array_equal(found[..., 2], plain[..., 1])
    turn = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], np.float32)
    assert np.linalg.det(turn) == pytest.approx(1), "a rotation: left stays left"
    np.testing.assert_array_equal(found, plain @ turn.T)


def test_streams_by_hand() -> None:
    x = torch.randn(2, 5, 25, 3)
    bones = to_stream(x, "bone")
    torch.testing.assert_close(bones[..., joint("elbow_left"), :], x[..., 5, :] - x[..., 4, :])
    assert not bones[..., joint("spine_shoulder"), :].any(), "the shoulders' middle hangs on itself"
    motion = to_stream(x, "motion")
    torch.testing.assert_close(motion[:, :-1], x[:, 1:] - x[:, :-1])
    assert not motion[:, -1].any()
    assert torch.equal(to_stream(x, "bone_motion"), to_stream(bones, "motion"))
    assert to_stream(x, "joint") is x


@pytest.mark.parametrize("name, stream", [("bone", "bone"), ("vel", "motion"), ("bone_vel", "bone_motion")])
def test_streams_of_the_test_protocol(shared: Path, name: str, stream: Any) -> None:
    folder = shared / "reference" / "golden"
    with np.load(folder / "feeder.npz") as file, np.load(folder / "feeder_dataset.npz") as dataset:
        x = dataset["x_test"][1].reshape(-1, 2, 25, 3).transpose(1, 0, 2, 3)
        valid = int((x.sum(axis=(0, 2, 3)) != 0).sum())
        expected = dataclasses.replace(PUBLISHED, center="none", stream=stream)
        clip, _ = prepare_clip(Skeleton(x[:, :valid], "ntu25"), expected, 64)
        golden = file[f"ds/{name}/test1"].transpose(3, 1, 2, 0)
    np.testing.assert_allclose(clip, golden, rtol=0, atol=1e-6)


# --- what was tracked, and who --------------------------------------------------------------------------------------


def test_what_was_tracked() -> None:
    x = np.stack([body(seed=1), body(seed=2)])
    x[0, 3:5, joint("head")] = np.nan
    x[1, 6:] = np.nan
    expected = np.isfinite(x).all(axis=-1)
    np.testing.assert_array_equal(normalize(Skeleton(x, "ntu25"), AS_IS).tracked, expected)
    expected[1, 6:] = True  # the zeros that the weights expect
    np.testing.assert_array_equal(normalize(Skeleton(x, "ntu25"), PUBLISHED).tracked, expected)
    for absent in ("zeros", "copy"):
        alone = normalize(Skeleton(x[:1], "ntu25"), dataclasses.replace(PUBLISHED, absent_person=absent)).tracked
        np.testing.assert_array_equal(alone, [expected[0], expected[0] if absent == "copy" else expected[0] | True])


def test_who_is_there() -> None:
    x = np.stack([body(seed=i) for i in range(4)])
    x[1] = np.nan
    assert normalize(Skeleton(x, "ntu25"), AS_IS).people.tolist() == [0, 2, 3]
    x[2] *= 3
    x[3] *= 2
    clip = normalize(Skeleton(x, "ntu25"), PUBLISHED)
    assert clip.people.tolist() == [2, 3] and clip.num_present == 2


@pytest.mark.parametrize("absent", ["zeros", "copy", "none"])
def test_everybody(absent: Any, caplog: pytest.LogCaptureFixture) -> None:
    """All people, as they would be beside those that the weights take, and nobody to fill up."""
    x = np.stack([body(seed=i) * (1 + i) for i in range(4)])
    expected = dataclasses.replace(PUBLISHED, absent_person=absent)
    clip = normalize(Skeleton(x, "ntu25"), expected, everybody=True)
    assert not caplog.records and clip.people.tolist() == [3, 2, 1, 0] and clip.positions.shape[0] == 4
    taken = normalize(Skeleton(x, "ntu25"), expected)
    np.testing.assert_array_equal(clip.positions[:2], taken.positions)
    np.testing.assert_allclose(clip.positions[3] - clip.positions[0], x[0] - x[3], rtol=0, atol=1e-5)
    assert normalize(Skeleton(x[:1], "ntu25"), expected, everybody=True).positions.shape[0] == 1


def test_time_runs_on_while_nobody_is_there() -> None:
    x = body()[None]
    x[:, [0, 4, 5, 6, 11]] = np.nan
    clip = normalize(Skeleton(x, "ntu25"), AS_IS, keep_gaps=True)
    assert clip.frames.tolist() == list(range(1, 11))
    assert clip.tracked.all(axis=2).tolist() == [[t not in (4, 5, 6) for t in range(1, 11)]]
    np.testing.assert_array_equal(clip.positions[0, 3], x[0, 3])
    np.testing.assert_array_equal(clip.positions[0, 5], x[0, 7])
    prepared = {
        missing: prepare_clip(Skeleton(x, "ntu25"), dataclasses.replace(AS_IS, missing=missing), 10)[1].frames.size
        for missing in ("drop", "fill")
    }
    assert prepared == {"drop": 10, "fill": 7}


def test_published_weights_see_zeros_while_nobody_is_there() -> None:
    """The published feeder crops and resizes a clip with its empty frames; only those at the ends are none of it."""
    x = body(frames=40)[None]
    x[:, [0, 12, 13, 14, 15, 16, 17, 39]] = np.nan
    expected = dataclasses.replace(PUBLISHED, center="none", max_people=1)
    prepared, clip = prepare_clip(Skeleton(x, "ntu25"), expected, 20)
    assert clip.frames.tolist() == list(range(1, 39)) and clip.tracked.all()
    rows = np.nan_to_num(x[0, 1:39])
    start, length = middle_crop(38, expected.crop)
    cropped = rearrange(torch.from_numpy(rows[start : start + length]), "t v c -> 1 (v c) t")
    resized = torch.nn.functional.interpolate(cropped, size=20, mode="linear", align_corners=False)
    np.testing.assert_allclose(prepared[0], rearrange(resized, "1 (v c) t -> t v c", c=3).numpy(), atol=1e-6)
    assert (prepared[0] == 0).all(axis=(1, 2)).any()


@pytest.mark.parametrize("absent", ["zeros", "none"])
def test_empty_frames_at_the_ends_of_a_stored_clip(tmp_path: Path, absent: str) -> None:
    """The published feeder takes as many frames from the start as hold anybody, empty ones there included."""
    x = body(frames=40)
    row = np.zeros((300, 25, 3), np.float32)
    row[7:30], row[35:40] = x[7:30], x[35:40]
    seen = int((row.sum(axis=(1, 2)) != 0).sum())
    assert seen == 28 and not row[:7].any()
    with StoreWriter(tmp_path / "store", get_layout("ntu25")) as writer:
        writer.add("clip", row[None, :seen])
    recording = ClipStore(tmp_path / "store").recording(0)
    expected = dataclasses.replace(PUBLISHED, center="none", max_people=1, absent_person=absent, missing="drop")
    prepared, clip = prepare_clip(recording, expected, 20)
    assert clip.frames.tolist() == list(range(28)) and recording.to_layout("ntu25").info["ends"] == "kept"
    start, length = middle_crop(seen, expected.crop)
    cropped = rearrange(torch.from_numpy(row[start : start + length]), "t v c -> 1 (v c) t")
    resized = rearrange(
        torch.nn.functional.interpolate(cropped, size=20, mode="linear", align_corners=False), "1 (v c) t -> t v c", c=3
    )
    if absent == "zeros":
        np.testing.assert_allclose(prepared[0], resized.numpy(), atol=1e-6)
        assert (prepared[0, :2] == 0).all()
    else:  # its first pose is held, and its tokens are left out
        there = (resized != 0).flatten(1).all(dim=1).numpy()
        np.testing.assert_allclose(prepared[0, there][2:], resized.numpy()[there][2:], atol=1e-6)
    with_ends = Skeleton(recording.positions, "ntu25")
    assert prepare_clip(with_ends, expected, 20)[1].frames.tolist() == list(range(7, 28)), "a file is trimmed"


def test_windows_are_quiet(caplog: pytest.LogCaptureFixture) -> None:
    x = np.stack([body(seed=i) for i in range(3)])
    x[:, 3] = np.nan
    with caplog.at_level(logging.INFO, "mamp"):
        normalize(Skeleton(x, "ntu25"), PUBLISHED, part=True)
    assert not caplog.records


def test_a_layout_without_the_centre_joint() -> None:
    """It needs none unless clips are centred or scaled; then the message names what there is."""
    layout = mamp.register_layout(
        "no-spine-mid",
        ["one-top", "one-middle", "one-low"],  # names of no other test: the layout stays registered
        {"head": "one-top", "spine_base": "one-middle", "ankle_left": "one-low"},
        overwrite=True,
    )
    x = np.random.default_rng(0).normal(size=(10, 3, 3))
    expected = Preprocessing(layout="no-spine-mid", center="none", max_people=None, absent_person="none")
    np.testing.assert_allclose(normalize(Skeleton(x, layout), expected).positions[0], x, atol=1e-6)
    for change in ({"center": "clip"}, {"height": 1.7}):
        with pytest.raises(
            ConfigError,
            match=r"center_joint: expected a joint of layout 'no-spine-mid' \(one-top, one-middle, one-low\)",
        ):
            normalize(Skeleton(x, layout), dataclasses.replace(expected, **change))
