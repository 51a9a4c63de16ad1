"""Axes: any recording to y up, right-handed; where a file does not say its axes, :mod:`mamp.readers.infer` does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError

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


def check_up(up: str) -> str:
    """Return the axis in lower case.

    Raises:
        ReadError: It is none of x, y, z, -x, -y, -z.
    """
    name = up.strip().lower().removeprefix("+") if isinstance(up, str) else ""
    if name not in TO_Y_UP:
        raise ReadError(f"up={up!r}: expected the axis that points up: {', '.join(TO_Y_UP)}.")
    return name


def check_handedness(handedness: str) -> str:
    """Return ``right`` or ``left``.

    Raises:
        ReadError: It is neither.
    """
    name = handedness.strip().lower() if isinstance(handedness, str) else ""
    if name not in HANDEDNESS:
        raise ReadError(f"handedness={handedness!r}: expected that of the file's axes: right or left.")
    return name


def turn_y_up(positions: NDArray[np.floating], up: str) -> NDArray[np.floating]:
    """Rotate positions [..., 3] so that the axis ``up`` becomes y."""
    return positions if up == "y" else positions @ np.array(TO_Y_UP[up], dtype=positions.dtype).T


def mirror(positions: NDArray[np.floating]) -> NDArray[np.floating]:
    """Positions [..., 3] of a left-handed system in a right-handed one: x changes its sign."""
    return positions * np.array([-1, 1, 1], dtype=positions.dtype)
