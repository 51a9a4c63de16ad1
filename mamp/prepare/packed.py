"""Packed corpora: recordings of one skeleton in one ``.npz`` file.

Arrays: ``positions`` [F, V, 3] (metres, y up), ``offsets`` [N + 1] of the clips, ``joints`` (names), ``parents``, and
optionally ``fps``, ``clip`` (names) and columns such as ``label``, ``subject`` and ``view``. In Kinect layouts, a joint
at exactly (0, 0, 0) was not tracked.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from mamp.errors import ReadError
from mamp.layouts import find_layout
from mamp.skeleton import Skeleton

COLUMNS = ("label", "subject", "view", "fold", "content", "style", "correct")
KINECT = ("kinect20", "ntu25")


def read_packed(path: Path) -> Iterator[Skeleton]:
    """Yield the recordings of a packed corpus."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        positions, offsets, joints = arrays["positions"], arrays["offsets"], arrays["joints"]
    except (OSError, ValueError, KeyError) as error:
        raise ReadError(f"{path}: expected an .npz with positions, offsets and joints ({error}).") from None
    layout = find_layout([str(joint) for joint in joints], arrays.get("parents"))
    fps = float(arrays["fps"]) if "fps" in arrays else None
    names = arrays.get("clip", np.arange(len(offsets) - 1).astype(str))
    for clip, (first, last) in enumerate(pairwise(offsets)):
        info = {name: arrays[name][clip].item() for name in COLUMNS if name in arrays}
        here = positions[first:last]
        if layout.name in KINECT:
            here = np.where(here.any(axis=-1, keepdims=True), here, np.float32(np.nan))
        yield Skeleton(here, layout, fps, name=f"{path.stem}/{names[clip]}", info=info)


def split_glitches(recording: Skeleton, max_speed: float, min_frames: int) -> Iterator[Skeleton]:
    """Cut a recording where a joint exceeds ``max_speed`` in metres per second, and drop short pieces."""
    speed = np.linalg.norm(np.diff(recording.positions, axis=1), axis=-1).max(axis=(0, 2)) * (recording.fps or 30.0)
    cuts = np.flatnonzero(speed > max_speed) + 1
    pieces = np.split(np.arange(recording.num_frames), cuts)
    for number, frames in enumerate(piece for piece in pieces if len(piece) >= min_frames):
        name = recording.name if len(pieces) == 1 else f"{recording.name}#{number}"
        yield recording.replace(positions=recording.positions[:, frames], confidence=None, name=name)
