"""What the body says of a recording: its unit by its size, the axis that points up by its posture, mirroring.

Only what neither the caller nor the format says is inferred.

- **unit**: a person is 0.9 to 2.3 m from head to ankle, measured along the body (so sitting or lying does not matter),
  or as the parts that are seen suggest. The unit among metres, centimetres and millimetres that makes the person so
  tall is taken; else, within narrower bounds, feet, inches, or the unit of CMU's ASF files; else the positions are in
  units of no meaning, and are scaled to a person of 1.56 m. Where the layout does not say which joints those are, the
  largest side of the box around the joints decides: below 20 metres, below 300 centimetres, else millimetres.
- **up**: the direction from the ankles to the head, componentwise median over people and frames; from the pelvis, or to
  the neck, the shoulders or the pelvis, where these are not seen. The axis among y, z and -y (cameras look with y down)
  that lies within about 27 degrees of it points up. Where none does (somebody lies or crawls), the floor says it: the
  axis along which the lowest joint stays where it is while it moves along the others. Else y is taken. The other axes
  are never inferred: a person who lies is more likely than a file whose x points up.
- **handedness**: right-handed is taken, and the body is asked whether that can be. With the axis from the right hip to
  the left and the axis up the trunk, the third axis of a right-handed system points where the person faces. Toes lie
  ahead of the ankles, noses ahead of the ears, and bent knees ahead of the line from hip to ankle; where these lie
  behind on the whole, the recording looks mirrored: its axes are left-handed (Unity, Unreal), or left and right joints
  are swapped.

  A mirrored video (a selfie) whose joints are named as they appear is a valid body that moves its other arm; the
  positions cannot reveal it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError
from mamp.layouts import MODEL_LAYOUT, Layout
from mamp.layouts.names import find_roles
from mamp.readers.units import UNITS

Array = NDArray[np.float64]

HEAD_TO_ANKLE = 1.56  # of a person in units of no meaning, in metres
HUMAN = (0.9, 2.3)  # metres from head to ankle, children included
# Units that a file may be in, with the lengths from head to ankle that speak for each.
GUESSES = (("m", HUMAN), ("cm", HUMAN), ("mm", HUMAN), ("ft", (1.3, 1.9)), ("in", (1.3, 1.9)), ("asf", (1.3, 1.9)))

_SAMPLE = 200
# Parts of a person of HEAD_TO_ANKLE: what remains of a body says how long the whole is.
_PARTS = {
    ("head", "spine_shoulder"): 0.2,
    ("spine_shoulder", "spine_base"): 0.51,
    ("hip_{}", "knee_{}"): 0.44,
    ("knee_{}", "ankle_{}"): 0.44,
    ("shoulder_{}", "elbow_{}"): 0.28,
    ("elbow_{}", "wrist_{}"): 0.26,
}
_UNEVEN = 1.7  # parts that differ by more than that from those of a person are no body
_LOPSIDED = 0.3  # difference of left and right, relative to the longer, beyond which they are no pair
_FLOOR = (0.05, 0.25)  # in bodies: how far the lowest joint moves, at most, along up, and at least along another axis
_CLEAR = 0.3  # mean cosine between where the front should be and where it is, from which on the body says something
_BENT = 0.05  # a knee this far off the line from hip to ankle, in lengths of that line, is bent


class Guess(NamedTuple):
    """What the body says: :attr:`Body.size`, and what :class:`Body` guesses of the file's unit and axes."""

    size: float | None
    unit: tuple[str | float, float] | None
    up: tuple[str, bool] | None
    mirrored: bool | None


