"""Counting repetitions: where a recording is most like itself a moment later.

A repetition is a stretch of time that is like the one before or after it, frame by frame once both are brought to one
length, and far more so than its own frames are like each other. Every way to cut the recording into such stretches and
pauses is weighed by dynamic programming, so that tempo may change from one repetition to the next, and no period has to
be known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.encoder import MAMPEncoder
from mamp.errors import RecordingError
from mamp.posture import one_person
from mamp.rows import frames_of
from mamp.skeleton import Skeleton

FloatArray = NDArray[np.float32]

RATE = 8.0  # frames a second at which repetitions are looked for
POINTS = 12  # at which two stretches are compared
GRID = 1.08  # ratio of two lengths that are tried
TEMPO = 1.7  # largest ratio of the lengths of a repetition and the next
ALIKE = 0.35  # two stretches repeat each other above this: 1 is equal, 0 is as unlike as two moments of one of them
SHORTER = 0.5  # exponent below 1: of a repetition and two of them in one, the former is taken
COMPONENTS = 3  # principal ones that are looked at: what is repeated, less of where a frame is in its window
STILL = 0.15  # share of the variance of the recording below which a stretch is a pause


@dataclass(frozen=True)
class Repetitions:
    """What :func:`count_repetitions` finds.

    Attributes:
        count: Repetitions; 0 where nothing repeats.
        starts: [count] seconds at which they begin.
        ends: [count] seconds at which they end.
        period: Median of their lengths in seconds; ``None`` without any.
    """

    count: int
    starts: list[float]
    ends: list[float]
    period: float | None


def count_repetitions(
    recording: Skeleton,
    encoder: MAMPEncoder,
    *,
    person: int | None = None,
    shortest: float = 0.5,
    longest: float = 15.0,
    window: float = 4.0,
    **options: Any,
) -> Repetitions:
    """Count the repetitions of whatever a person repeats, such as an exercise or steps.

    Args:
        recording: The recording, with a frame rate.
        encoder: The encoder.
        person: Which person; may be left out where there is one.
        shortest: Seconds of the shortest repetition.
        longest: Seconds of the longest repetition.
        window: Seconds that the encoder sees at a time, in windows that overlap by half.
        options: Of :meth:`mamp.MAMPEncoder.encode`.

    Raises:
        RecordingError: There is no such person, the frame rate is unknown, or a number makes no sense.
        LayoutError: The recording cannot be expressed in the model's joints.
    """
    alone = one_person(recording, person)
    size = frames_of(alone, window, "window")
    if not 0 < shortest < longest:
        raise RecordingError(f"expected 0 < shortest < longest in seconds, found {shortest!r} and {longest!r}.")
    assert alone.fps is not None  # frames_of says so
    # Time is mirrored at both ends, so that their frames are in as many windows as the others.
    more = size // 2
    longer = alone.replace(
        positions=np.pad(alone.positions, [(0, 0), (more, more), (0, 0), (0, 0)], mode="reflect"), confidence=None
    )
    x = np.asarray(encoder.encode(longer, pool="frame", window=size, stride=max(1, more), **options))
    return repetitions_of(x[more : more + alone.num_frames], alone.fps, shortest, longest)


def repetitions_of(x: NDArray[Any], fps: float, shortest: float = 0.5, longest: float = 15.0) -> Repetitions:
    """Repetitions in any features [T, D] of the frames of a recording; frames with NaN take the one before."""
    step = max(1, round(fps / RATE))
    known = np.isfinite(x).all(axis=1)
    if not known.any():
        raise RecordingError("expected features of at least one frame, found none (all NaN).")
    last = np.maximum.accumulate(np.where(known, np.arange(len(x)), np.argmax(known)))
    means = np.add.reduceat(np.asarray(x, np.float64)[last], np.arange(0, len(x), step), axis=0)
    counts = np.diff([*range(0, len(x), step), len(x)])[:, None]
    rate = fps / step
    cuts = segment_repetitions(means / counts, max(3, round(shortest * rate)), max(4, round(longest * rate)))
    spans = [(first / rate, min(end / rate, len(x) / fps)) for first, end in cuts]
    starts, ends = [start for start, _ in spans], [end for _, end in spans]
    lengths = [end - start for start, end in spans]
    return Repetitions(len(spans), starts, ends, float(np.median(lengths)) if lengths else None)


def segment_repetitions(x: NDArray[np.float64], shortest: int, longest: int) -> list[tuple[int, int]]:
    """First frame and end of each repetition in features [N, D], lengths in frames of these.

    ``gain[m, s]`` is what the best cut of the first m frames is worth that ends with a repetition of the s-th length,
    ``free[m]`` that of the best cut of any kind. A repetition is worth its length to the power ``SHORTER``, times how
    like it is to the next one; the first two of a series begin at a frame that is free.
    """
    total = len(x)
    sizes = _lengths(shortest, min(longest, total // 2))
    if not len(sizes):
        return []
    worth = sizes.astype(np.float64) ** SHORTER
    likeness = _Likeness(_components(x), sizes)
    gain, free = np.full((total + 1, len(sizes)), -np.inf), np.zeros(total + 1)
    before, begins = np.zeros(gain.shape, np.int64), np.zeros(gain.shape, bool)
    for m in range(1, total + 1):
        free[m] = max(free[m - 1], gain[m].max())
        left, right = np.flatnonzero(sizes <= m), np.flatnonzero(sizes <= total - m)
        if not len(left) or not len(right):
            continue
        alike = likeness(m, left, right)
        goes_on = gain[m, left][:, None] + alike * (worth[left][:, None] + worth[right]) / 2
        starts = free[m - sizes[left]][:, None] + alike * (worth[left][:, None] + worth[right] / 2)
        best = np.maximum(goes_on, starts).argmax(axis=0)
        columns, ends = np.arange(len(right)), m + sizes[right]
        gain[ends, right] = np.maximum(goes_on, starts)[best, columns]
        before[ends, right], begins[ends, right] = left[best], (starts > goes_on)[best, columns]
    return _trace(sizes, gain, free, before, begins)


def _trace(
    sizes: NDArray[np.int64],
    gain: NDArray[np.float64],
    free: NDArray[np.float64],
    before: NDArray[np.int64],
    begins: NDArray[np.bool_],
) -> list[tuple[int, int]]:
    """The best cut, found from its end to its beginning."""
    found: list[tuple[int, int]] = []
    m = len(free) - 1
    while m > 0:
        if free[m] == free[m - 1]:  # a pause
            m -= 1
            continue
        size, first = int(gain[m].argmax()), False
        while not first:
            first = bool(begins[m, size])
            found.append((m - int(sizes[size]), m))
            m, size = m - int(sizes[size]), int(before[m, size])
        found.append((m - int(sizes[size]), m))
        m -= int(sizes[size])
    return found[::-1]


class _Likeness:
    """How like each stretch of time is to the next one: at most 1, and 0 where they just repeat, see ``ALIKE``.

    Args:
        x: [N, D] features, centred.
        sizes: [S] lengths of stretches.
    """

    def __init__(self, x: NDArray[np.float64], sizes: NDArray[np.int64]) -> None:
        self.sizes = sizes
        self.inside, self.apart = _spread(x, sizes), _apart(x, 2 * int(sizes[-1]))
        ratios = sizes[:, None] / sizes
        self.possible = (ratios <= TEMPO) & (ratios >= 1 / TEMPO)
        self.moments = (np.arange(POINTS) + 0.5) / POINTS

    def __call__(self, m: int, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        """[L, R] for stretches of sizes ``left`` that end at frame ``m``, and of sizes ``right`` that begin there.

        Minus infinity where one is a pause, or much longer than the other.
        """
        i = (m - self.sizes[left, None] * (1 - self.moments)).astype(np.int64)
        j = (m + self.sizes[right, None] * self.moments).astype(np.int64)
        apart = self.apart[i[:, None], j[None] - i[:, None]].mean(axis=2)
        inside = np.minimum(self.inside[m - self.sizes[left], left][:, None], self.inside[m, right])
        counts = self.possible[np.ix_(left, right)] & (inside > 0)
        return np.where(counts, (1 - apart / inside.clip(1e-12) - ALIKE) / (1 - ALIKE), -np.inf)


def _lengths(shortest: int, longest: int) -> NDArray[np.int64]:
    """Whole numbers from ``shortest`` to ``longest``, each at least GRID times the one before."""
    found = []
    size = float(shortest)
    while round(size) <= longest:
        found.append(round(size))
        size = max(size * GRID, found[-1] + 1)
    return np.array(found, np.int64)


def _components(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, K] first principal components of features [N, D]."""
    u, s, _ = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return np.asarray(u[:, :COMPONENTS] * s[:COMPONENTS])


def _spread(x: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """[N, S] mean squared distance of two frames of the stretch of each size that begins at a frame; 0 in a pause."""
    total = len(x)
    sums = np.concatenate([np.zeros((1, x.shape[1])), x.cumsum(axis=0)])
    squares = np.concatenate([[0.0], (x**2).sum(axis=1).cumsum()])
    least = STILL * 2 * float((x**2).sum(axis=1).mean())
    found = np.zeros((total, len(sizes)))
    for column, size in enumerate(sizes.tolist()):
        first = np.arange(total - size + 1)
        mean = (sums[first + size] - sums[first]) / size
        spread = 2 * ((squares[first + size] - squares[first]) / size - (mean**2).sum(axis=1))
        found[first, column] = np.where(spread > least, spread, 0)
    return found


def _apart(x: NDArray[np.float64], width: int) -> FloatArray:
    """[N, width + 1] squared distance of each frame to those up to ``width`` later."""
    total = len(x)
    found = np.zeros((total, width + 1), np.float32)
    for lag in range(1, min(width, total - 1) + 1):
        found[:-lag, lag] = ((x[lag:] - x[:-lag]) ** 2).sum(axis=1)
    return found
