"""From a recording to the clip that the weights expect, by the published data preparation.

The order is fixed: joints of the model, gaps, choice of people, centring, facing, axes and unit, absent people, crop,
resize, stream.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mamp.config import Preprocessing
from mamp.errors import RecordingError
from mamp.layouts import Layout, get_layout
from mamp.layouts.tables import NTU25_BONES
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class NormalizedClip:
    """A recording in the model's joints and coordinates, still at its own length.

    Attributes:
        positions: [M, T', V, 3] metres; zeros where a person is absent. T' leaves out frames in which nobody is seen.
        frames: [T'] index of each kept frame in the recording.
        num_present: The first people that are really in the recording; the others fill up to what the weights expect.
        copied: The second person is a copy of the first.
    """

    positions: FloatArray
    frames: NDArray[np.int64]
    num_present: int
    copied: bool = False


def normalize(recording: Skeleton, expected: Preprocessing) -> NormalizedClip:
    """Do everything but crop and resize.

    Gaps: a joint that was not tracked in some frames is interpolated over time; one that never was takes the place of
    the joint it hangs on. People: those who move most, when there are more than ``expected.max_people``. Frames in
    which nobody is tracked are left out. In a frame where only some people are tracked, the others are zeros as
    published, or hold their nearest pose when ``expected.absent_person`` is ``"none"``.

    Raises:
        RecordingError: No joint of anybody is ever tracked.
        LayoutError: The recording cannot be expressed in the model's joints.
    """
    layout = get_layout(expected.layout)
    recording = recording.to_layout(layout)
    tracked = recording.tracked
    people = np.flatnonzero(tracked.any(axis=(1, 2)))
    if people.size == 0:
        raise RecordingError(
            f"{recording.name}: expected at least one tracked joint, found none (all NaN); check the tracker's output."
        )
    frames = np.flatnonzero(tracked.any(axis=(0, 2)))
    if frames.size < recording.num_frames:
        logger.info("%s: left out %d frames without anybody", recording.name, recording.num_frames - frames.size)
    positions = recording.positions[people][:, frames]
    seen: NDArray[np.bool_] = np.asarray(tracked[people][:, frames].any(axis=2))
    positions = np.stack([_fill_joints(person, here, layout) for person, here in zip(positions, seen, strict=True)])
    if expected.max_people is not None and len(positions) > expected.max_people:
        chosen = np.argsort([-_motion(p[here]) for p, here in zip(positions, seen, strict=True)], kind="stable")
        chosen = chosen[: expected.max_people]
        logger.warning(
            "%s: %d people, the weights take %d; kept those who move most", recording.name, len(seen), len(chosen)
        )
        positions, seen = positions[chosen], seen[chosen]

    hold = expected.absent_person == "none"
    if hold:
        positions = np.stack([_hold_pose(p, here) for p, here in zip(positions, seen, strict=True)])
        seen = np.ones_like(seen)
    if expected.center == "clip":
        joint = layout.joints.index(expected.center_joint)
        positions = positions - positions[0, int(np.argmax(seen[0])), joint]
    if expected.facing:
        positions = face_camera(positions, seen, layout)
    positions = np.where(seen[:, :, None, None], positions, np.float32(0))
    if expected.up == "z":
        positions = np.stack([positions[..., 0], -positions[..., 2], positions[..., 1]], axis=-1)
    if expected.unit != "m":
        positions = positions * np.float32({"cm": 100, "mm": 1000}[expected.unit])

    present = len(positions)
    missing = 0 if expected.max_people is None or hold else expected.max_people - present
    copied = missing > 0 and expected.absent_person == "copy" and recording.num_people == 1
    if missing > 0:
        filler = positions[:1] if copied else np.zeros_like(positions[:1])
        positions = np.concatenate([positions, *[filler] * missing])
    return NormalizedClip(np.ascontiguousarray(positions, dtype=np.float32), frames, present, copied)


def prepare_clip(recording: Skeleton, expected: Preprocessing, num_frames: int) -> tuple[Tensor, NormalizedClip]:
    """Normalise, crop the middle and resize to ``num_frames``: the clip [M, num_frames, V, 3] that the model takes."""
    clip = normalize(recording, expected)
    start, length = middle_crop(clip.positions.shape[1], expected.crop)
    low, high, share = resample_index(torch.tensor(start), torch.tensor(length), num_frames)
    positions = torch.from_numpy(clip.positions)
    return to_stream(lerp(positions[:, low], positions[:, high], share[:, None, None]), expected.stream), clip


def middle_crop(num_frames: int, share: float) -> tuple[int, int]:
    """First frame and length of the middle ``share`` of a clip, rounded outwards as published."""
    bias = int((1 - share) * num_frames / 2)
    return bias, num_frames - 2 * bias


def resample_index(start: Tensor, length: Tensor, num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where linear interpolation to ``num_frames`` looks: lower frame, upper frame, and the share of the upper.

    Half-pixel centres, clamped at both ends, in float32, as ``torch.nn.functional.interpolate`` does.

    Args:
        start: [...] first frame of each crop.
        length: [...] frames of each crop, at least one.
        num_frames: Frames wanted.

    Returns:
        Three tensors [..., num_frames]: int64, int64, float32.
    """
    scale = length.to(torch.float32) / num_frames
    centre = torch.arange(num_frames, device=start.device, dtype=torch.float32) + 0.5
    source = (scale[..., None] * centre - 0.5).clamp(min=0)
    low = source.to(torch.int64)
    high = torch.minimum(low + 1, length[..., None] - 1)
    return low + start[..., None], high + start[..., None], source - low


def lerp(low: Tensor, high: Tensor, share: Tensor) -> Tensor:
    """Linear interpolation, in the order of operations of ``interpolate``."""
    return low * (1 - share) + high * share


def to_stream(x: Tensor, stream: str) -> Tensor:
    """Turn joint positions [..., T, V, C] into the stream that the model sees; bones first, then motion."""
    if stream.startswith("bone"):
        x = x - x[..., NTU25_BONES, :]
    if stream.endswith("motion"):
        motion = torch.zeros_like(x)
        motion[..., :-1, :, :] = x[..., 1:, :, :] - x[..., :-1, :, :]
        x = motion
    return x


def face_camera(positions: FloatArray, seen: NDArray[np.bool_], layout: Layout) -> FloatArray:
    """Turn [M, T, V, 3] about the vertical so that the first person faces the camera (negative z) on average."""
    here = positions[0][seen[0]]

    def joint(name: str) -> FloatArray:
        return here[:, layout.joints.index(name)]

    right = joint("hip_right") - joint("hip_left") + joint("shoulder_right") - joint("shoulder_left")
    forward = np.stack([right[:, 2], -right[:, 0]], axis=1)  # x and z of (up cross right)
    x, z = (forward / np.linalg.norm(forward, axis=1, keepdims=True).clip(1e-6)).sum(axis=0)
    norm = float(np.hypot(x, z))
    if norm < 1e-6:
        return positions
    cos, sin = -z / norm, x / norm
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=np.float32)
    return positions @ rotation.T


def _fill_joints(person: FloatArray, seen: NDArray[np.bool_], layout: Layout) -> FloatArray:
    """Fill joints [T, V, 3] that are missing while the person [T] is seen."""
    missing = ~np.isfinite(person).all(axis=-1) & seen[:, None]
    if not missing.any():
        return person
    person = person.copy()
    never = []
    for joint in np.flatnonzero(missing.any(axis=0)).tolist():
        gap = missing[:, joint]
        known = np.flatnonzero(seen & ~gap)
        if known.size == 0:
            never.append(joint)
            continue
        for axis in range(person.shape[-1]):
            person[gap, joint, axis] = np.interp(np.flatnonzero(gap), known, person[known, joint, axis])
    for joint in never:
        anchor = layout.parents[joint]
        while anchor in never:
            anchor = layout.parents[anchor]
        if anchor >= 0:
            person[:, joint] = person[:, anchor]
        else:
            person[seen, joint] = np.delete(person[seen], never, axis=1).mean(axis=1)
    return person


def _hold_pose(person: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """Give frames in which the person [T, V, 3] is not seen the nearest pose in time."""
    frames, known = np.arange(len(seen)), np.flatnonzero(seen)
    after = np.searchsorted(known, frames).clip(max=len(known) - 1)
    before = (after - 1).clip(min=0)
    closer = known[after] - frames < frames - known[before]
    return person[known[np.where(closer, after, before)]]


def _motion(person: FloatArray) -> float:
    """Variance of all coordinates of a person [T, V, 3], summed over x, y, z: the published measure of motion."""
    return float(person.reshape(-1, 3).var(axis=0).sum())
