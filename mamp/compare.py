"""Two performances of one exercise: aligned in time by their embeddings, then compared joint by joint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.encoder import MAMPEncoder
from mamp.errors import MissingExtraError, RecordingError
from mamp.layouts import body_of
from mamp.posture import body_centred, one_person
from mamp.skeleton import Skeleton

FloatArray = NDArray[np.float32]
LONGEST = 5000  # frames; the table of the alignment has as many rows and columns


class Difference(NamedTuple):
    """How much one joint differs.

    Attributes:
        joint: Its name in the layout of the model.
        metres: Mean over time of the distance between the joint of one and of the other, for a body of 1.70 m.
        largest: The largest distance.
        frame: Frame of the first performance at which it is largest.
        seconds: The same in seconds; ``None`` where the frame rate is unknown.
    """

    joint: str
    metres: float
    largest: float
    frame: int
    seconds: float | None


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` finds.

    Attributes:
        path: [P, 2] frames of the first and of the second performance that belong together, in order.
        distance: Mean over the path of the distance between the embeddings of two frames, from 0 to 2: their directions
            from the mean of all frames of both.
        joints: [V] names of the joints.
        differences: [T, V] metres between the joints of each frame of the first performance and those of the frames of
            the second that belong to it (their mean), relative to the pelvis, for a body of 1.70 m; NaN where one of
            the two was not tracked.
        fps: Frames per second of the first performance.
    """

    path: NDArray[np.int64]
    distance: float
    joints: tuple[str, ...]
    differences: FloatArray
    fps: float | None

    def worst(self, count: int = 3) -> list[Difference]:
        """The joints that differ most, by their mean over time."""
        found = []
        for joint, metres in zip(self.joints, self.differences.T, strict=True):
            if np.isfinite(metres).any():
                frame = int(np.nanargmax(metres))
                seconds = None if self.fps is None else frame / self.fps
                found.append(Difference(joint, float(np.nanmean(metres)), float(metres[frame]), frame, seconds))
        return sorted(found, key=lambda one: -one.metres)[:count]


def compare(
    a: Skeleton,
    b: Skeleton,
    encoder: MAMPEncoder,
    *,
    person_a: int | None = None,
    person_b: int | None = None,
    **options: Any,
) -> Comparison:
    """Align two performances of one exercise, and say where they differ.

    The embeddings of their frames are aligned by dynamic time warping, so that neither tempo nor place, facing, size of
    the body or sensor keeps apart what belongs together; then the joints of the aligned frames are compared.

    Args:
        a: The performance in whose time the result is given, such as that of a patient.
        b: The other one, such as the template.
        encoder: The encoder.
        person_a: Which person of ``a``; may be left out where there is one.
        person_b: Which person of ``b``.
        options: Of :meth:`mamp.MAMPEncoder.encode`, such as ``window`` and ``stride`` in frames for long performances.

    Raises:
        RecordingError: A performance has no such person, or more than 5,000 frames.
        LayoutError: A performance cannot be expressed in the model's joints.
        MissingExtraError: dtaidistance is not installed.
    """
    first, second = one_person(a, person_a), one_person(b, person_b)
    for one in (first, second):
        if one.num_frames > LONGEST:
            raise RecordingError(
                f"{one.name}: expected one performance of at most {LONGEST} frames, found {one.num_frames}; cut it."
            )
    x, y = (np.asarray(encoder.encode(one, pool="frame", **options)) for one in (first, second))
    path, distance = align(x, y)
    differences = _differences(path, body_centred(first), body_centred(second))
    return Comparison(path, distance, body_of(first.layout).joints, differences, a.fps)


def align(x: FloatArray, y: FloatArray) -> tuple[NDArray[np.int64], float]:
    """Align the frames of two performances by their embeddings [T, D] and [T', D].

    Returns:
        The path [P, 2], and the mean distance along it.

    Raises:
        MissingExtraError: dtaidistance is not installed.
    """
    try:
        from dtaidistance import dtw, dtw_ndim
    except ImportError:
        raise MissingExtraError("comparing performances needs dtaidistance: pip install 'mamp[compare]'.") from None
    centre = (x.mean(axis=0, dtype=np.float64) + y.mean(axis=0, dtype=np.float64)) / 2
    u, v = (_unit(rows - centre) for rows in (x, y))
    warping = dtw_ndim.warping_paths_fast if hasattr(dtw_ndim, "warping_paths_fast") else dtw_ndim.warping_paths
    _, table = warping(u, v)
    path = np.array(dtw.best_path(table), np.int64)
    return path, float(np.linalg.norm(u[path[:, 0]] - v[path[:, 1]], axis=1).mean())


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ascontiguousarray(x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12))


def _differences(path: NDArray[np.int64], a: FloatArray, b: FloatArray) -> FloatArray:
    """[T, V] mean distance of each joint of a frame of ``a`` [T, V, 3] to that of the frames of ``b`` on the path."""
    apart = np.linalg.norm(a[path[:, 0]] - b[path[:, 1]], axis=-1)
    known = np.isfinite(apart)
    sums, counts = (np.zeros((len(a), a.shape[1])) for _ in range(2))
    np.add.at(sums, path[:, 0], np.where(known, apart, 0))
    np.add.at(counts, path[:, 0], known)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
