"""``Skeleton``: the joint positions of one recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mamp.errors import LayoutError, RecordingError
from mamp.layouts import Layout, find_layout, get_layout, read_layout

FloatArray = NDArray[np.float32]

# Limits of plausible input: distance from the origin in metres, and frames per second.
FARTHEST = 1000.0
SLOWEST, FASTEST = 0.1, 10_000.0

# In ``Skeleton.info``: frames without anybody at the start and end belong to the recording, and stay in its clip.
WHOLE = {"ends": "kept"}

_FLAT = (
    "The weights were trained on 3D poses only: lift the keypoints to 3D first, or pass allow_2d=True to continue "
    "without depth."
)


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Skeleton:
    """A recording: positions of the joints of one or more people over time.

    Args:
        positions: [M, T, V, 3], or [T, V, 3] for one person; metres, y up, right-handed. NaN marks joints that were
            not tracked; a person is absent from a frame if all joints are NaN.
        layout: A registered layout name, a :class:`~mamp.layouts.Layout`, a JSON file of one
            (:mod:`mamp.layouts.stored`), or the list of the V joint names (which is matched against the registered
            layouts).
        fps: Frames per second, or ``None`` when unknown.
        confidence: [M, T, V] (or [T, V]) tracking confidence in [0, 1], if there is one.
        name: What to call the recording in messages, usually its file name.
        info: Anything else that the file said (label, subject, units found, ...). With ``ends`` ``"kept"``, empty
            frames at the start and end stay where weights take empty frames; they are cut off otherwise.
        allow_2d: Take positions without depth: [..., 2], which get a third coordinate of 0, or one coordinate that
            never changes. Refused otherwise, because the weights have only seen bodies in 3D.

    Raises:
        RecordingError: An array has the wrong shape, contains infinity, or is flat without ``allow_2d``.
        LayoutError: The layout is unknown, or has a different number of joints.
    """

    positions: FloatArray
    layout: Layout
    fps: float | None = None
    confidence: FloatArray | None = None
    name: str = "recording"
    info: dict[str, Any] = field(default_factory=dict)
    allow_2d: bool = False

    def __init__(
        self,
        positions: ArrayLike,
        layout: str | Layout | Sequence[str],
        fps: float | None = None,
        confidence: ArrayLike | None = None,
        name: str = "recording",
        info: dict[str, Any] | None = None,
        allow_2d: bool = False,
    ) -> None:
        layout, name = resolve_layout(layout), str(name)
        if not isinstance(info or {}, Mapping):
            raise RecordingError(f"{name}: expected info as a dict, found {type(info).__name__}.")
        array = real_numbers(positions, f"{name}: positions")
        if array.ndim == 3:
            array = array[None]
        if array.ndim == 4 and array.shape[-1] == 2 and allow_2d:
            array = np.pad(array, [(0, 0)] * 3 + [(0, 1)])
        if array.ndim != 4 or array.shape[-1] != 3:
            raise RecordingError(
                f"{name}: expected positions [people, frames, joints, 3] or [frames, joints, 3], "
                f"found shape {np.shape(positions)}."
                + (f" Two coordinates look like 2D keypoints. {_FLAT}" if np.shape(positions)[-1:] == (2,) else "")
            )
        people, frames, joints, _ = array.shape
        if joints != len(layout.joints):
            raise LayoutError(
                f"{name}: layout {layout.name!r} has {len(layout.joints)} joints, the positions have {joints}. "
                "Name the right layout, or register yours with mamp.register_layout."
            )
        if people == 0:
            raise RecordingError(f"{name}: expected at least one person, found none.")
        if frames == 0:
            raise RecordingError(f"{name}: expected at least one frame, found none.")
        check_positions(array, f"{name}: ")
        if not allow_2d and (axis := _constant_axis(array)):
            raise RecordingError(
                f"{name}: {axis} is the same for every joint in every frame, which looks like 2D keypoints. {_FLAT}"
            )
        fps = check_fps(fps, f"{name}: ")
        if confidence is not None:
            confidence = real_numbers(confidence, f"{name}: confidence")
            if confidence.ndim == 2:
                confidence = confidence[None]
            if confidence.shape != array.shape[:3]:
                raise RecordingError(
                    f"{name}: expected confidence of shape {array.shape[:3]}, found {confidence.shape}."
                )
        self.__dict__.update(positions=array, layout=layout, fps=fps, confidence=confidence)
        self.__dict__.update(name=name, info=info or {}, allow_2d=allow_2d)

    @property
    def num_people(self) -> int:
        """Number of people, M."""
        return self.positions.shape[0]

    @property
    def num_frames(self) -> int:
        """Number of frames, T."""
        return self.positions.shape[1]

    @property
    def duration(self) -> float | None:
        """Duration in seconds, or ``None`` if the frame rate is unknown."""
        return None if self.fps is None else self.num_frames / self.fps

    @property
    def tracked(self) -> NDArray[np.bool_]:
        """[M, T, V], true where a joint was tracked."""
        return np.asarray(np.isfinite(self.positions).all(axis=-1))

    def to_layout(self, layout: str | Layout) -> Skeleton:
        """Convert to another layout, such as the model's ``ntu25``.

        Joints are copied, interpolated or extrapolated as the layout's table specifies, and NaN where it has no entry.
        ``recording.layout.describe(target)`` lists how each joint is derived.
        """
        target = resolve_layout(layout)
        if target.joints == self.layout.joints:
            return self
        weights = self.layout.conversion(target)
        positions = _combine(self.positions, weights)
        confidence = None
        if self.confidence is not None:
            confidence = _combine(
                self.confidence[..., None], abs(weights) / abs(weights).sum(1, keepdims=True).clip(1e-9)
            )
            confidence = np.nan_to_num(confidence[..., 0])
        return Skeleton(positions, target, self.fps, confidence, self.name, self.info, self.allow_2d)

    def replace(self, **changes: Any) -> Skeleton:
        """Return a validated copy with some fields changed."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        rate = "unknown rate" if self.fps is None else f"{self.fps:g} fps"
        return (
            f"Skeleton({self.name!r}: {self.num_people} people, {self.num_frames} frames, "
            f"{len(self.layout.joints)} joints ({self.layout.name}), {rate})"
        )


