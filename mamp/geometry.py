"""Geometry of bodies and clips: rotation, mirroring, facing, body height, crop and resampling.

Everything is numpy, so that recordings can be prepared without torch.
"""

from __future__ import annotations

from functools import reduce
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError
from mamp.layouts import MODEL_LAYOUT, Layout

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
    """Vector [..., 3] from the left to the right side of a body [..., V, 3]: of a person, by hips and shoulders.

    Raises:
        LayoutError: The body has no sides.
    """
    (left, right), *others = facing_joints(layout)
    total = positions[..., right, :] - positions[..., left, :]
    for left, right in others:
        total = total + positions[..., right, :] - positions[..., left, :]
    return total


def facing_joints(layout: Layout) -> list[tuple[int, int]]:
    """Indices of the left and right joints that tell which way a body faces; :class:`LayoutError` if it has none."""
    if not layout.facing:
        raise LayoutError(
            f"layout {layout.name!r} has no pairs of left and right joints, so there is no way that it faces; expected "
            "facing to be off."
        )
    return [(layout.joints.index(left), layout.joints.index(right)) for left, right in layout.facing]


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

    Uses the frames in which both joints of a pair (hips or shoulders) are ``tracked`` [T, V]; without any, nothing is
    rotated.

    Raises:
        LayoutError: The body has no sides.
    """
    person = positions[0]

    def across(left: int, right: int) -> FloatArray:
        seen = (tracked[:, right] & tracked[:, left])[:, None]
        return np.where(seen, person[:, right] - person[:, left], np.float32(0))

    right = reduce(np.add, (across(*pair) for pair in facing_joints(layout)))
    if not right[:, ::2].any():
        return positions
    turn = np.array([[0, float(facing_angle(right)), 0]], np.float32)
    return np.asarray(positions @ rotation_matrix(turn)[0].T, np.float32)


def body_height(person: FloatArray, tracked: NDArray[np.bool_], layout: Layout) -> float | None:
    """Body height of a person [T, V, 3] in metres, independent of the pose: from the lengths of trunk and limbs.

    Of another body, the length of the longest chain of bones from its root. Lengths are medians over the frames in
    which both ends are ``tracked`` [T, V]; ``None`` if there are none.
    """

    def length_of(a: int, b: int) -> float | None:
        both = tracked[:, a] & tracked[:, b]
        return float(np.median(np.linalg.norm(person[both, a] - person[both, b], axis=-1))) if both.any() else None

    if layout.body != MODEL_LAYOUT.name:
        chains = np.zeros(len(layout.joints))
        for joint in from_the_root(layout):
            parent = layout.parents[joint]
            chains[joint] = chains[parent] + (length_of(parent, joint) or 0.0)
        return float(chains.max()) or None
    length = share = 0.0
    for start, end, part in _SEGMENTS:
        found = length_of(layout.joints.index(start), layout.joints.index(end))
        if found is not None:
            length += found
            share += part
    return length / share if length > 0 else None
