"""Recordings of any length: windows, and what they say of each frame.

Windows and strides are counted in frames of the recording. A window starts every ``stride`` frames; the last one is
moved back to end with the recording, so that all windows are of one length. A recording shorter than a window is one
window.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamp.errors import RecordingError
from mamp.layouts import Layout
from mamp.skeleton import Skeleton

FloatArray = NDArray[np.float32]


def check_window(window: int, stride: int | None, stride_name: str = "stride") -> tuple[int, int]:
    """Return window and stride in frames; without a stride, windows follow each other without overlap.

    Args:
        window: Frames of a window.
        stride: Frames from the start of one window to that of the next, at most ``window``.
        stride_name: What messages call the stride.

    Raises:
        RecordingError: One of them is not a whole number of frames above zero, or the stride would skip frames.
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
    """First frame of each window: ``1 + ceil((num_frames - window) / stride)`` of them, at least one."""
    last = max(num_frames - window, 0)
    starts = range(0, last + 1, stride)
    return starts if starts[-1] == last else [*starts, last]


def cut_window(recording: Skeleton, start: int, window: int, layout: Layout) -> Skeleton:
    """Return ``window`` frames of a recording, or what is left of it, in another layout."""
    frames = slice(start, start + window)
    confidence = None if recording.confidence is None else recording.confidence[:, frames]
    cut = Skeleton(
        recording.positions[:, frames],
        recording.layout,
        recording.fps,
        confidence,
        recording.name,
        recording.info,
        allow_2d=True,  # the whole recording was looked at
    )
    return cut.to_layout(layout)


class FrameMeans:
    """Mean of the windows that cover a frame, for each frame of a recording.

    Args:
        num_frames: Frames of the recording.
        width: Width of an embedding, D.
    """

    def __init__(self, num_frames: int, width: int) -> None:
        self._sums = np.zeros((num_frames, width), np.float32)
        self._counts = np.zeros((num_frames, 1), np.int32)

    def add(self, start: int, frames: FloatArray) -> None:
        """Add the frames [T, D] of the window that begins at ``start``; NaN is nothing to add."""
        known = ~np.isnan(frames).any(axis=1, keepdims=True)
        where = slice(start, start + len(frames))
        self._sums[where] += np.where(known, frames, np.float32(0))
        self._counts[where] += known

    def result(self) -> FloatArray:
        """[T, D]; NaN where no window had anything to say."""
        with np.errstate(invalid="ignore"):
            return np.divide(self._sums, self._counts, dtype=np.float32)
