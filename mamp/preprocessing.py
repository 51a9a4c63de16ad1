"""Convert a recording to the clip that the weights expect, following the published data preparation.

One function per step, in a fixed order. :func:`normalize`: joints of the model, people and frames, gaps, selection of
people, centring, height, facing, absent frames, axes and unit, absent people. :func:`prepare_clip`: crop, resize,
stream. Position, facing and height are measured on tracked joints of the first person, or of each person where they are
placed ``apart``. In frames where only some people are tracked, the others are zero as published, or hold their nearest
pose if ``Preprocessing.absent_person`` is ``"none"``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mamp.config import MAMPConfig, Preprocessing
from mamp.errors import RecordingError
from mamp.geometry import body_height, face_camera, lerp, middle_crop, resample_index
from mamp.layouts import MODEL_LAYOUT, Layout, get_layout
from mamp.relation import relation
from mamp.skeleton import WHOLE, Skeleton

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]
_Array = TypeVar("_Array", bound=Any)


@dataclass(frozen=True)
class NormalizedClip:
    """A recording in the joints and coordinates of the model, at its original length.

    Attributes:
        positions: [M, T', V, 3]; zeros where a person is absent. T' excludes frames without anybody.
        frames: [T'] index of each kept frame in the recording.
        tracked: [M, T', V], false where a position was filled in. Zeros of absent people count as tracked if the
            weights expect them.
        people: Index in the recording of each person present. They come first; padding follows.
        copied: Whether the second person is a copy of the first.
        relation: [:data:`mamp.relation.SIZE`] how people stand to each other, if each is placed alone.
    """

    positions: FloatArray
    frames: NDArray[np.int64]
    tracked: NDArray[np.bool_]
    people: NDArray[np.int64]
    copied: bool = False
    relation: FloatArray | None = None

    @property
    def num_present(self) -> int:
        """Number of people in the recording, without padding."""
        return len(self.people)


@dataclass(frozen=True)
class _Bodies:
    """The people of a recording between the steps of :func:`normalize`; fields as in :class:`NormalizedClip`."""

    positions: FloatArray
    tracked: NDArray[np.bool_]
    frames: NDArray[np.int64]
    people: NDArray[np.int64]
    relation: FloatArray | None = None

    @property
    def seen(self) -> NDArray[np.bool_]:
        """[M, T'], true where any joint of a person is tracked."""
        return np.asarray(self.tracked.any(axis=2))


@dataclass(frozen=True)
class _Log:
    """Logs messages about one recording; for a window of a longer one, at debug level."""

    name: str
    part: bool

    def __call__(self, level: int, message: str, *values: object) -> None:
        logger.log(logging.DEBUG if self.part else level, f"%s: {message}", self.name, *values)


def normalize(
    recording: Skeleton,
    expected: Preprocessing,
    *,
    everybody: bool = False,
    keep_gaps: bool = False,
    part: bool = False,
) -> NormalizedClip:
    """Apply all steps except crop, resize and stream.

    Args:
        recording: Any recording.
        expected: What the weights expect.
        everybody: Keep all people, those that the weights would take first, and add nobody.
        keep_gaps: Keep frames in which nobody is tracked between those in which somebody is, so that time runs on, and
            at the ends too where they belong to the recording (:data:`mamp.skeleton.WHOLE`).
        part: The recording is a window of a longer one: what is left out is logged for debugging only.

    Raises:
        RecordingError: No joint is ever tracked.
        LayoutError: The recording cannot be converted to the joints of the model.
    """
    layout, log = get_layout(expected.layout), _Log(recording.name, part)
    bodies = _find_bodies(recording.to_layout(layout), keep_gaps, log)
    bodies = _fill_gaps(bodies, layout)
    if expected.max_people is not None:
        bodies = _choose_people(bodies, expected.max_people, everybody, log)
    if expected.absent_person == "none":
        bodies = replace(bodies, positions=_each(_hold_pose, bodies))
    if expected.apart:
        numbers = relation(bodies.positions, bodies.tracked, layout) if len(bodies.people) > 1 else None
        alone = [_place(_only(bodies, person), expected, layout, log) for person in range(len(bodies.people))]
        bodies = replace(bodies, positions=np.concatenate([body.positions for body in alone]), relation=numbers)
    else:
        bodies = _place(bodies, expected, layout, log)
    if expected.absent_person != "none":
        bodies = _clear_absent(bodies)
    bodies = replace(bodies, positions=_to_axes_and_unit(bodies.positions, expected))
    missing = 0 if everybody or expected.max_people is None else expected.max_people - len(bodies.people)
    if missing <= 0 or expected.absent_person == "none":
        return _clip(bodies)
    return _add_absent(bodies, missing, copied=expected.absent_person == "copy" and recording.num_people == 1)


def _each(fill: Callable[[FloatArray, NDArray[np.bool_]], FloatArray], bodies: _Bodies) -> FloatArray:
    """Apply a function of positions [T', V, 3] and visibility [T'] to each person."""
    return np.stack([fill(person, seen) for person, seen in zip(bodies.positions, bodies.seen, strict=True)])


def _clip(bodies: _Bodies, copied: bool = False) -> NormalizedClip:
    positions = np.ascontiguousarray(bodies.positions, dtype=np.float32)
    return NormalizedClip(positions, bodies.frames, bodies.tracked, bodies.people, copied, bodies.relation)


def _find_bodies(recording: Skeleton, keep_gaps: bool, log: _Log) -> _Bodies:
    """Drop people who are never tracked, and frames without anybody."""
    tracked = recording.tracked
    people = np.flatnonzero(tracked.any(axis=(1, 2)))
    if people.size == 0:
        raise RecordingError(
            f"{recording.name}: expected at least one tracked joint, found none (all NaN); check the tracker's output."
        )
    frames = np.flatnonzero(tracked.any(axis=(0, 2)))
    if keep_gaps:
        whole = recording.info.items() >= WHOLE.items()
        frames = np.arange(recording.num_frames) if whole else np.arange(frames[0], frames[-1] + 1)
    if frames.size < recording.num_frames:
        log(logging.INFO, "dropped %d frames without anybody", recording.num_frames - frames.size)
    return _Bodies(recording.positions[people][:, frames], tracked[people][:, frames], frames, people)


def _fill_gaps(bodies: _Bodies, layout: Layout) -> _Bodies:
    """Interpolate missing joints over time; those that are never tracked are placed by the joints around them."""
    return replace(bodies, positions=_each(lambda person, seen: _fill_joints(person, seen, layout), bodies))


def _choose_people(bodies: _Bodies, max_people: int, everybody: bool, log: _Log) -> _Bodies:
    """Sort people by motion, largest first, and keep ``max_people`` of them unless ``everybody``."""
    if len(bodies.people) <= max_people:
        return bodies
    motion = [-_motion(person[seen]) for person, seen in zip(bodies.positions, bodies.seen, strict=True)]
    chosen = np.argsort(motion, kind="stable")
    if not everybody:
        chosen = chosen[:max_people]
        message = "%d people, the weights take %d; kept those who move most"
        log(logging.WARNING, message, len(bodies.people), max_people)
    return _Bodies(bodies.positions[chosen], bodies.tracked[chosen], bodies.frames, bodies.people[chosen])


def _only(bodies: _Bodies, person: int) -> _Bodies:
    """One of the people."""
    one = slice(person, person + 1)
    return _Bodies(bodies.positions[one], bodies.tracked[one], bodies.frames, bodies.people[one])


def _place(bodies: _Bodies, expected: Preprocessing, layout: Layout, log: _Log) -> _Bodies:
    """Centre, scale and turn people by the first of them."""
    bodies = _centre_and_scale(bodies, expected, layout, log)
    if expected.facing:
        bodies = replace(bodies, positions=face_camera(bodies.positions, bodies.tracked[0], layout))
    return bodies


def _centre_and_scale(bodies: _Bodies, expected: Preprocessing, layout: Layout, log: _Log) -> _Bodies:
    """Move the first person to the origin and scale them to the expected height; transform the others alike."""
    if expected.center == "none" and expected.height is None:
        return bodies
    first, tracked = bodies.positions[0], bodies.tracked[0]
    origin = first[int(np.argmax(tracked.any(axis=1))), center_index(expected, layout)]
    positions = bodies.positions
    if expected.center == "clip":
        positions, origin = positions - origin, np.zeros_like(origin)
    if expected.height is not None:
        height = body_height(positions[0], tracked, layout)
        if height is None:
            log(logging.WARNING, "no trunk, arm or leg to measure the body height from; not scaled")
        else:
            positions = origin + (positions - origin) * np.float32(expected.height / height)
    return replace(bodies, positions=positions)


def center_index(expected: Preprocessing, layout: Layout) -> int:
    """Index of the joint on which clips are centred; :class:`ConfigError` if the layout has no such joint."""
    return layout.joints.index(layout.center_of(expected.center_joint))


def _clear_absent(bodies: _Bodies) -> _Bodies:
    """Zero people in frames in which they are not tracked, as published; these zeros count as tracked."""
    seen = bodies.seen[:, :, None]
    positions = np.where(seen[..., None], bodies.positions, np.float32(0))
    return replace(bodies, positions=positions, tracked=bodies.tracked | ~seen)


def _to_axes_and_unit(positions: FloatArray, expected: Preprocessing) -> FloatArray:
    """Convert y up to z up, and metres to another unit, if the weights expect it."""
    if expected.up == "z":
        positions = np.stack([positions[..., 0], -positions[..., 2], positions[..., 1]], axis=-1)
    if expected.unit != "m":
        positions = positions * np.float32({"cm": 100, "mm": 1000}[expected.unit])
    return positions


def _add_absent(bodies: _Bodies, missing: int, copied: bool) -> NormalizedClip:
    """Pad to the number of people that the weights expect, with zeros or copies of the first person."""
    positions, tracked = bodies.positions[:1], bodies.tracked[:1]
    if not copied:
        positions, tracked = np.zeros_like(positions), np.ones_like(tracked)
    positions = np.concatenate([bodies.positions, *[positions] * missing])
    tracked = np.concatenate([bodies.tracked, *[tracked] * missing])
    return _clip(replace(bodies, positions=positions, tracked=tracked), copied)


def prepare_clip(
    recording: Skeleton, expected: Preprocessing, num_frames: int, *, everybody: bool = False, part: bool = False
) -> tuple[FloatArray, NormalizedClip]:
    """Normalise, crop the middle and resize to ``num_frames``: the clip [M, num_frames, V, 3] that the model takes.

    Empty frames are kept, as zeros (published) or without tokens, unless the weights support neither: ``absent_person``
    is ``"none"`` and ``missing`` is ``"fill"``. For ``everybody`` and ``part`` see :func:`normalize`.
    """
    keep_gaps = expected.absent_person != "none" or expected.missing == "drop"
    clip = normalize(recording, expected, everybody=everybody, keep_gaps=keep_gaps, part=part)
    start, length = middle_crop(clip.positions.shape[1], expected.crop)
    low, high, share = resample_index(start, length, num_frames)
    resized = lerp(clip.positions[:, low], clip.positions[:, high], share[:, None, None])
    return to_stream(resized, expected.stream, get_layout(expected.layout)), clip


def to_stream(x: _Array, stream: str, layout: Layout = MODEL_LAYOUT) -> _Array:
    """Convert joint positions [..., T, V, C], an array or tensor, to bones, to motion, or to the motion of bones.

    Motion is zero in the last frame.
    """
    if stream.startswith("bone"):
        x = x - x[..., layout.bones, :]
    if stream.endswith("motion"):
        following = x[..., [*range(1, x.shape[-3]), -1], :, :]
        x = following - x
    return x


def _fill_joints(person: FloatArray, seen: NDArray[np.bool_], layout: Layout) -> FloatArray:
    """Fill missing joints of a person [T, V, 3] in the frames [T] in which the person is seen."""
    missing = ~np.isfinite(person).all(axis=-1) & seen[:, None]
    if not missing.any():
        return person
    person = person.copy()
    never = []
    for joint in np.flatnonzero(missing.any(axis=0)).tolist():
        gap = missing[:, joint]
        known = np.flatnonzero(seen & ~gap)
        if known.size == 0:
            never.append(joint)
            continue
        for axis in range(person.shape[-1]):
            person[gap, joint, axis] = np.interp(np.flatnonzero(gap), known, person[known, joint, axis])
    around = {joint: _joints_around(joint, set(never), layout.parents) for joint in never}
    for joint, sides in around.items():
        if sides:
            weights = [1 / bones for _, bones in sides]
            person[:, joint] = np.average([person[:, near].mean(axis=1) for near, _ in sides], axis=0, weights=weights)
        else:
            person[seen, joint] = np.delete(person[seen], never, axis=1).mean(axis=1)
    return person


def _joints_around(joint: int, never: set[int], parents: Sequence[int]) -> list[tuple[list[int], int]]:
    """The nearest tracked joints in each direction of the tree, and how many bones away they are."""
    beside: list[set[int]] = [set() for _ in parents]
    for child, parent in enumerate(parents):
        if parent >= 0:
            beside[child].add(parent)
            beside[parent].add(child)
    found = []
    for first in sorted(beside[joint]):
        passed, edge, bones = {joint, first}, {first}, 1
        while edge and edge <= never:
            edge = set().union(*(beside[one] for one in edge)) - passed
            passed, bones = passed | edge, bones + 1
        if edge:
            found.append((sorted(edge - never), bones))
    return found


def _hold_pose(person: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """Repeat the nearest pose in time where the person [T, V, 3] is not seen."""
    frames, known = np.arange(len(seen)), np.flatnonzero(seen)
    after = np.searchsorted(known, frames).clip(max=len(known) - 1)
    before = (after - 1).clip(min=0)
    closer = known[after] - frames < frames - known[before]
    return person[known[np.where(closer, after, before)]]


def _motion(person: FloatArray) -> float:
    """Published measure of motion: variance of each coordinate of [T, V, 3], summed over x, y and z."""
    return float(person.reshape(-1, 3).var(axis=0).sum())


def token_presence(clip: NormalizedClip, config: MAMPConfig) -> NDArray[np.bool_]:
    """Which tokens of the clip that the model takes were tracked, after crop and resize.

    A token counts as tracked if any position in it was; the others are interpolated. A person tracked only in frames
    that are lost to crop or resize keeps all tokens.
    """
    if clip.tracked.all() or config.preprocessing.missing == "fill":
        return np.ones((len(clip.positions), config.num_tokens), bool)
    start, length = middle_crop(clip.positions.shape[1], config.preprocessing.crop)
    low, high, share = resample_index(start, length, config.num_frames)
    tracked = clip.tracked.astype(np.float32)
    layout = get_layout(config.preprocessing.layout)
    tracked = _tracked_stream(
        lerp(tracked[:, low], tracked[:, high], share[:, None]), config.preprocessing.stream, layout
    )
    (t, v), u, p = config.grid, config.t_patch_size, config.patch_size
    there = tracked.reshape(-1, t, u, v, p).mean(axis=(2, 4)).reshape(-1, t * v) > 1e-6
    return np.asarray(there | ~there.any(axis=1, keepdims=True))


def _tracked_stream(tracked: FloatArray, stream: str, layout: Layout) -> FloatArray:
    """Visibility [M, T, V] of the stream: bones need both joints, motion both frames."""
    if stream.startswith("bone"):
        tracked = np.minimum(tracked, tracked[..., layout.bones])
    if stream.endswith("motion"):
        tracked = np.minimum(tracked, np.concatenate([tracked[:, 1:], tracked[:, -1:]], axis=1))
    return tracked
