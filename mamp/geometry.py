"""Geometry of bodies and clips: rotation, mirroring, facing, body height, crop and resampling.

Everything is numpy, so that recordings can be prepared without torch.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mamp.layouts import Layout

FloatArray = NDArray[np.float32]
_Array = TypeVar("_Array", bound=Any)

# A rotation about an axis is AXIS + cos * REST + sin * TURN, [axis, 3, 3] each, with the published signs.
AXIS = np.stack([np.diag(row) for row in np.eye(3, dtype=np.float32)])
REST = np.eye(3, dtype=np.float32) - AXIS
TURN = np.array(
    [
        [[0, 0, 0], [0, 0, 1], [0, -1, 0]],
        [[0, 0, -1], [0, 0, 0], [1, 0, 0]],
        [[0, 1, 0], [-1, 0, 0], [0, 0, 0]],
    ],
    np.float32,
)
MIRROR = np.diag(np.array([-1, 1, 1], np.float32))


def rotation_matrix(angles: NDArray[np.floating]) -> NDArray[np.floating]:
    """``Rz Ry Rx`` [B, 3, 3] of angles [B, 3] in radians, with the published signs."""
    angles = angles[..., None, None]
    about = AXIS + np.cos(angles) * REST + np.sin(angles) * TURN
    return about[:, 2] @ about[:, 1] @ about[:, 0]


def to_the_right(positions: _Array, layout: Layout) -> _Array:
    """Vector [..., 3] from the left to the right side of a person [..., V, 3], by hips and shoulders."""
    left_hip, right_hip, left_shoulder, right_shoulder = (
        positions[..., layout.joints.index(name), :]
        for name in ("hip_left", "hip_right", "shoulder_left", "shoulder_right")
    )
    return right_hip - left_hip + right_shoulder - left_shoulder


def facing_angle(right: NDArray[np.floating]) -> NDArray[np.float64]:
    """Angle [...] about the vertical that makes people face the camera (negative z) on average.

    ``right`` [..., T, 3] is the vector of :func:`to_the_right`.
    """
    forward = np.stack([right[..., 2], -right[..., 0]], axis=-1).astype(np.float64)  # x and z of (up cross right)
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True).clip(min=1e-12)
    fx, fz = np.moveaxis(forward.sum(axis=-2), -1, 0)
    return np.asarray(np.arctan2(-fx, -fz))  # with the published sign of a rotation about y


def mirrored_joints(layout: Layout) -> list[int]:
    """Index of the counterpart of each joint on the other side."""
    order = list(range(len(layout.joints)))
    for left, right in layout.pairs:
        i, j = layout.joints.index(left), layout.joints.index(right)
        order[i], order[j] = order[j], order[i]
    return order


def from_the_root(layout: Layout) -> list[int]:
    """Indices of the joints with a parent, each after its parent."""
    order = [joint for joint, parent in enumerate(layout.parents) if parent < 0]
    for joint in order:
        order += [child for child, parent in enumerate(layout.parents) if parent == joint]
    return [joint for joint in order if layout.parents[joint] >= 0]


def middle_crop(num_frames: int, share: float) -> tuple[int, int]:
    """First frame and length of the middle ``share`` of a clip, rounded as published."""
    bias = int((1 - share) * num_frames / 2)
    return bias, num_frames - 2 * bias


def resample_index(
    start: int, length: int, num_frames: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Indices of the lower and upper frame, and weight of the upper, to resample a crop to ``num_frames``.

    Equals ``torch.nn.functional.interpolate``: half-pixel centres, clamped at both ends, in float32.
    """
    centre = np.arange(num_frames, dtype=np.float32) + np.float32(0.5)
    source = np.maximum(np.float32(length) / np.float32(num_frames) * centre - np.float32(0.5), np.float32(0))
    low = source.astype(np.int64)
    high = np.minimum(low + 1, length - 1)
    return low + start, high + start, source - low.astype(np.float32)


def lerp(low: FloatArray, high: FloatArray, share: FloatArray) -> FloatArray:
    """Linear interpolation, in the order of operations of ``interpolate``."""
    return low * (1 - share) + high * share


# Lengths relative to body height (Drillis and Contini, as tabulated by Winter).
_SEGMENTS = (
    ("hip_left", "knee_left", 0.245),
    ("hip_right", "knee_right", 0.245),
    ("knee_left", "ankle_left", 0.246),
    ("knee_right", "ankle_right", 0.246),
    ("shoulder_left", "elbow_left", 0.186),
    ("shoulder_right", "elbow_right", 0.186),
    ("elbow_left", "wrist_left", 0.146),
    ("elbow_right", "wrist_right", 0.146),
    ("spine_base", "spine_shoulder", 0.288),
)


def face_camera(positions: FloatArray, tracked: NDArray[np.bool_], layout: Layout) -> FloatArray:
    """Rotate [M, T, V, 3], y up, so that the first person faces the camera (negative z) on average.

    Uses the frames in which both hips or both shoulders are ``tracked`` [T, V]; without any, nothing is rotated.
    """
    person = positions[0]

    def across(right: str, left: str) -> FloatArray:
        a, b = layout.joints.index(right), layout.joints.index(left)
        return np.where((tracked[:, a] & tracked[:, b])[:, None], person[:, a] - person[:, b], np.float32(0))

    right = across("hip_right", "hip_left") + across("shoulder_right", "shoulder_left")
    if not right[:, ::2].any():
        return positions
    turn = np.array([[0, float(facing_angle(right)), 0]], np.float32)
    return np.asarray(positions @ rotation_matrix(turn)[0].T, np.float32)


def body_height(person: FloatArray, tracked: NDArray[np.bool_], layout: Layout) -> float | None:
    """Body height of a person [T, V, 3] in metres, independent of the pose: from the lengths of trunk and limbs.

    Lengths are medians over the frames in which both ends are ``tracked`` [T, V]; ``None`` if there are none.
    """
    length = share = 0.0
    for start, end, part in _SEGMENTS:
        a, b = layout.joints.index(start), layout.joints.index(end)
        both = tracked[:, a] & tracked[:, b]
        if both.any():
            length += float(np.median(np.linalg.norm(person[both, a] - person[both, b], axis=-1)))
            share += part
    return length / share if length > 0 else None
