"""The last step of every reader: untracked to NaN, metres, y up, right-handed: a :class:`~mamp.skeleton.Skeleton`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import MODEL_LAYOUT, Layout, get_layout, list_layouts
from mamp.readers.axes import check_handedness, check_up, mirror, turn_y_up
from mamp.readers.files import StrPath, check_numbers
from mamp.readers.infer import HEAD_TO_ANKLE, HUMAN, Body, Guess
from mamp.readers.units import metres_per_unit
from mamp.skeleton import FASTEST, SLOWEST, Skeleton, resolve_layout

logger = logging.getLogger(__name__)

LayoutLike = str | Layout | Sequence[str]


@dataclass(frozen=True)
class Options:
    """What the caller said about a file, as :func:`mamp.load` describes it; ``None`` leaves it to the file."""

    layout: LayoutLike | None = None
    fps: float | None = None
    unit: str | float | None = None
    up: str | None = None
    handedness: str | None = None
    allow_2d: bool = False
    asf: StrPath | None = None
    joints: Any = None
    markers: Mapping[str, str | Sequence[str]] | StrPath | None = None
    min_confidence: float | None = None

    def __post_init__(self) -> None:
        if self.unit is not None:
            metres_per_unit(self.unit)
        if self.up is not None:
            object.__setattr__(self, "up", check_up(self.up))
        if self.handedness is not None:
            object.__setattr__(self, "handedness", check_handedness(self.handedness))
        if self.fps is not None and not (_is_number(self.fps) and SLOWEST <= self.fps <= FASTEST):
            raise ReadError(
                f"fps={repr(self.fps)[:40]}: expected frames per second above zero, from {SLOWEST:g} to {FASTEST:g}."
            )
        limit = self.min_confidence
        if limit is not None and not (_is_number(limit) and 0 <= limit <= 1):
            raise ReadError(f"min_confidence={limit!r}: expected a number from 0 to 1.")

    def with_defaults(self, **values: Any) -> Options:
        """Fill in what the caller did not give with what the format or file says."""
        return replace(self, **{key: value for key, value in values.items() if getattr(self, key) is None})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


DEFAULTS = Options()


@dataclass(frozen=True, eq=False)
class Raw:
    """What a reader found in a file; ``None`` where neither the file nor its format says.

    Attributes:
        positions: [M, T, V, 3] in the file's unit and axes, NaN where not tracked.
        path: The file.
        format: Name of the format.
        layout: Found by the number of joints if ``None``.
        fps: Frames per second.
        unit: Inferred if ``None``, as ``up`` and ``handedness`` are (:mod:`mamp.readers.infer`).
        up: The axis that points up. Where a file says it, its axes are right-handed unless ``handedness`` says not.
        handedness: Of the file's axes.
        flat: One coordinate is zero throughout, in the unit of an image.
        zeros: What exact zeros mean: positions, or not tracked, if all of a person or all of one joint is zero.
        confidence: [M, T, V].
        min_confidence: A joint of less was guessed, as the format's makers say, and counts as not tracked.
        info: More to keep with the recording.
    """

    positions: NDArray[np.floating]
    path: StrPath
    format: str
    layout: LayoutLike | None = None
    fps: float | None = None
    unit: str | float | None = None
    up: str | None = None
    handedness: str | None = None
    flat: bool = False
    zeros: Literal["keep", "person", "joint"] = "person"
    confidence: NDArray[np.floating] | None = None
    min_confidence: float | None = None
    info: Mapping[str, Any] = field(default_factory=dict)


FACTS = ("unit", "up", "handedness")


class Fact(NamedTuple):
    """A value, and where it is from: ``given``, ``format``, ``inferred``, ``assumed`` or ``doubtful``."""

    value: Any
    source: str
    metres: float = 1.0
    """In one unit, if the value is a unit."""


def assemble(raw: Raw, options: Options) -> Skeleton:
    """Build the recording; what the caller said wins over what the file says.

    Raises:
        ReadError: There are no frames, numbers are infinite or absurd, or nobody is tracked.
        LayoutError: The layout is unknown or has another number of joints.
    """
    positions = _without_guesses(_without_untracked(raw), raw, options)
    layout = _layout(raw, options, positions)
    facts = _facts(raw, options, Body(positions, layout))
    rate = _rate(raw, options)
    return Skeleton(
        _to_model_axes(positions, facts, raw.path),
        layout,
        fps=rate,
        confidence=raw.confidence,
        name=Path(raw.path).name,
        info={
            "source": str(raw.path),
            "format": raw.format,
            **{key: fact.value for key, fact in facts.items()},
            **{f"{key}_from": fact.source for key, fact in facts.items()},
            **raw.info,
        },
        allow_2d=options.allow_2d,
    )


def choose_layout(
    layout: LayoutLike | None, joints: int, path: StrPath, positions: NDArray[np.floating] | None = None
) -> Layout:
    """Resolve a layout, or find the only registered one with ``joints`` joints; the model's own takes precedence.

    Args:
        layout: What the caller or the file says.
        joints: How many there are.
        path: The file.
        positions: [M, T, V, 3]. Of several layouts, those that make no body of them are left out.

    Raises:
        LayoutError: It is unknown, or none or several have that many joints.
    """
    if isinstance(layout, Layout):
        return layout
    if layout is not None:
        return resolve_layout(layout)
    known = {name: get_layout(name) for name in list_layouts() if name != "bvh"}
    people = [name for name, one in known.items() if one.body == MODEL_LAYOUT.name]
    fitting = candidates = [name for name in people if len(known[name].joints) == joints]
    bodies = [name for name in candidates if positions is not None and Body(positions, known[name]).looks_human]
    if len(candidates) > 1 and bodies and (len(bodies) == 1 or MODEL_LAYOUT.name not in candidates):
        candidates = bodies
    if len(candidates) == 1 or MODEL_LAYOUT.name in candidates:
        taken = MODEL_LAYOUT.name if MODEL_LAYOUT.name in candidates else candidates[0]
        others = [f"; {name!r} has as many" for name in fitting if name != taken]
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


def by_name(
    layout: LayoutLike | None, names: Sequence[str], positions: NDArray[np.float64]
) -> tuple[Layout | None, NDArray[np.float64]]:
    """The layout that the caller gives and its joints of positions [T, V, 3], found among the names of the file.

    Where a joint is not among the names, the positions stay as they are, to be taken in order.
    """
    if layout is None:
        return None, positions
    given = resolve_layout(layout)
    if not set(given.joints) <= set(names):
        return given, positions
    return given, positions[:, [names.index(joint) for joint in given.joints]]


def _rate(raw: Raw, options: Options) -> float | None:
    if options.fps is not None or raw.fps is None:
        return options.fps
    if SLOWEST <= raw.fps <= FASTEST:
        return raw.fps
    logger.warning("%s: %g frames per second make no sense; the rate is unknown. Say fps=...", raw.path, raw.fps)
    return None


def _without_untracked(raw: Raw) -> NDArray[np.floating]:
    """The positions with NaN for zeros that mean that nothing was tracked."""
    positions = raw.positions
    people, frames, joints, _ = positions.shape
    if 0 in (people, frames, joints):
        raise ReadError(
            f"{raw.path}: expected at least one person, frame and joint; found {people}, {frames} and {joints}."
        )
    check_numbers(positions, str(raw.path))
    if raw.zeros != "keep":
        absent = (positions == 0).all(axis=-1 if raw.zeros == "joint" else (-2, -1), keepdims=True)
        positions = np.where(absent, np.nan, positions)
    if not np.isfinite(positions).all(-1).any():
        raise ReadError(
            f"{raw.path}: no tracked person in {frames} frames (every joint is zero or NaN); leave this recording out."
        )
    return positions


def _without_guesses(positions: NDArray[np.floating], raw: Raw, options: Options) -> NDArray[np.floating]:
    """The positions with NaN for joints of too little confidence, which a warning counts."""
    limit = raw.min_confidence if options.min_confidence is None else options.min_confidence
    if raw.confidence is None or not limit or raw.confidence.shape != positions.shape[:3]:
        return positions
    seen = np.isfinite(positions).all(-1)
    guessed = seen & (raw.confidence < limit)
    if not guessed.any():
        return positions
    if not (seen & ~guessed).any():
        if options.min_confidence is not None:
            raise ReadError(f"{raw.path}: no joint has a confidence of {limit:g} or more; say a lower min_confidence.")
        logger.warning("%s: no joint has a confidence of %g or more; it is not used.", raw.path, limit)
        return positions
    logger.warning(
        "%s: %.1f %% of the joints have a confidence below %g and count as not tracked. Say min_confidence=0 to take "
        "them.", raw.path, 100 * guessed.sum() / seen.sum(), limit,
    )  # fmt: skip
    return np.where(guessed[..., None], np.nan, positions)


def _layout(raw: Raw, options: Options, positions: NDArray[np.floating]) -> Layout:
    joints = raw.positions.shape[2]
    layout = choose_layout(options.layout if options.layout is not None else raw.layout, joints, raw.path, positions)
    if len(layout.joints) != joints:
        raise LayoutError(
            f"{raw.path}: layout {layout.name!r} has {len(layout.joints)} joints, the file has {joints}. "
            "Name the right layout, or register yours with mamp.register_layout."
        )
    return layout


def _facts(raw: Raw, options: Options, body: Body) -> dict[str, Fact]:
    """Unit, up axis and handedness of the file: as the caller says, as the file says, or as the body does."""
    facts = _said(raw, options)
    unit, up, handedness = (key not in facts for key in FACTS)
    guess = body.guess(unit, up, handedness, named=not raw.flat)
    if guess.unit is not None:
        if body.layout.body != MODEL_LAYOUT.name:
            logger.warning(
                "%s does not say its unit, and neither does the size of a body like %r; metres taken. Say unit=... if "
                "that is wrong.", raw.path, body.layout.body,
            )  # fmt: skip
        facts["unit"] = _unit(raw, guess, *guess.unit)
    elif facts["unit"].source == "format":
        _check_size(raw, guess, facts["unit"])
    if guess.up is not None:
        facts["up"] = _up(raw, *guess.up)
    if handedness:
        facts["handedness"] = _handedness(raw, guess.mirrored)
    return {key: facts[key] for key in FACTS}


def _said(raw: Raw, options: Options) -> dict[str, Fact]:
    """What the caller or the file says. A file that says its up axis, and an image, are right-handed unless said."""
    said: dict[str, Fact] = {}
    for given, source in ((options, "given"), (raw, "format")):
        if given.unit is not None:
            said.setdefault("unit", Fact(given.unit, source, metres_per_unit(given.unit)))
        if given.up is not None:
            said.setdefault("up", Fact(check_up(given.up), source))
        if given.handedness is not None:
            said.setdefault("handedness", Fact(given.handedness, source))
    if raw.up is not None or raw.flat:
        said.setdefault("handedness", Fact("right", "format"))
    return said


def _unit(raw: Raw, guess: Guess, value: str | float, metres: float) -> Fact:
    if raw.flat and guess.size is None:
        raise ReadError(
            f"{raw.path}: 2D points in pixels have no unit, and the body is not seen from head to ankle; say unit=, "
            "the metres in one pixel."
        )
    if isinstance(value, str) or raw.flat:
        _report(raw.path, "unit", value, usual="m")
    else:
        logger.warning(
            "%s does not say its unit, and in none that is common are the people of human size (%.3g units from head "
            "to ankle); they are scaled to %g m. Say unit=..., the metres in one unit (%g now), if that is wrong.",
            raw.path, guess.size, HEAD_TO_ANKLE, value,
        )  # fmt: skip
    return Fact(value, "inferred", metres)


def _check_size(raw: Raw, guess: Guess, unit: Fact) -> None:
    """Warn of people who are not of human size in the unit that the file or its format says."""
    if guess.size is not None and not HUMAN[0] <= guess.size * unit.metres <= HUMAN[1]:
        logger.warning(
            "%s: people are %.3g m from head to ankle in the unit of the file (%s), where a person has %g to %g. Say "
            "unit=%.3g, the metres in one unit, to make them %g m tall.",
            raw.path, guess.size * unit.metres, unit.value, *HUMAN, HEAD_TO_ANKLE / guess.size, HEAD_TO_ANKLE,
        )  # fmt: skip


def _up(raw: Raw, up: str, sure: bool) -> Fact:
    if sure:
        _report(raw.path, "up", up, usual="y")
        return Fact(up, "inferred")
    logger.warning(
        "%s does not say which axis points up, and nobody stands along one; 'y' taken. Say up=... if that is wrong.",
        raw.path,
    )
    return Fact(up, "assumed")


def _handedness(raw: Raw, mirrored: bool | None) -> Fact:
    if mirrored:
        logger.warning(
            "%s looks mirrored: feet, knees or nose point behind the body, as they do where axes are left-handed, or "
            "left and right joints are swapped. Nothing was changed; say handedness='left' to turn it right, or "
            "handedness='right' if it is as it should be.",
            raw.path,
        )
        return Fact("right", "doubtful")
    return Fact("right", "assumed" if mirrored is None else "inferred")


def _to_model_axes(positions: NDArray[np.floating], facts: dict[str, Fact], path: StrPath) -> NDArray[np.floating]:
    """Positions in metres, y up, right-handed."""
    if facts["unit"].metres != 1.0:
        positions = positions * facts["unit"].metres
        check_numbers(positions, str(path))
    if facts["up"].value != "y":
        positions = turn_y_up(positions, facts["up"].value)
    return mirror(positions) if facts["handedness"].value == "left" else positions


def _report(path: StrPath, key: str, value: Any, usual: str) -> None:
    """Log what was inferred, as a warning if it is not the usual."""
    level = logging.DEBUG if value == usual else logging.WARNING
    logger.log(level, "%s does not say its %s; %r inferred. Say %s=... if that is wrong.", path, key, value, key)
