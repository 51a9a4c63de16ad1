"""Units and axes: any recording to metres with y up.

Where neither the caller nor the format says which unit or axis a recording has:

- **unit**: the one that makes the person nearest to 1.6 m, measured along the body from head to ankle (so sitting or
  lying does not matter), among metres, centimetres, millimetres, inches and the unit of CMU's ASF files. Where the
  layout does not say which joints those are, the largest side of the box around the joints decides: below 20 metres,
  below 300 centimetres, else millimetres.
- **up**: y, unless the direction from ankles to head lies within about 27 degrees of z in the middle frame of the
  recording's directions (componentwise median); then z. Other axes are never guessed.
"""

from __future__ import annotations

import math

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import MODEL_LAYOUT, Layout

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

# Rows give x, y, z of the result in terms of the source; each is a rotation, so left stays left.
TO_Y_UP = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}

_SAMPLE = 200
_BODY = (
    ("head", "spine_shoulder"),
    ("spine_shoulder", "spine_base"),
    ("hip_{}", "knee_{}"),
    ("knee_{}", "ankle_{}"),
)


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


def check_up(up: str) -> str:
    """Return the axis in lower case.

    Raises:
        ReadError: It is none of x, y, z, -x, -y, -z.
    """
    name = up.strip().lower().removeprefix("+") if isinstance(up, str) else up
    if name not in TO_Y_UP:
        raise ReadError(f"up={up!r}: expected the axis that points up: {', '.join(TO_Y_UP)}.")
    return name


def turn_y_up(positions: NDArray[np.floating], up: str) -> NDArray[np.floating]:
    """Rotate positions [..., 3] so that the axis ``up`` becomes y."""
    return positions if up == "y" else positions @ np.array(TO_Y_UP[up], dtype=positions.dtype).T


def guess_unit(positions: NDArray[np.floating], layout: Layout) -> str:
    """Name of the unit that makes the people in [M, T, V, 3] of human size."""
    size = head_to_ankle(positions, layout)
    if size is not None and size > 0:
        return min(GUESSES, key=lambda unit: abs(math.log(size * UNITS[unit] / HEAD_TO_ANKLE)))
    extent = _extent(positions)
    return "m" if extent < 20 else "cm" if extent < 300 else "mm"


def guess_up(positions: NDArray[np.floating], layout: Layout) -> str:
    """``z`` where people in [M, T, V, 3] evidently stand along z, else ``y``."""
    body = _as_model(positions, layout)
    if body is None:
        return "y"
    feet = (_joint(body, "ankle_left") + _joint(body, "ankle_right")) / 2
    upright = _joint(body, "head") - feet
    upright = upright[np.isfinite(upright).all(-1)]
    if not len(upright):
        return "y"
    x, y, z = np.median(upright, axis=0)
    return "z" if z > 2 * math.hypot(x, y) else "y"


def _as_model(positions: NDArray[np.floating], layout: Layout) -> NDArray[np.float64] | None:
    """Joints of the model in some of the frames, [M*T, 25, 3], NaN where absent; None if the layout has no mapping."""
    try:
        weights = layout.conversion(MODEL_LAYOUT).astype(np.float64)
    except LayoutError:
        return None
    step = max(1, positions.shape[1] // _SAMPLE)
    frames = rearrange(positions[:, ::step], "m t v c -> (m t) v c").astype(np.float64)
    used = np.flatnonzero(weights.any(0))
    body = np.einsum("nvc,wv->nwc", np.nan_to_num(frames[:, used]), weights[:, used])
    missing = np.isnan(frames[:, used]).any(-1).astype(np.float64) @ (weights[:, used].T != 0) > 0
    body[missing | ~weights.any(1)] = np.nan
    return body


def _joint(body: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    return body[:, MODEL_LAYOUT.joints.index(name)]


def head_to_ankle(positions: NDArray[np.floating], layout: Layout) -> float | None:
    """Length of the way from head to ankle along the body, each part by its median; None if a part is never seen."""
    body = _as_model(positions, layout)
    if body is None:
        return None
    total = 0.0
    for pair in _BODY:
        ends = [[_joint(body, name.format(side)) for name in pair] for side in ("left", "right")]
        lengths = np.concatenate([np.linalg.norm(a - b, axis=-1) for a, b in ends])
        lengths = lengths[np.isfinite(lengths)]
        if not len(lengths):
            return None
        total += float(np.median(lengths))
    return total


def _extent(positions: NDArray[np.floating]) -> float:
    """Median over people and frames of the largest side of the box around the joints; 0 if none is tracked."""
    frames = rearrange(positions, "m t v c -> (m t) v c")
    seen = np.isfinite(frames).all(-1, keepdims=True)
    low = np.where(seen, frames, np.inf).min(1)
    high = np.where(seen, frames, -np.inf).max(1)
    sides = (high - low).max(-1)[seen.any((1, 2))]
    return float(np.median(sides)) if len(sides) else 0.0
