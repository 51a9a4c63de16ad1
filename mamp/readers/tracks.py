"""Join bodies that were detected frame by frame into people over time."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.files import StrPath
from mamp.readers.jsonfile import to_number

logger = logging.getLogger(__name__)

MAX_CELLS = 10_000_000  # people * frames * joints that may be made of few bodies

# Seconds in one unit of a time, by what its name ends in.
_TIME_UNITS = (("usec", 1e-6), ("us", 1e-6), ("ms", 1e-3), ("millis", 1e-3), ("ns", 1e-9))
_TIME = re.compile(r"time(_?stamp)?(_?(usec|us|ms|ns|s|sec|seconds|millis))?|seconds", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Body:
    """One body in one frame.

    Attributes:
        positions: [V, 3] (or [V, 2]), NaN where not tracked.
        confidence: [V], if there is one.
        person: Who it is, if the tracker says so.
    """

    positions: NDArray[np.float64]
    confidence: NDArray[np.float64] | None = None
    person: Hashable = None


def scored_body(table: NDArray[np.float64], person: Any = None) -> Body:
    """A body of rows whose last number is the confidence; a joint of confidence 0 or less was not found."""
    confidence = np.nan_to_num(table[:, -1]).clip(0, 1)
    named = isinstance(person, int | str) and not isinstance(person, bool)
    return Body(np.where(confidence[:, None] > 0, table[:, :-1], np.nan), confidence, person if named else None)


def without_depth(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions [..., 3] of points [..., 2] in the plane z = 0."""
    flat = np.concatenate([positions, np.zeros_like(positions[..., :1])], axis=-1)
    flat[np.isnan(positions).any(-1)] = np.nan
    return flat


def join_bodies(
    frames: Sequence[Sequence[Body]], path: StrPath
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Positions [M, T, V, C] and confidence [M, T, V] of the bodies in each frame; NaN, and 0, where there is none.

    People are told apart by :attr:`Body.person` if all bodies have one, in order of appearance, else by their place in
    the frame, with a warning if there are several.

    Raises:
        ReadError: There is no body, two in a frame are the same person, or they differ in their number of joints.
    """
    bodies = [body for frame in frames for body in frame]
    if not bodies:
        raise ReadError(f"{path}: nobody was found in {len(frames)} frames; leave this recording out.")
    shape = bodies[0].positions.shape
    if other := next((body.positions.shape for body in bodies if body.positions.shape != shape), None):
        raise ReadError(f"{path}: expected as many joints in every body, found {shape[0]} and {other[0]}.")
    named = all(body.person is not None for body in bodies)
    if not named and max(map(len, frames)) > 1:
        logger.warning("%s does not say who is who; people are told by their place in each frame.", path)
    order: dict[Hashable, int] = {}
    for frame in frames:
        for place, body in enumerate(frame):
            order.setdefault(body.person if named else place, len(order))
    if len(order) * len(frames) * shape[0] > max(MAX_CELLS, 64 * len(bodies) * shape[0]):
        raise ReadError(
            f"{path}: {len(order)} people in {len(frames)} frames, but {len(bodies)} bodies. Is it damaged?"
        )
    positions = np.full((len(order), len(frames), *shape), np.nan)
    confidence = np.zeros(positions.shape[:3])
    for time, frame in enumerate(frames):
        seen = set()
        for place, body in enumerate(frame):
            person = order[body.person if named else place]
            if person in seen:
                raise ReadError(f"{path}: frame {time} holds the person {body.person!r} twice.")
            seen.add(person)
            positions[person, time] = body.positions
            confidence[person, time] = 1.0 if body.confidence is None else np.nan_to_num(body.confidence)
    return positions, None if all(body.confidence is None for body in bodies) else confidence


def rate_of_times(times: Sequence[float] | NDArray[np.floating], seconds: float | None, path: StrPath) -> float | None:
    """Frames per second of the times of frames.

    Args:
        times: In any order.
        seconds: Seconds in one unit, or ``None`` if unknown: a step of one or more is not in seconds, and the
            rate stays unknown.
        path: The file.
    """
    steps = np.diff(np.unique(np.asarray(times, dtype=np.float64)))
    if not len(steps):
        return None
    step = float(np.median(steps)) * (seconds or 1.0)
    if seconds is None and step >= 1:
        logger.warning("%s: times %g apart are not seconds; the rate is unknown. Say fps=...", path, step)
        return None
    rate = 1 / step if step > 0 else 0.0
    if not 1e-3 < rate < 1e6:
        logger.warning("%s: times %g seconds apart make no sense; the rate is unknown. Say fps=...", path, step)
        return None
    return round(rate, 2)


def parse_rate(text: str | None) -> float | None:
    """Frames per second as a header says them; ``None`` if it is no number above zero."""
    try:
        rate = float(text or "")
    except ValueError:
        return None
    return rate if 0 < rate < 1e6 else None


def seconds_in(name: str) -> float | None:
    """Seconds in one unit of the time with this name; ``None`` if the name does not say."""
    lower = name.lower()
    return next((seconds for ending, seconds in _TIME_UNITS if re.search(rf"(_|stamp|time){ending}$", lower)), None)


def rate_of_frames(frames: Sequence[Any], path: StrPath) -> float | None:
    """Frames per second by the times that frames, objects of a JSON file, say; ``None`` if they do not."""
    first = next((frame for frame in frames if isinstance(frame, Mapping)), {})
    name = next((key for key in first if isinstance(key, str) and _TIME.fullmatch(key)), None)
    if name is None:
        return None
    times = [to_number(frame.get(name)) for frame in frames if isinstance(frame, Mapping)]
    return rate_of_times([time for time in times if time is not None], seconds_in(name), path)
