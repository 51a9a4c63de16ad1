"""Move the joints of a recording along with the joints of the model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

NEAR = 0.15  # metres: within this distance, joints of the model carry a joint that is none of them
STIFF = 1e-4  # square metres: turns that the neighbours do not determine are left out


def carry(pose: FloatArray, before: FloatArray, after: FloatArray, conversion: NDArray[np.floating]) -> FloatArray:
    """Move a pose as the joints of the model move.

    A joint that the model has moves exactly as there. Any other, such as a finger or an eye, moves rigidly with the
    joints of the model around it, by a weighted least-squares fit (Kabsch 1976).

    Args:
        pose: [W, 3] joints of the recording.
        before: [V, 3] joints of the model in that pose.
        after: [T, V, 3] joints of the model later.
        conversion: [V, W] weights of the model's joints over those of the recording.

    Returns:
        [T, W, 3]; NaN where the pose is.
    """
    moved = np.repeat(pose[None], len(after), axis=0)
    known = np.flatnonzero(np.abs(conversion).sum(axis=1)).tolist()
    same = {int(np.argmax(conversion[joint])): joint for joint in known if np.count_nonzero(conversion[joint]) == 1}
    for joint in np.flatnonzero(np.isfinite(pose).all(axis=-1)).tolist():
        if joint in same:
            moved[:, joint] += after[:, same[joint]] - before[same[joint]]
        else:
            moved[:, joint] = _rigidly(pose[joint], before[known], after[:, known])
    return moved


def _rigidly(point: FloatArray, before: FloatArray, after: FloatArray) -> FloatArray:
    """Move a point [3] with the points around it, from ``before`` [V, 3] to ``after`` [T, V, 3]."""
    distance = np.square(before - point).sum(axis=-1)
    weight = np.exp(-(distance - distance.min()) / NEAR**2)
    weight = (weight / weight.sum())[:, None]
    centre, centres = (weight * before).sum(axis=0), (weight * after).sum(axis=1)
    spread = np.einsum("vi,tvj->tij", weight * (before - centre), after - centres[:, None])
    u, _, vt = np.linalg.svd(spread + STIFF * np.eye(3, dtype=np.float32))
    vt[:, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]  # no mirroring
    return np.asarray(centres + (point - centre) @ (u @ vt), np.float32)
