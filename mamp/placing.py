"""Which way a person faces, and how tall they are, from the joints that were tracked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamp.layouts import Layout

FloatArray = NDArray[np.float32]

# Lengths between joints over body height (Drillis and Contini, as tabulated by Winter).
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
    """Turn [M, T, V, 3] about the vertical so that the first person faces the camera (negative z) on average.

    Args:
        positions: [M, T, V, 3], y up.
        tracked: [T, V] of the first person. A frame counts where both hips or both shoulders were tracked; where that
            is never so, nothing is turned.
        layout: Names the joints.
    """
    person = positions[0]

    def across(right: str, left: str) -> FloatArray:
        a, b = layout.joints.index(right), layout.joints.index(left)
        return np.where((tracked[:, a] & tracked[:, b])[:, None], person[:, a] - person[:, b], np.float32(0))

    right = across("hip_right", "hip_left") + across("shoulder_right", "shoulder_left")
    forward = np.stack([right[:, 2], -right[:, 0]], axis=1)  # x and z of (up cross right)
    x, z = (forward / np.linalg.norm(forward, axis=1, keepdims=True).clip(1e-6)).sum(axis=0)
    norm = float(np.hypot(x, z))
    if norm < 1e-6:
        return positions
    cos, sin = -z / norm, x / norm
    rotation = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], dtype=np.float32)
    return positions @ rotation.T


def body_height(person: FloatArray, tracked: NDArray[np.bool_], layout: Layout) -> float | None:
    """Body height of a person in metres, from the lengths of trunk and limbs: the same in every pose.

    Args:
        person: [T, V, 3].
        tracked: [T, V]; a length is the median over the frames in which both its ends were tracked.
        layout: Names the joints.

    Returns:
        The height, or ``None`` when no length can be measured.
    """
    length = share = 0.0
    for start, end, part in _SEGMENTS:
        a, b = layout.joints.index(start), layout.joints.index(end)
        both = tracked[:, a] & tracked[:, b]
        if both.any():
            length += float(np.median(np.linalg.norm(person[both, a] - person[both, b], axis=-1)))
            share += part
    return length / share if length > 0 else None
