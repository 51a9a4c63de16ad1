"""MediaPipe's 33 landmarks of the body, or some of them, as tables hold them: which they are, and of which kind.

- **world**: metres, the origin between the hips, y down. If only some landmarks are there, y may have been turned up,
  so posture decides.
- **image**: fractions of the picture's width and height, or pixels, with a guess of depth in the same measure. They are
  no body in 3D and are refused.
- **room**: triangulated by several cameras (FreeMoCap), or moved. Unit and axes are inferred as for any other table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.layouts import Layout, between, find_layout, get_layout
from mamp.readers.files import StrPath
from mamp.readers.table import NUMBERED

LAYOUT = get_layout("mediapipe33")
TRUNK = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
WORLD_PREFIX = re.compile(r"(?:pose[\s_.]*)?world[\s_.]*(?:landmarks?)?[\s_.]*", re.IGNORECASE)
KEY = re.compile(r"[\W_]+")
FEWEST = 8  # landmarks, of which a body can be told
GUESSED = 0.1  # visibility below which a landmark is a guess: mostly of what is out of the picture
FAR = 0.15  # metres from the origin, at which the middle of the hips of world landmarks never is
SHORT, LONG = 0.35, 5.0  # of a trunk, below which it is no adult's in metres, and above which it is in no metres

Array = NDArray[np.float64]
Kind = Literal["world", "image", "room"]


def key(name: Any) -> str:
    """What identifies a landmark: its letters and digits."""
    return KEY.sub("", str(name).lower())


_KEYS = {key(joint): joint for joint in LAYOUT.joints}


def find_landmarks(names: Sequence[str]) -> dict[str, int]:
    """Place of each landmark among names or numbers, the world's where there are such; empty if there is no body."""
    world = {WORLD_PREFIX.sub("", name, count=1): at for at, name in enumerate(names) if WORLD_PREFIX.match(name)}
    given = world or dict(zip(names, range(len(names)), strict=True))
    places = {key(name): at for name, at in given.items()}
    found = {joint: places[spelt] for spelt, joint in _KEYS.items() if spelt in places}
    if len(found) >= FEWEST and set(TRUNK) <= set(found):
        return found
    numbers = {match[1]: at for name, at in given.items() if (match := NUMBERED.fullmatch(name)) and match[1]}
    ordered = sorted(numbers, key=int)
    if len(given) == len(numbers) == len(LAYOUT.joints) and int(ordered[-1]) - int(ordered[0]) == len(numbers) - 1:
        return {joint: numbers[number] for joint, number in zip(LAYOUT.joints, ordered, strict=True)}
    return {}


def layout_of(joints: Sequence[str]) -> Layout:
    """The layout of some landmarks; the nose is the head where there are no ears."""
    if set(joints) == set(LAYOUT.joints):
        return LAYOUT.reordered(joints)
    if set(joints) == set(get_layout("coco17").joints):
        return find_layout(joints)
    mapping: dict[str, Any] = {
        joint: way
        for ways in (get_layout("coco17").mapping, LAYOUT.mapping)  # without knuckles, hands are on the forearm's line
        for joint, way in ways.items()
        if set([way] if isinstance(way, str) else way) <= set(joints)
    }
    if "head" not in mapping and "nose" in joints:
        mapping["head"] = "nose"
        mapping["neck"] = between(mapping["spine_shoulder"], "nose", 0.4)
    pairs = tuple(pair for pair in LAYOUT.pairs if set(pair) <= set(joints))
    return Layout("mediapipe", tuple(joints), (-1,) + (0,) * (len(joints) - 1), pairs, mapping)


def kind_of(positions: Array, joints: Sequence[str]) -> tuple[Kind, str]:
    """The kind of landmarks in [M, T, V, 3], and why they are those of an image."""
    shoulders, hips = (_middle(positions, joints, part) for part in ("shoulder", "hip"))
    trunk = shoulders - hips
    trunk = trunk[np.isfinite(trunk).all(-1)]
    hips = hips[np.isfinite(hips).all(-1)]
    if not len(trunk):
        return "world", ""
    length = float(np.median(np.linalg.norm(trunk, axis=-1)))
    far = float(np.median(np.linalg.norm(hips, axis=-1)))
    if far <= FAR and length < LONG:
        return "world", ""
    upright = posture(trunk) in ("y", "z")
    flat = positions[..., :2][np.isfinite(positions[..., :2]).all(-1)]
    reason = f"the middle of the hips is {far:.2f} from the origin, which it would be at"
    if length >= LONG:
        return ("room", "") if upright or (flat < 0).mean() > 0.01 else ("image", f"{reason}, in pixels")
    if len(joints) == len(LAYOUT.joints):
        return ("room", "") if upright and length >= SHORT else ("image", reason)
    inside = ((flat > -0.3) & (flat < 1.3)).mean() > 0.99
    return ("image", reason) if inside and not (upright and length >= SHORT) and length < 0.45 else ("room", "")


def posture(trunk: Array) -> str | None:
    """The axis that trunks [N, 3] mostly point along, or ``None``."""
    middle = np.median(trunk, axis=0)
    axis = int(np.argmax(np.abs(middle)))
    if np.abs(middle[axis]) < 0.8 * np.linalg.norm(middle):
        return None
    return ("" if middle[axis] > 0 else "-") + "xyz"[axis]


def refusal(path: StrPath, reason: str) -> ReadError:
    """The error for landmarks of an image."""
    return ReadError(
        f"{path}: expected MediaPipe's world landmarks, found those of the image ({reason}): x and y as fractions of "
        "the picture and a depth that is not measured, which is no body in 3D. Save pose_world_landmarks of the same "
        "result instead. World landmarks that were moved: say format='csv' with layout='mediapipe33', unit='m', "
        "up='-y', or name them world_landmarks."
    )


def _middle(positions: Array, joints: Sequence[str], part: str) -> Array:
    return positions[:, :, [joints.index(f"{side}_{part}") for side in ("left", "right")]].mean(2).reshape(-1, 3)
