"""The embedding over time: how fast it changes, its colours, windows, and where one stretch ends and another begins."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp import frames
from mamp.encoder import MAMPEncoder
from mamp.skeleton import Skeleton
from mamp.view.content import rate_of
from mamp.view.packing import Block, share_of
from mamp.windows import window_starts

FloatArray = NDArray[np.float32]

WHOLE_UP_TO = 8.0  # seconds that are embedded as one clip
WINDOW, STRIDE = 4.0, 2.0  # seconds, of longer recordings
APART = 0.25  # seconds on either side between which a change is measured
SHORTEST = 0.8  # seconds of a segment
_ROWS = 5000  # for the principal components


def window_spans(recording: Skeleton, window: float | None, stride: float | None) -> list[tuple[float, float]]:
    """Start and end, in seconds, of the windows of a recording; ``None`` for one window of everything."""
    fps, length = rate_of(recording), recording.num_frames
    if window is None:
        return [(0.0, length / fps)]
    frames = max(round(window * fps), 1)
    step = min(max(round((stride or window / 2) * fps), 1), frames)
    starts = window_starts(length, frames, step)
    return [(start / fps, min(start + frames, length) / fps) for start in starts]


def default_window(recording: Skeleton) -> tuple[float | None, float | None]:
    """Window and stride to embed a recording with, in seconds."""
    return (None, None) if recording.num_frames / rate_of(recording) <= WHOLE_UP_TO else (WINDOW, STRIDE)


def frame_embeddings(recording: Skeleton, encoder: MAMPEncoder, progress: bool = False) -> FloatArray:
    """Unit vectors [T, D] of the frames, NaN where nobody is: of the whole, or of overlapping windows if it is long."""
    whole, fps = recording.num_frames, rate_of(recording)
    window, stride = (whole if one is None else max(round(one * fps), 1) for one in default_window(recording))
    rows = frames.frame_embeddings(recording, encoder, window, stride, progress=progress)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12), np.float32)


def change(frames: FloatArray, fps: float) -> FloatArray:
    """Change [T] of unit vectors [T, D]: 1 - cosine of the vectors a quarter of a second before and after."""
    time, apart = np.arange(len(frames)), max(round(APART * fps), 1)
    before, after = (time - apart).clip(0), (time + apart).clip(max=len(time) - 1)
    cosine = np.einsum("td,td->t", frames[before], frames[after])
    return np.asarray((1 - cosine).clip(0), np.float32)


def find_segments(change: FloatArray, fps: float) -> list[tuple[float, float]]:
    """Stretches between the peaks of the change, in seconds; the peaks stand out by a standard deviation."""
    known = np.nan_to_num(change)
    shortest = max(round(SHORTEST * fps), 1)
    cuts: list[int] = []
    for frame in np.argsort(-known, kind="stable"):
        if known[frame] < known.mean() + known.std() or known[frame] <= 0:
            break
        if all(abs(int(frame) - other) >= shortest for other in (*cuts, 0, len(known))):
            cuts.append(int(frame))
    ends = [0, *sorted(cuts), len(known)]
    return [(start / fps, end / fps) for start, end in pairwise(ends)]


def colours(several: Sequence[FloatArray]) -> list[NDArray[np.uint8]]:
    """Colour [T, 3] of each frame: the first three principal components of all vectors [T, D]."""
    rows = np.concatenate([frames[np.isfinite(frames).all(axis=1)] for frames in several])
    rows = rows[:: len(rows) // _ROWS + 1]
    if len(rows) < 2:
        return [np.full((len(frames), 3), 128, np.uint8) for frames in several]
    mean = rows.mean(axis=0)
    axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:3]
    axes = np.pad(axes, [(0, 3 - len(axes)), (0, 0)])
    axes = axes * np.where(axes.sum(axis=1, keepdims=True) < 0, -1, 1)  # a direction that does not depend on LAPACK
    low, high = np.percentile((rows - mean) @ axes.T, (2, 98), axis=0)
    shares = [np.nan_to_num(((frames - mean) @ axes.T - low) / (high - low).clip(1e-6), nan=0.5) for frames in several]
    return [np.round(40 + 190 * share.clip(0, 1)).astype(np.uint8) for share in shares]


def describe_trace(
    frames: FloatArray, colour: NDArray[np.uint8], recording: Skeleton, block: Block, every: int
) -> dict[str, Any]:
    """The trace of a recording for the page, and the segments that it has."""
    moved = change(frames, rate_of(recording))
    top = max(float(np.nanpercentile(moved, 99.5)) if np.isfinite(moved).any() else 0.0, 1e-4)
    window, _ = default_window(recording)
    embedded = "one clip" if window is None else f"windows of {window:g} s"
    return {
        "change": block.add(share_of(moved[::every], top)),
        "top": top,
        "colour": block.add(colour[::every]),
        "note": f"1 - cosine of the frames' embeddings {APART:g} s before and after; embedded as {embedded}",
        "segments": find_segments(moved, rate_of(recording)),
    }
