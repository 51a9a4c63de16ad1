"""Units of length, by name; where a file does not say which it has, :mod:`mamp.readers.infer` does."""

from __future__ import annotations

import sys

import numpy as np

from mamp.errors import ReadError

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
    elif isinstance(unit, int | float | np.number) and not isinstance(unit, bool) and 0 < unit <= sys.float_info.max:
        return float(unit)
    raise ReadError(
        f"unit={unit!r}: expected one of {', '.join(UNITS)}, or the metres in one unit as a number above zero."
    )
