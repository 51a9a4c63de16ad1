"""The last step of every reader: untracked to NaN, metres, y up, right-handed: a :class:`~mamp.skeleton.Skeleton`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import MODEL_LAYOUT, Layout, find_layout, get_layout, list_layouts
from mamp.readers.axes import check_handedness, check_up, guess_up, looks_mirrored, mirror, turn_y_up
from mamp.readers.files import StrPath, check_numbers
from mamp.readers.units import flat_unit, guess_unit, metres_per_unit
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
        handedness: Whether the file's axes are right-handed or left-handed.
        allow_2d: Take 2D keypoints, in the plane z = 0; else they are refused.
        asf: The skeleton file of an AMC file.
        joints: Rest joints of a body model for pose parameters: an array, or a file (:mod:`mamp.readers.smpl`).
        markers: Joint -> marker, or markers whose middle it is, for motion capture by markers.
    """

    layout: LayoutLike | None = None
    fps: float | None = None
    unit: str | float | None = None
    up: str | None = None
    handedness: str | None = None
    allow_2d: bool = False
    asf: StrPath | None = None
    joints: Any = None
    markers: Mapping[str, str | Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.unit is not None:
            metres_per_unit(self.unit)
        if self.up is not None:
            object.__setattr__(self, "up", check_up(self.up))
        if self.handedness is not None:
            object.__setattr__(self, "handedness", check_handedness(self.handedness))
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
    handedness: str | None = None,
    flat: bool = False,
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
        up: What the file or format says; inferred if neither does (see :mod:`mamp.readers.axes`).
        handedness: What the file or format says, which may be by its axis ``up``; inferred if neither does.
        flat: One coordinate is zero throughout, in the unit of an image.
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
    guess = (lambda: flat_unit(positions, chosen, path)) if flat else (lambda: guess_unit(positions, chosen))
    unit_name, unit_from = _settle(options.unit, unit, guess)
    _warn_of_guess(path, "unit", unit_name, unit_from, usual="m")
    up_name, up_from = _settle_up(positions, chosen, path, options.up, up)
    scale = metres_per_unit(unit_name)
    if scale != 1.0:
        positions = positions * scale
    check_numbers(positions, str(path))
    positions = turn_y_up(positions, up_name)
    known = handedness or ("right" if up is not None or flat else None)
    side, side_from = _settle_handedness(positions, chosen, path, options.handedness, known)
    if side == "left":
        positions = mirror(positions)
    facts = {
        "source": str(path),
        "format": format,
        "unit": unit_name,
        "unit_from": unit_from,
        "up": up_name,
        "up_from": up_from,
        "handedness": side,
        "handedness_from": side_from,
    }
    return Skeleton(
        positions,
        chosen,
        fps=options.fps if options.fps is not None else fps,
        confidence=confidence,
        name=Path(path).name,
        info=facts | (info or {}),
        allow_2d=options.allow_2d,
    )


def choose_layout(layout: LayoutLike | None, joints: int, path: StrPath) -> Layout:
    """Resolve a layout, or find the only registered one with so many joints; the model's own is taken before others.

    Raises:
        LayoutError: It is unknown, or none or several have so many joints.
    """
    if isinstance(layout, Layout):
        return layout
    if layout is not None:
        return get_layout(layout) if isinstance(layout, str) else find_layout(layout)
    known = {name: get_layout(name) for name in list_layouts() if name != "bvh"}
    candidates = [name for name, one in known.items() if len(one.joints) == joints]
    if len(candidates) == 1 or MODEL_LAYOUT.name in candidates:
        taken = MODEL_LAYOUT.name if MODEL_LAYOUT.name in candidates else candidates[0]
        others = [f"; {name!r} has as many" for name in candidates if name != taken]
        logger.warning(
            "%s does not name its joints; %d of them taken as layout %r%s. Say layout=... if that is wrong.",
            path, joints, taken, "".join(others),
        )  # fmt: skip
        return known[taken]
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


def _settle_up(
    positions: NDArray[np.floating], layout: Layout, path: StrPath, given: str | None, said: str | None
) -> tuple[str, str]:
    """The axis that points up, and where that is from: ``given``, ``format``, ``inferred``, ``assumed``."""
    if given is not None or said is not None:
        return _settle(given, said and check_up(said), None)
    up, sure = guess_up(positions, layout)
    if sure:
        _warn_of_guess(path, "up", up, "inferred", usual="y")
        return up, "inferred"
    logger.warning(
        "%s does not say which axis points up, and nobody stands along one; 'y' taken. Say up=... if that is wrong.",
        path,
    )
    return up, "assumed"


def _settle_handedness(
    positions: NDArray[np.floating], layout: Layout, path: StrPath, given: str | None, said: str | None
) -> tuple[str, str]:
    """Handedness of the axes, and where that is from: as for the axis that points up, or ``doubtful``."""
    if given is not None or said is not None:
        return _settle(given, said, None)
    mirrored = looks_mirrored(positions, layout)
    if mirrored:
        logger.warning(
            "%s looks mirrored: feet, knees or nose point behind the body, as they do where axes are left-handed, or "
            "left and right joints are swapped. Nothing was changed; say handedness='left' to turn it right, or "
            "handedness='right' if it is as it should be.",
            path,
        )
        return "right", "doubtful"
    return "right", "assumed" if mirrored is None else "inferred"


def _warn_of_guess(path: StrPath, key: str, value: Any, source: str, usual: str) -> None:
    if source == "inferred":
        level = logging.DEBUG if value == usual else logging.WARNING
        logger.log(level, "%s does not say its %s; %r inferred. Say %s=... if that is wrong.", path, key, value, key)
