"""Axes: any recording to y up, right-handed.

Where neither the caller nor the format says which axes a recording has:

- **up**: the direction from the ankles to the head, componentwise median over people and frames. The axis among y, z
  and -y (cameras look with y down) that lies within about 27 degrees of it points up. Where none does (somebody lies
  or crawls, or the layout does not say which joints those are), y is taken. The other axes are never inferred: a
  person who lies is more likely than a file whose x points up.
- **handedness**: right-handed is taken, and the body is asked whether that can be. With the axis from the right hip to
  the left and the axis up the trunk, the third axis of a right-handed system points where the person faces. Toes lie
  ahead of the ankles, noses ahead of the ears, and bent knees ahead of the line from hip to ankle; where these lie
  behind on the whole, the recording looks mirrored: its axes are left-handed (Unity, Unreal), or left and right joints
  are swapped. A warning says so and nothing is changed, unless ``handedness="left"`` is given.

  A recording of a mirrored video with joints named as they look (a selfie) is a sound body that moves its other arm;
  nothing in the positions tells it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.layouts import MODEL_LAYOUT, Layout
from mamp.layouts.names import find_roles
from mamp.readers.body import joint, model_joints, sample_frames

# Rows give x, y, z of the result in terms of the source; each is a rotation, so left stays left.
TO_Y_UP = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}
HANDEDNESS = ("right", "left")

_CLEAR = 0.3  # mean cosine between where the front should be and where it is, from which on the body says something
_BENT = 0.05  # a knee this far off the line from hip to ankle, in lengths of that line, is bent


def check_up(up: str) -> str:
    """Return the axis in lower case.

    Raises:
        ReadError: It is none of x, y, z, -x, -y, -z.
    """
    name = up.strip().lower().removeprefix("+") if isinstance(up, str) else up
    if name not in TO_Y_UP:
        raise ReadError(f"up={up!r}: expected the axis that points up: {', '.join(TO_Y_UP)}.")
    return name


def check_handedness(handedness: str) -> str:
    """Return ``right`` or ``left``.

    Raises:
        ReadError: It is neither.
    """
    name = handedness.strip().lower() if isinstance(handedness, str) else handedness
    if name not in HANDEDNESS:
        raise ReadError(f"handedness={handedness!r}: expected that of the file's axes: right or left.")
    return name


def turn_y_up(positions: NDArray[np.floating], up: str) -> NDArray[np.floating]:
    """Rotate positions [..., 3] so that the axis ``up`` becomes y."""
    return positions if up == "y" else positions @ np.array(TO_Y_UP[up], dtype=positions.dtype).T


def mirror(positions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Positions [..., 3] of a left-handed system in a right-handed one: x changes its sign."""
    return positions * np.array([-1, 1, 1], dtype=positions.dtype)


def guess_up(positions: NDArray[np.floating], layout: Layout) -> tuple[str, bool]:
    """The axis that points up for people in [M, T, V, 3], and whether their posture says so."""
    body = model_joints(positions, layout)
    if body is None:
        return "y", False
    feet = (joint(body, "ankle_left") + joint(body, "ankle_right")) / 2
    upright = joint(body, "head") - feet
    upright = upright[np.isfinite(upright).all(-1)]
    if not len(upright):
        return "y", False
    x, y, z = np.median(upright, axis=0)
    for name, along, across in (("y", y, math.hypot(x, z)), ("z", z, math.hypot(x, y)), ("-y", -y, math.hypot(x, z))):
        if along > 2 * across:
            return name, True
    return "y", False


def looks_mirrored(positions: NDArray[np.floating], layout: Layout) -> bool | None:
    """Whether bodies in right-handed [M, T, V, 3] have their front where the back is; None if they do not say."""
    body = model_joints(positions, layout)
    if body is None:
        return None
    across = joint(body, "hip_left") - joint(body, "hip_right")
    trunk = joint(body, "spine_shoulder") - joint(body, "spine_base")
    front = _unit(np.cross(across, trunk))
    found = []
    for forward in _forward(positions, layout, body):
        cosines = np.einsum("nc,nc->n", _unit(forward), front)
        cosines = cosines[np.isfinite(cosines)]
        if len(cosines):
            found.append(float(np.mean(cosines)))
    if not found or abs(np.mean(found)) < _CLEAR:
        return None
    return bool(np.mean(found) < 0)


def _forward(
    positions: NDArray[np.floating], layout: Layout, body: NDArray[np.float64]
) -> Iterator[NDArray[np.float64]]:
    """Vectors that point forward from each part of the body that has a front, [N, 3] each; NaN where it has none."""
    weights = layout.conversion(MODEL_LAYOUT)
    for side in ("left", "right"):
        foot, ankle = (MODEL_LAYOUT.joints.index(f"{name}_{side}") for name in ("foot", "ankle"))
        if (weights[foot] >= 0).all() and (weights[foot] != weights[ankle]).any():  # a foot that was really seen
            yield body[:, foot] - body[:, ankle]
        hip, knee, end = (joint(body, f"{name}_{side}") for name in ("hip", "knee", "ankle"))
        leg = end - hip
        length = np.linalg.norm(leg, axis=-1, keepdims=True)
        axis = _unit(leg)
        bend = (knee - hip) - axis * np.einsum("nc,nc->n", knee - hip, axis)[:, None]
        yield np.where(np.linalg.norm(bend, axis=-1, keepdims=True) > _BENT * length, bend, np.nan)
    roles = find_roles(layout.joints)
    nose = next((index for index, name in enumerate(layout.joints) if name.lower() == "nose"), None)
    if nose is not None and {"left_ear", "right_ear"} <= set(roles):
        frames = sample_frames(positions)
        ears = [frames[:, layout.joints.index(roles[f"{side}_ear"])] for side in ("left", "right")]
        yield frames[:, nose] - (ears[0] + ears[1]) / 2


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vectors [N, 3] of length one; NaN where they have no length."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, np.nan)
