"""The joints of the model in a sample of a recording's frames, for what is inferred from size and posture."""

from __future__ import annotations

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.errors import LayoutError
from mamp.layouts import MODEL_LAYOUT, Layout

_SAMPLE = 200
_ALONG = (
    ("head", "spine_shoulder"),
    ("spine_shoulder", "spine_base"),
    ("hip_{}", "knee_{}"),
    ("knee_{}", "ankle_{}"),
)


def sample_frames(positions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Frames spread evenly over [M, T, V, 3], of all people, [N, V, 3]."""
    step = max(1, positions.shape[1] // _SAMPLE)
    return rearrange(positions[:, ::step], "m t v c -> (m t) v c").astype(np.float64)


def model_joints(positions: NDArray[np.floating], layout: Layout) -> NDArray[np.float64] | None:
    """Joints of the model in some of the frames, [N, 25, 3], NaN where absent; None if the layout has no mapping."""
    try:
        weights = layout.conversion(MODEL_LAYOUT).astype(np.float64)
    except LayoutError:
        return None
    frames = sample_frames(positions)
    used = np.flatnonzero(weights.any(0))
    body = np.einsum("nvc,wv->nwc", np.nan_to_num(frames[:, used]), weights[:, used])
    missing = np.isnan(frames[:, used]).any(-1).astype(np.float64) @ (weights[:, used].T != 0) > 0
    body[missing | ~weights.any(1)] = np.nan
    return body


def joint(body: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """One joint of the model, by name, [N, 3]."""
    return body[:, MODEL_LAYOUT.joints.index(name)]


def head_to_ankle(positions: NDArray[np.floating], layout: Layout) -> float | None:
    """Length of the way from head to ankle along the body, each part by its median; None if a part is never seen."""
    body = model_joints(positions, layout)
    if body is None:
        return None
    total = 0.0
    for pair in _ALONG:
        ends = [[joint(body, name.format(side)) for name in pair] for side in ("left", "right")]
        lengths = np.concatenate([np.linalg.norm(a - b, axis=-1) for a, b in ends])
        lengths = lengths[np.isfinite(lengths)]
        if not len(lengths):
            return None
        total += float(np.median(lengths))
    return total
