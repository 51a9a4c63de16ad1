"""The last step of every reader: untracked to NaN, metres, y up, and a :class:`~mamp.skeleton.Skeleton`."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import Layout, find_layout, get_layout, list_layouts
from mamp.readers.files import StrPath, check_numbers
from mamp.readers.units import check_up, guess_unit, guess_up, metres_per_unit, turn_y_up
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

LayoutLike = str | Layout | Sequence[str]


@dataclass(frozen=True)
class Options:
    """What the caller of :func:`mamp.load` said about a file; ``None`` leaves it to the file.

    Attributes:
        layout: Registered name, layout, or joint names.
        fps: Frames per second.
        unit: Unit of the positions: a name of :data:`mamp.readers.units.UNITS`, or metres in one unit.
        up: The axis that points up.
        asf: The skeleton file of an AMC file.
    """

    layout: LayoutLike | None = None
    fps: float | None = None
    unit: str | float | None = None
    up: str | None = None
    asf: StrPath | None = None

    def __post_init__(self) -> None:
        if self.unit is not None:
            metres_per_unit(self.unit)
        if self.up is not None:
            object.__setattr__(self, "up", check_up(self.up))
        number = isinstance(self.fps, int | float | np.number) and not isinstance(self.fps, bool)
        if self.fps is not None and not (number and 0 < self.fps < math.inf):
            raise ReadError(f"fps={self.fps!r}: expected frames per second above zero.")

    def with_defaults(self, **values: Any) -> Options:
        """Fill in what the caller did not give with what the format or file says."""
        return replace(self, **{key: value for key, value in values.items() if getattr(self, key) is None})


def assemble(
    positions: NDArray[np.floating],
    path: StrPath,
    format: str,
    options: Options,
    *,
    layout: LayoutLike | None = None,
    fps: float | None = None,
    unit: str | float | None = None,
    up: str | None = None,
    zeros: Literal["keep", "person", "joint"] = "person",
    confidence: NDArray[np.floating] | None = None,
    info: dict[str, Any] | None = None,
) -> Skeleton:
    """Build the recording.

    Args:
        positions: [M, T, V, 3] in the file's unit and axes, NaN where not tracked.
        path: The file.
        format: Name of the format.
        options: What the caller said; it wins over what follows.
        layout: What the file or format says; found by the number of joints if neither does.
        fps: What the file or format says.
        unit: What the file or format says; inferred if neither does (see :mod:`mamp.readers.units`).
        up: What the file or format says; inferred if neither does.
        zeros: What exact zeros mean: positions, or not tracked, if all of a person or all of one joint is zero.
        confidence: [M, T, V].
        info: More to keep with the recording.

    Raises:
        ReadError: There are no frames, numbers are infinite or absurd, or nobody is tracked.
        LayoutError: The layout is unknown or has another number of joints.
    """
    people, frames, joints, _ = positions.shape
    if 0 in (people, frames, joints):
        raise ReadError(
            f"{path}: expected at least one person, frame and joint; found {people}, {frames} and {joints}."
        )
    check_numbers(positions, str(path))
    if zeros != "keep":
        absent = (positions == 0).all(axis=-1 if zeros == "joint" else (-2, -1))
        positions = np.where(absent[..., None] if zeros == "joint" else absent[..., None, None], np.nan, positions)
    if not np.isfinite(positions).all(-1).any():
        raise ReadError(
            f"{path}: no tracked person in {frames} frames (every joint is zero or NaN); leave this recording out."
        )
    chosen = choose_layout(options.layout if options.layout is not None else layout, joints, path)
    if len(chosen.joints) != joints:
        raise LayoutError(
            f"{path}: layout {chosen.name!r} has {len(chosen.joints)} joints, the file has {joints}. "
            "Name the right layout, or register yours with mamp.register_layout."
        )
    unit_name, unit_from = _settle(options.unit, unit, lambda: guess_unit(positions, chosen))
    up_name, up_from = _settle(options.up, up, lambda: guess_up(positions, chosen))
    _warn_of_guess(path, "unit", unit_name, unit_from, usual="m")
    _warn_of_guess(path, "up", up_name, up_from, usual="y")
    scale = metres_per_unit(unit_name)
    if scale != 1.0:
        positions = positions * scale
    check_numbers(positions, str(path))
    facts = {
        "source": str(path),
        "format": format,
        "unit": unit_name,
        "unit_from": unit_from,
        "up": up_name,
        "up_from": up_from,
    }
    return Skeleton(
        turn_y_up(positions, check_up(str(up_name))),
        chosen,
        fps=options.fps if options.fps is not None else fps,
        confidence=confidence,
        name=Path(path).name,
        info=facts | (info or {}),
    )


def choose_layout(layout: LayoutLike | None, joints: int, path: StrPath) -> Layout:
    """Resolve a layout, or find the only registered one with so many joints.

    Raises:
        LayoutError: It is unknown, or none or several have so many joints.
    """
    if isinstance(layout, Layout):
        return layout
    if layout is not None:
        return get_layout(layout) if isinstance(layout, str) else find_layout(layout)
    known = {name: get_layout(name) for name in list_layouts() if name != "bvh"}
    candidates = [name for name, one in known.items() if len(one.joints) == joints]
    if len(candidates) == 1:
        logger.warning(
            "%s does not name its joints; %d of them taken as layout %r. Say layout=... if that is wrong.",
            path, joints, candidates[0],
        )  # fmt: skip
        return known[candidates[0]]
    found = f"{' and '.join(candidates)} all have" if candidates else "no registered layout has"
    listed = ", ".join(f"{name} ({len(one.joints)})" for name, one in known.items())
    raise LayoutError(
        f"{path}: joints are not named, and {found} {joints} of them. Say layout=NAME, with the joint names in order, "
        f"or register yours with mamp.register_layout. Registered: {listed}."
    )


def _settle(given: Any, said: Any, guess: Any) -> tuple[Any, str]:
    """The value to use, and where it is from."""
    if given is not None:
        return given, "given"
    if said is not None:
        return said, "format"
    return guess(), "inferred"


def _warn_of_guess(path: StrPath, key: str, value: Any, source: str, usual: str) -> None:
    if source == "inferred":
        level = logging.DEBUG if value == usual else logging.WARNING
        logger.log(level, "%s does not say its %s; %r inferred. Say %s=... if that is wrong.", path, key, value, key)