def sample_frames(positions: NDArray[np.floating]) -> Array:
    """Frames spread evenly over [M, T, V, 3], of all people, [N, V, 3]."""
    step = max(1, positions.shape[1] // _SAMPLE)
    return positions[:, ::step].reshape(-1, *positions.shape[2:]).astype(np.float64)


class Body:
    """The joints of the model in a sample of the frames.

    Args:
        positions: [M, T, V, 3], in any unit and axes; NaN where not tracked.
        layout: Of the positions.
    """

    def __init__(self, positions: NDArray[np.floating], layout: Layout) -> None:
        self.layout = layout
        self.frames = sample_frames(positions)
        """[N, V, 3], frames spread evenly over the recording, of all people."""

    @cached_property
    def weights(self) -> Array | None:
        """[25, V] weights of the layout's joints in the model's; ``None`` if the layout has no mapping."""
        try:
            return self.layout.conversion(MODEL_LAYOUT).astype(np.float64)
        except LayoutError:
            return None

    @cached_property
    def joints(self) -> Array | None:
        """[N, 25, 3] joints of the model, NaN where absent; ``None`` if the layout has no mapping."""
        if self.weights is None:
            return None
        used = np.flatnonzero(self.weights.any(0))
        seen, weights = self.frames[:, used], self.weights[:, used]
        body: Array = np.einsum("nvc,wv->nwc", np.nan_to_num(seen), weights)
        missing = np.isnan(seen).any(-1).astype(np.float64) @ (weights.T != 0) > 0
        body[missing | ~weights.any(1)] = np.nan
        return body

    @cached_property
    def lengths(self) -> dict[tuple[str, str], float]:
        """Median lengths of the parts of the body that are seen, of both sides together."""
        if self.joints is None:
            return {}
        found = {part: self._length(part, "left", "right") for part in _PARTS}
        return {part: length for part, length in found.items() if length is not None}

    @property
    def looks_human(self) -> bool:
        """Whether limbs and trunk have the proportions of a person, and both sides the same; a wrong layout has not."""
        if self.joints is None:
            return False
        ratios = [self.lengths.get(part, 0.0) / _PARTS[part] for part in list(_PARTS)[1:]]
        sides = [[self._length(part, side) or 0.0 for side in ("left", "right")] for part in list(_PARTS)[2:]]
        uneven = [abs(left - right) / max(left, right, 1e-9) for left, right in sides]
        return min(ratios) > 0 and max(ratios) <= 2 * min(ratios) and max(uneven) <= _LOPSIDED

    def _length(self, part: tuple[str, str], *sides: str) -> float | None:
        """Median length of a part of one side or both; ``None`` if it is never seen."""
        ends = [[self._joint(name.format(side)) for name in part] for side in sides]
        lengths = np.concatenate([np.linalg.norm(a - b, axis=-1) for a, b in ends])
        lengths = lengths[np.isfinite(lengths)]
        return float(np.median(lengths)) if len(lengths) else None

    @property
    def head_to_ankle(self) -> float | None:
        """Length of the way from head to ankle along the body; None if a part is not seen."""
        along = list(_PARTS)[:4]
        return sum(self.lengths[part] for part in along) if set(along) <= set(self.lengths) else None

    @property
    def size(self) -> float | None:
        """Length from head to ankle, as the parts that are seen suggest; None if there are too few."""
        if self.head_to_ankle is not None or len(self.lengths) < 2:
            return self.head_to_ankle
        ratios = [length / _PARTS[part] for part, length in self.lengths.items()]
        return HEAD_TO_ANKLE * float(np.median(ratios)) if max(ratios) <= _UNEVEN * min(ratios) else None

    def guess(self, unit: bool, up: bool, handedness: bool, named: bool = True) -> Guess:
        """What is asked for; ``named`` says whether the unit may be one with a name."""
        return Guess(
            self.size or None,
            self.guess_unit(named) if unit else None,
            self.guess_up() if up else None,
            self.looks_mirrored() if handedness else None,
        )

    def guess_unit(self, named: bool = True) -> tuple[str | float, float]:
        """The unit that makes the people of human size, by its name (if ``named``) or in metres, and metres in it."""
        if self.layout.body != MODEL_LAYOUT.name:  # of any size
            return "m", UNITS["m"]
        size = self.size
        if size is None or not size > 0:
            extent = self._extent()
            name = "m" if extent < 20 else "cm" if extent < 300 else "mm"
            return name, UNITS[name]
        for name, (low, high) in GUESSES:
            if named and low <= size * UNITS[name] <= high:
                return name, UNITS[name]
        metres = float(f"{HEAD_TO_ANKLE / size:.4g}")
        return metres, metres

    def guess_up(self) -> tuple[str, bool]:
        """The axis that points up, and whether posture or floor says so."""
        upright = self._upright()
        if upright is not None:
            x, y, z = np.median(upright, axis=0)
            axes = (("y", y, math.hypot(x, z)), ("z", z, math.hypot(x, y)), ("-y", -y, math.hypot(x, z)))
            if name := next((name for name, along, across in axes if along > 2 * across), None):
                return name, True
        floor = self._floor()
        return floor or "y", floor is not None

    def _upright(self) -> Array | None:
        """Vectors [N, 3] that point up in people who stand or sit, from the lowest joint seen to the highest."""
        if self.joints is None:
            return None
        for low, tops in (
            ("ankle", ("head", "neck", "spine_shoulder", "shoulder", "spine_base", "hip")),
            ("spine_base", ("head", "neck", "spine_shoulder")),
            ("hip", ("head", "neck", "spine_shoulder", "shoulder")),
            ("knee", ("head", "neck", "spine_shoulder", "shoulder", "spine_base", "hip")),
        ):
            for top in tops:
                upright = self._level(top) - self._level(low)
                upright = upright[np.isfinite(upright).all(-1)]
                if len(upright):
                    return upright
        return None

    def _level(self, name: str) -> Array:
        """A joint of the model, or the middle of those of both sides, [N, 3]."""
        if name in MODEL_LAYOUT.joints:
            return self._joint(name)
        return (self._joint(f"{name}_left") + self._joint(f"{name}_right")) / 2

    def _floor(self) -> str | None:
        """The axis along which the lowest joint stays where it is, while the body moves along the others."""
        frames = self.frames[np.isfinite(self.frames).all((1, 2))]
        if len(frames) < 10 or not self.size:
            return None
        spread = {
            "y": np.std(frames[..., 1].min(1)),
            "z": np.std(frames[..., 2].min(1)),
            "-y": np.std(frames[..., 1].max(1)),
        }
        lowest = min(spread, key=spread.__getitem__)
        across = "z" if lowest[-1] == "y" else "y"
        still = spread[lowest] <= _FLOOR[0] * self.size and spread[across] >= _FLOOR[1] * self.size
        either = sorted((spread["y"], spread["-y"]))  # somebody who lies stiff has no lower side
        return lowest if still and (lowest == "z" or 3 * either[0] < either[1]) else None

    def looks_mirrored(self) -> bool | None:
        """Whether the front of the people is where the back is in right-handed axes; None if they do not say."""
        if self.joints is None:
            return None
        across = self._joint("hip_left") - self._joint("hip_right")
        trunk = self._joint("spine_shoulder") - self._joint("spine_base")
        front = _unit(np.cross(across, trunk))
        found = []
        for forward in self._forward():
            cosines = np.einsum("nc,nc->n", _unit(forward), front)
            cosines = cosines[np.isfinite(cosines)]
            if len(cosines):
                found.append(float(np.mean(cosines)))
        if not found or abs(np.mean(found)) < _CLEAR:
            return None
        return bool(np.mean(found) < 0)

    def _joint(self, name: str) -> Array:
        """One joint of the model, [N, 3]."""
        assert self.joints is not None
        return self.joints[:, MODEL_LAYOUT.joints.index(name)]

    def _forward(self) -> Iterator[Array]:
        """Vectors [N, 3] that point forward, from each part of the body that has a front; NaN where it has none."""
        assert self.weights is not None
        for side in ("left", "right"):
            foot, ankle = (MODEL_LAYOUT.joints.index(f"{name}_{side}") for name in ("foot", "ankle"))
            if (self.weights[foot] >= 0).all() and (self.weights[foot] != self.weights[ankle]).any():  # a foot was seen
                yield self._joint(f"foot_{side}") - self._joint(f"ankle_{side}")
            hip, knee, end = (self._joint(f"{name}_{side}") for name in ("hip", "knee", "ankle"))
            leg = end - hip
            length = np.linalg.norm(leg, axis=-1, keepdims=True)
            axis = _unit(leg)
            bend = (knee - hip) - axis * np.einsum("nc,nc->n", knee - hip, axis)[:, None]
            yield np.where(np.linalg.norm(bend, axis=-1, keepdims=True) > _BENT * length, bend, np.nan)
        nose = next((index for index, name in enumerate(self.layout.joints) if name.lower() == "nose"), None)
        if nose is not None:
            roles = find_roles(self.layout.joints)
            if {"left_ear", "right_ear"} <= set(roles):
                ears = [self.frames[:, self.layout.joints.index(roles[f"{side}_ear"])] for side in ("left", "right")]
                yield self.frames[:, nose] - (ears[0] + ears[1]) / 2

    def _extent(self) -> float:
        """Median over people and frames of the largest side of the box around the joints; 0 if none is tracked."""
        seen = np.asarray(np.isfinite(self.frames).all(-1))
        low = np.where(seen[..., None], self.frames, np.inf).min(1)
        high = np.where(seen[..., None], self.frames, -np.inf).max(1)
        sides = (high - low).max(-1)[seen.any(axis=1)]
        return float(np.median(sides)) if len(sides) else 0.0


def _unit(vectors: Array) -> Array:
    """Vectors [N, 3] of length one; NaN where they have no length."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, np.nan)
