"""What heads and change points work on: embeddings, or poses, at a fixed number of steps a second."""

from __future__ import annotations

from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.encoder import MAMPEncoder
from mamp.errors import RecordingError
from mamp.frames import frame_embeddings
from mamp.layouts import body_of, get_layout
from mamp.posture import body_centred
from mamp.rows import frames_of
from mamp.skeleton import Skeleton

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

RATE = 10.0
"""Steps in a second."""


def features(
    recording: Skeleton,
    encoder: MAMPEncoder | None,
    window: float,
    stride: float,
    *,
    poses: bool = False,
    **options: Any,
) -> tuple[FloatArray, IntArray]:
    """Features [N, D] of the steps of a recording, ``RATE`` a second, and the frames [N + 1] between which they lie.

    Args:
        recording: The recording, with a frame rate.
        encoder: The encoder; ``None`` takes poses only.
        window: Seconds that the encoder sees at a time.
        stride: Seconds from one window to the next.
        poses: Append poses to the embeddings: positions in metres from the pelvis of whoever moves most, at one height
            and facing one way.
        options: Of :meth:`mamp.MAMPEncoder.encode`.

    Raises:
        RecordingError: Nobody is tracked, or the frame rate is unknown.
        LayoutError: The recording cannot be expressed in the model's joints.
    """
    size, step = frames_of(recording, window, "window"), frames_of(recording, stride, "stride")
    if not recording.tracked.any():
        raise RecordingError(f"{recording.name}: expected at least one tracked joint, found none (all NaN).")
    parts = []
    if encoder is not None:
        parts.append(hold(frame_embeddings(recording, encoder, size, min(step, size), **options)))
    if encoder is None or poses:
        parts.append(rearrange(np.nan_to_num(body_centred(recording)), "t v c -> t (v c)"))
    assert recording.fps is not None  # frames_of says so
    edges = step_edges(recording.num_frames, recording.fps)
    return step_means(np.concatenate(parts, axis=1), edges), edges


def feature_width(encoder: MAMPEncoder, poses: bool) -> int:
    """Numbers in the features of a step, D."""
    body = body_of(get_layout(encoder.config.preprocessing.layout))
    return encoder.config.embedding_dim + poses * 3 * len(body.joints)


def hold(x: FloatArray) -> FloatArray:
    """Rows [T, D] of which those with NaN take the row before, and the first ones the first that is known."""
    known = np.isfinite(x).all(axis=1)
    last = np.maximum.accumulate(np.where(known, np.arange(len(x)), np.argmax(known)))
    return x[last]


def step_edges(frames: int, fps: float) -> IntArray:
    """First frame of each of the steps of a recording, and its end [N + 1]; a step has at least one frame."""
    steps = min(max(1, round(frames / fps * RATE)), frames)
    return (np.arange(steps + 1) * frames) // steps


def step_means(x: NDArray[np.floating], edges: IntArray) -> FloatArray:
    """Mean of the rows [T, D] of each step."""
    sums = np.add.reduceat(np.asarray(x, np.float64), edges[:-1], axis=0)
    return (sums / np.diff(edges)[:, None]).astype(np.float32)


def step_labels(labels: IntArray, edges: IntArray) -> IntArray:
    """Label of the frame in the middle of each step."""
    return labels[(edges[:-1] + edges[1:]) // 2]
