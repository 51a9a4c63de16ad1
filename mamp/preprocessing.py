"""From a recording to the clip that the weights expect, by the published data preparation.

The order is fixed: joints of the model, gaps, choice of people, centring, height, facing, axes and unit, absent people,
crop, resize, stream. Where the person stands, faces and how tall they are is taken from joints that were tracked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from einops import reduce
from numpy.typing import NDArray
from torch import Tensor

from mamp.config import MAMPConfig, Preprocessing
from mamp.errors import RecordingError
from mamp.geometry import body_height, face_camera, lerp, middle_crop, resample_index
from mamp.layouts import Layout, get_layout
from mamp.layouts.tables import NTU25_BONES
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class NormalizedClip:
    """A recording in the model's joints and coordinates, still at its own length.

    Attributes:
        positions: [M, T', V, 3] metres; zeros where a person is absent. T' leaves out frames in which nobody is seen.
        frames: [T'] index of each kept frame in the recording.
        tracked: [M, T', V], false where a position was filled in. The zeros of a person who is absent, or away for a
            while, count as tracked where the weights expect them.
        people: Index in the recording of each person that is really there. They come first; the others fill up to what
            the weights expect.
        copied: The second person is a copy of the first.
    """

    positions: FloatArray
    frames: NDArray[np.int64]
    tracked: NDArray[np.bool_]
    people: NDArray[np.int64]
    copied: bool = False

    @property
    def num_present(self) -> int:
        """People that are really in the recording."""
        return len(self.people)


def normalize(
    recording: Skeleton,
    expected: Preprocessing,
    *,
    everybody: bool = False,
    keep_gaps: bool = False,
    part: bool = False,
) -> NormalizedClip:
    """Do everything but crop and resize.

    Gaps: a joint that was not tracked in some frames is interpolated over time; one that never was takes the place of
    the joint it hangs on. People: those who move most, when there are more than ``expected.max_people``. Frames in
    which nobody is tracked are left out. In a frame where only some people are tracked, the others are zeros as
    published, or hold their nearest pose when ``expected.absent_person`` is ``"none"``.

    Args:
        recording: Any recording.
        expected: What the weights expect.
        everybody: Keep all people, those that the weights would take first, and do not fill up.
        keep_gaps: Keep frames in which nobody is tracked between those in which somebody is, so that time runs on.
        part: The recording is a window of a longer one: what is left out is logged for debugging only.

    Raises:
        RecordingError: No joint of anybody is ever tracked.
        LayoutError: The recording cannot be expressed in the model's joints.
    """
    layout = get_layout(expected.layout)
    recording = recording.to_layout(layout)
    tracked = recording.tracked
    people = np.flatnonzero(tracked.any(axis=(1, 2)))
    if people.size == 0:
        raise RecordingError(
            f"{recording.name}: expected at least one tracked joint, found none (all NaN); check the tracker's output."
        )
    frames = np.flatnonzero(tracked.any(axis=(0, 2)))
    if keep_gaps:
        frames = np.arange(frames[0], frames[-1] + 1)
    if frames.size < recording.num_frames:
        level = logging.DEBUG if part else logging.INFO
        logger.log(level, "%s: left out %d frames without anybody", recording.name, recording.num_frames - frames.size)
    positions, tracked = recording.positions[people][:, frames], tracked[people][:, frames]
    seen: NDArray[np.bool_] = np.asarray(tracked.any(axis=2))
    positions = np.stack([_fill_joints(person, here, layout) for person, here in zip(positions, seen, strict=True)])
    if expected.max_people is not None and len(positions) > expected.max_people:
        chosen = np.argsort([-_motion(p[here]) for p, here in zip(positions, seen, strict=True)], kind="stable")
        if not everybody:
            chosen = chosen[: expected.max_people]
            level, what = logging.DEBUG if part else logging.WARNING, (recording.name, len(people), len(chosen))
            logger.log(level, "%s: %d people, the weights take %d; kept those who move most", *what)
        positions, tracked, seen, people = positions[chosen], tracked[chosen], seen[chosen], people[chosen]

    hold = expected.absent_person == "none"
    if hold:
        positions = np.stack([_hold_pose(p, here) for p, here in zip(positions, seen, strict=True)])
    positions = _place(positions, tracked[0], expected, layout, recording.name, part)
    if not hold:
        positions = np.where(seen[:, :, None, None], positions, np.float32(0))
        tracked = tracked | ~seen[:, :, None]
    if expected.up == "z":
        positions = np.stack([positions[..., 0], -positions[..., 2], positions[..., 1]], axis=-1)
    if expected.unit != "m":
        positions = positions * np.float32({"cm": 100, "mm": 1000}[expected.unit])

    missing = 0 if expected.max_people is None or hold or everybody else expected.max_people - len(positions)
    copied = missing > 0 and expected.absent_person == "copy" and recording.num_people == 1
    if missing > 0:
        filler = positions[:1] if copied else np.zeros_like(positions[:1])
        positions = np.concatenate([positions, *[filler] * missing])
        tracked = np.concatenate([tracked, *[tracked[:1] if copied else np.ones_like(tracked[:1])] * missing])
    return NormalizedClip(np.ascontiguousarray(positions, dtype=np.float32), frames, tracked, people, copied)


def _place(
    positions: FloatArray, tracked: NDArray[np.bool_], expected: Preprocessing, layout: Layout, name: str, part: bool
) -> FloatArray:
    """Centre, scale and turn [M, T, V, 3] by the first person, of whom ``tracked`` [T, V] says what was tracked."""
    # The first frame of a joint that comes later is filled with its first position.
    start = int(np.argmax(tracked.any(axis=1)))
    origin = positions[0, start, layout.joints.index(expected.center_joint)]
    if expected.center == "clip":
        positions, origin = positions - origin, np.zeros_like(origin)
    if expected.height is not None:
        height = body_height(positions[0], tracked, layout)
        if height is None:
            level = logging.DEBUG if part else logging.WARNING
            logger.log(level, "%s: no trunk, arm or leg to measure the body height from; not scaled", name)
        else:
            positions = origin + (positions - origin) * np.float32(expected.height / height)
    return face_camera(positions, tracked, layout) if expected.facing else positions


def prepare_clip(
    recording: Skeleton, expected: Preprocessing, num_frames: int, *, everybody: bool = False, part: bool = False
) -> tuple[Tensor, NormalizedClip]:
    """Normalise, crop the middle and resize to ``num_frames``: the clip [M, num_frames, V, 3] that the model takes.

    ``everybody`` and ``part`` are those of :func:`normalize`. Where absent tokens are left out, time runs on while
    nobody is tracked, unless the weights expect such frames to be cut out (published).
    """
    keep_gaps = expected.missing == "drop" and expected.absent_person == "none"
    clip = normalize(recording, expected, everybody=everybody, keep_gaps=keep_gaps, part=part)
    start, length = middle_crop(clip.positions.shape[1], expected.crop)
    low, high, share = resample_index(torch.tensor(start), torch.tensor(length), num_frames)
    positions = torch.from_numpy(clip.positions)
    return to_stream(lerp(positions[:, low], positions[:, high], share[:, None, None]), expected.stream), clip


def to_stream(x: Tensor, stream: str) -> Tensor:
    """Turn joint positions [..., T, V, C] into the stream that the model sees; bones first, then motion."""
    if stream.startswith("bone"):
        x = x - x[..., NTU25_BONES, :]
    if stream.endswith("motion"):
        motion = torch.zeros_like(x)
        motion[..., :-1, :, :] = x[..., 1:, :, :] - x[..., :-1, :, :]
        x = motion
    return x


def _fill_joints(person: FloatArray, seen: NDArray[np.bool_], layout: Layout) -> FloatArray:
    """Fill joints [T, V, 3] that are missing while the person [T] is seen."""
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
    for joint in never:
        anchor = layout.parents[joint]
        while anchor in never:
            anchor = layout.parents[anchor]
        if anchor >= 0:
            person[:, joint] = person[:, anchor]
        else:
            person[seen, joint] = np.delete(person[seen], never, axis=1).mean(axis=1)
    return person


def _hold_pose(person: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """Give frames in which the person [T, V, 3] is not seen the nearest pose in time."""
    frames, known = np.arange(len(seen)), np.flatnonzero(seen)
    after = np.searchsorted(known, frames).clip(max=len(known) - 1)
    before = (after - 1).clip(min=0)
    closer = known[after] - frames < frames - known[before]
    return person[known[np.where(closer, after, before)]]


def _motion(person: FloatArray) -> float:
    """Variance of all coordinates of a person [T, V, 3], summed over x, y, z: the published measure of motion."""
    return float(person.reshape(-1, 3).var(axis=0).sum())


def token_presence(clip: NormalizedClip, config: MAMPConfig) -> Tensor:
    """Which tokens of the clip that the model takes were tracked, after crop and resize.

    A token is there when any of the positions that it is made of was tracked; the others of its positions are
    interpolated. A person who is tracked only in frames that no token looks at (cut off, or skipped when a long clip is
    made shorter) has all tokens.

    Returns:
        [M, L], true where the token is there.
    """
    if clip.tracked.all() or config.preprocessing.missing == "fill":
        return torch.ones(len(clip.positions), config.num_tokens, dtype=torch.bool)
    start, length = middle_crop(clip.positions.shape[1], config.preprocessing.crop)
    low, high, share = resample_index(torch.tensor(start), torch.tensor(length), config.num_frames)
    tracked = torch.from_numpy(clip.tracked).float()
    tracked = _tracked_stream(lerp(tracked[:, low], tracked[:, high], share[:, None]), config.preprocessing.stream)
    tokens = reduce(tracked, "m (t u) (v p) -> m (t v)", "mean", u=config.t_patch_size, p=config.patch_size)
    there = tokens > 1e-6
    return there | ~there.any(dim=1, keepdim=True)


def _tracked_stream(tracked: Tensor, stream: str) -> Tensor:
    """A bone needs both its joints, a motion both its frames: [M, T, V] -> [M, T, V]."""
    if stream.startswith("bone"):
        tracked = torch.minimum(tracked, tracked[..., NTU25_BONES])
    if stream.endswith("motion"):
        tracked = torch.minimum(tracked, torch.cat([tracked[:, 1:], tracked[:, -1:]], dim=1))
    return tracked
