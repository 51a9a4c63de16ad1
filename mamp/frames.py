"""Embeddings of the frames of long recordings, from windows that overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.encoder import MAMPEncoder
from mamp.layouts import get_layout
from mamp.skeleton import Skeleton
from mamp.windows import FrameMeans, cut_window, window_starts

FloatArray = NDArray[np.float32]

WINDOWS = 64  # cut at a time


def frame_embeddings(recording: Skeleton, encoder: MAMPEncoder, window: int, stride: int, **options: Any) -> FloatArray:
    """Embeddings [T, D] of the frames of a recording, NaN where nobody was tracked.

    Frames are averaged over the windows that cover them. Windows count less towards their ends, so that there is no
    step where one begins, unlike in ``encode(pool="frame", window=...)``.

    Args:
        recording: The recording.
        encoder: The encoder.
        window: Frames of a window; a shorter recording is a single one.
        stride: Frames from one window to the next.
        options: Of :meth:`mamp.MAMPEncoder.encode`.
    """
    layout = get_layout(encoder.config.preprocessing.layout)
    means = FrameMeans(recording.num_frames, encoder.config.embedding_dim)
    starts = window_starts(recording.num_frames, window, stride)
    for number in range(0, len(starts), WINDOWS):
        cuts = [(start, cut_window(recording, start, window, layout)) for start in starts[number : number + WINDOWS]]
        known = [(start, cut) for start, cut in cuts if cut.tracked.any()]
        found = encoder.encode([cut for _, cut in known], pool="frame", **options)
        for (start, _), frames in zip(known, found, strict=True):
            means.add(start, frames, np.minimum(np.arange(1, len(frames) + 1), np.arange(len(frames), 0, -1)))
    return means.result()
