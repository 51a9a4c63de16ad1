"""Rotation matrices, over all frames at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def rotation(axes: str, angles: Array) -> Array:
    """Product of rotations about coordinate axes, the first leftmost.

    Args:
        axes: Letters of ``xyz``, K of them.
        angles: [..., K] in radians.

    Returns:
        [..., 3, 3], to multiply column vectors from the left.
    """
    result = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for index, axis in enumerate(axes):
        # The two axes that turn, in the order that makes the turn right-handed.
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        cos, sin = np.cos(angles[..., index, None]), np.sin(angles[..., index, None])
        turned = result.copy()
        turned[..., i] = result[..., i] * cos + result[..., j] * sin
        turned[..., j] = result[..., j] * cos - result[..., i] * sin
        result = turned
    return result