def take_frames(recording: Skeleton, frames: slice, **changes: Any) -> Skeleton:
    """Some frames of a recording, other fields as they are or as given."""
    confidence = None if recording.confidence is None else recording.confidence[:, frames]
    # Whether it is flat was checked on the whole recording.
    changes = {"allow_2d": True, **changes}
    return recording.replace(positions=recording.positions[:, frames], confidence=confidence, **changes)


def check_fps(fps: object, where: str = "") -> float | None:
    """Validate a frame rate: ``None``, or a number from 0.1 to 10,000."""
    if fps is None:
        return None
    number = isinstance(fps, (int, float, np.integer, np.floating)) and not isinstance(fps, bool)
    if not number or not SLOWEST <= fps <= FASTEST:  # type: ignore[operator]
        shown = repr(fps)
        shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
        raise RecordingError(
            f"{where}expected a frame rate above zero, or None, found {shown}. It is in frames per second, from "
            f"{SLOWEST:g} to {FASTEST:g}."
        )
    return float(fps)  # type: ignore[arg-type]


def check_positions(positions: FloatArray, where: str = "") -> None:
    """Raise :class:`RecordingError` if positions are infinite or implausibly far away; NaN is allowed."""
    if np.isinf(positions).any():
        raise RecordingError(f"{where}positions hold infinite values; mark what was not tracked with NaN.")
    largest = max(np.fmax.reduce(positions, axis=None, initial=0), -np.fmin.reduce(positions, axis=None, initial=0))
    if largest > FARTHEST:
        raise RecordingError(
            f"{where}expected positions in metres, at most {FARTHEST:g} from the origin, found {largest:g}. If "
            "they are millimetres, divide them by 1000; mark what was not tracked with NaN."
        )


def real_numbers(values: ArrayLike, where: str) -> FloatArray:
    """Convert to a float32 array; :class:`RecordingError` for complex numbers, text, ragged lists or gradients."""
    if getattr(values, "requires_grad", False):
        raise RecordingError(
            f"{where}: expected an array without gradients, found a tensor with them; detach() it first."
        )
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            array = np.asarray(array.tolist(), dtype=np.float32) if array.dtype.kind == "O" else array
        if array.dtype.kind not in "fiub":
            raise TypeError(f"found {array.dtype}")
        with np.errstate(over="ignore"):  # overflows to infinity, which is rejected later
            return array.astype(np.float32, copy=False)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise RecordingError(f"{where} are not a regular array of numbers ({error}).") from None


def resolve_layout(layout: str | Layout | Sequence[str]) -> Layout:
    """Return the layout for a registered name, a JSON file, a list of joint names, or a layout itself.

    Raises:
        LayoutError: There is no such layout.
    """
    if isinstance(layout, Layout):
        return layout
    if isinstance(layout, str):
        return read_layout(layout) if layout.endswith(".json") else get_layout(layout)
    if not isinstance(layout, Sequence) or not all(isinstance(joint, str) for joint in layout):
        raise LayoutError(
            "layout: expected a registered name, a mamp.Layout or a list of joint names, found "
            f"{type(layout).__name__}."
        )
    return find_layout(layout)


def _constant_axis(positions: FloatArray) -> str | None:
    """Name the coordinate of [M, T, V, 3] that is constant while the others span a plane, if any."""
    points = positions[np.isfinite(positions).all(axis=-1)]
    for some in (points[:50], points):  # a few points nearly always suffice
        extent = np.ptp(some, axis=0) if len(some) else np.zeros(3)
        if np.count_nonzero(extent) != 2:
            return None
    if np.linalg.matrix_rank(np.cov(points, rowvar=False)) < 2:
        return None  # collinear, hence undecided
    return "xyz"[int(np.argmin(extent))]


def _combine(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted sums of joints, [M, T, V, C] -> [M, T, V', C]; NaN only where a joint with a weight is NaN."""
    out = np.full((*values.shape[:2], weights.shape[0], values.shape[-1]), np.nan, dtype=np.float32)
    for joint, row in enumerate(weights):
        used = np.flatnonzero(row)
        if used.size:
            out[:, :, joint] = np.einsum("mtvc,v->mtc", values[:, :, used], row[used])
    return out
