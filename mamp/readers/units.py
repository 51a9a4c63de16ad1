"""Units: any recording to metres.

Where neither the caller nor the format says which unit a recording has, it is the one that makes the person nearest to
1.6 m, measured along the body from head to ankle (so sitting or lying does not matter), among metres, centimetres,
millimetres, inches and the unit of CMU's ASF files. Where the layout does not say which joints those are, the largest
side of the box around the joints decides: below 20 metres, below 300 centimetres, else millimetres.
"""

from __future__ import annotations

import math

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.layouts import Layout
from mamp.readers.body import head_to_ankle as head_to_ankle

UNITS = {
    "m": 1.0,
    "cm": 0.01,
    "mm": 0.001,
    "in": 0.0254,
    "ft": 0.3048,
    "asf": 0.0254 / 0.45,  # length unit of the CMU and HDM05 files
}
LONG_NAMES = {
    "metres": "m", "meters": "m", "metre": "m", "meter": "m", "centimetres": "cm", "centimeters": "cm",
    "millimetres": "mm", "millimeters": "mm", "inch": "in", "inches": "in", "feet": "ft",
}  # fmt: skip
GUESSES = ("m", "cm", "mm", "in", "asf")
HEAD_TO_ANKLE = 1.6


def metres_per_unit(unit: str | float) -> float:
    """Metres in one unit, given by name or as that number.

    Raises:
        ReadError: The name is unknown, or the number is not above zero.
    """
    if isinstance(unit, str):
        name = unit.strip().lower()
        name = LONG_NAMES.get(name, name)
        if name in UNITS:
            return UNITS[name]
    elif isinstance(unit, int | float | np.number) and not isinstance(unit, bool) and 0 < unit < math.inf:
        return float(unit)
    raise ReadError(
        f"unit={unit!r}: expected one of {', '.join(UNITS)}, or the metres in one unit as a number above zero."
    )


def guess_unit(positions: NDArray[np.floating], layout: Layout) -> str:
    """Name of the unit that makes the people in [M, T, V, 3] of human size."""
    size = head_to_ankle(positions, layout)
    if size is not None and size > 0:
        return min(GUESSES, key=lambda unit: abs(math.log(size * UNITS[unit] / HEAD_TO_ANKLE)))
    extent = _extent(positions)
    return "m" if extent < 20 else "cm" if extent < 300 else "mm"


def flat_unit(positions: NDArray[np.floating], layout: Layout, path: object) -> float:
    """Metres in one unit of an image, such that people in [M, T, V, 3] (one coordinate zero) are of human size.

    Raises:
        ReadError: The body is not seen well enough.
    """
    size = head_to_ankle(positions, layout)
    if size is None or not size > 0:
        raise ReadError(
            f"{path}: 2D points in pixels have no unit, and the body is not seen from head to ankle; say unit=, the "
            "metres in one pixel."
        )
    return HEAD_TO_ANKLE / size


def _extent(positions: NDArray[np.floating]) -> float:
    """Median over people and frames of the largest side of the box around the joints; 0 if none is tracked."""
    frames = rearrange(positions, "m t v c -> (m t) v c")
    seen = np.isfinite(frames).all(-1, keepdims=True)
    low = np.where(seen, frames, np.inf).min(1)
    high = np.where(seen, frames, -np.inf).max(1)
    sides = (high - low).max(-1)[seen.any((1, 2))]
    return float(np.median(sides)) if len(sides) else 0.0
