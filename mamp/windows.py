"""Sliding windows over recordings of any length.

Window and stride are in frames of the recording. The last window is shifted back to end with the recording, so all
windows have the same length. A recording shorter than the window is a single window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mamp.errors import RecordingError
from mamp.layouts import Layout
from mamp.skeleton import Skeleton, take_frames

FloatArray = NDArray[np.float32]


def check_window(window: int, stride: int | None, stride_name: str = "stride") -> tuple[int, int]:
    """Validate window and stride, both in frames; the stride defaults to the window (no overlap).

    Raises:
        RecordingError: Either is not a positive integer, or the stride exceeds the window.
    """
    stride = window if stride is None else stride
    for name, value in (("window", window), (stride_name, stride)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise RecordingError(
                f"{name}: expected a whole number of frames of the recording, at least 1, found {value!r}. "
                "For seconds: round(seconds * recording.fps)."
            )
    if stride > window:
        raise RecordingError(
            f"{stride_name}: expected at most the window ({window}), found {stride}: frames between windows would be "
            "skipped."
        )
    return int(window), int(stride)


def window_starts(num_frames: int, window: int, stride: int) -> range | list[int]:
    """First frame of each of the ``1 + ceil((num_frames - window) / stride)`` windows, at least one."""
    last = max(num_frames - window, 0)
    starts = range(0, last + 1, stride)
    return starts if starts[-1] == last else [*starts, last]


def cut_window(recording: Skeleton, start: int, window: int, layout: Layout) -> Skeleton:
    """Cut up to ``window`` frames from a recording and convert them to ``layout``."""
    return take_frames(recording, slice(start, start + window)).to_layout(layout)


class FrameMeans:
    """Average overlapping windows into one embedding [D] per frame."""

    def __init__(self, num_frames: int, width: int) -> None:
        self._sums = np.zeros((num_frames, width), np.float32)
        self._weights = np.zeros((num_frames, 1), np.float32)

    def add(self, start: int, frames: FloatArray, weight: ArrayLike = 1) -> None:
        """Add the frames [T, D] of the window that begins at ``start``, with weights [T]; NaN frames are skipped."""
        known = ~np.isnan(frames).any(axis=1, keepdims=True)
        weights = known * np.reshape(np.asarray(weight, np.float32), (-1, 1))
        where = slice(start, start + len(frames))
        self._sums[where] += np.where(known, frames, np.float32(0)) * weights
        self._weights[where] += weights

    def result(self) -> FloatArray:
        """Mean embeddings [T, D]; NaN where no window covers the frame."""
        with np.errstate(invalid="ignore"):
            return self._sums / self._weights
