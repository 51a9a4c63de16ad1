"""Untrimmed recordings made of trimmed ones: takes one after another, where one blends into the next."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mamp.errors import RecordingError

Span = tuple[int, int]


def string_together(takes: Sequence[NDArray[np.floating]], blend: int) -> tuple[NDArray[np.float32], list[Span]]:
    """String takes of one person together into one recording.

    The end of a take overlaps with the start of the next by ``blend`` frames (a third of the shorter one at most). Both
    go on moving there as they were recorded, while the weight passes smoothly from one to the other. Each take is first
    moved on the ground to where the one before has led; it is not turned.

    Args:
        takes: Positions [T, V, 3] of each, y up; NaN where a joint was not tracked.
        blend: Frames of an overlap.

    Returns:
        Positions [T, V, 3], and of each take the first frame and the end (exclusive) of where it has more weight than
        its neighbours, which leaves no frame between two takes.

    Raises:
        RecordingError: There is no take, or one of another shape or without a tracked joint.
    """
    if not takes or blend < 0:
        raise RecordingError(f"expected takes, and an overlap from 0 on, found {len(takes)} and {blend}.")
    shapes = {take.shape[1:] for take in takes}
    if len(shapes) > 1 or not all(np.isfinite(take).any() for take in takes):
        raise RecordingError(f"expected takes of the same joints, each with tracked ones, found {sorted(shapes)}.")
    whole = np.asarray(takes[0], np.float32)
    cuts = [0]
    for before, take in pairwise(takes):
        overlap = min(blend, len(before) // 3, len(take) // 3)
        first = len(whole) - overlap
        moved = np.asarray(take, np.float32) + _step(whole[first - 1 :], take[: overlap + 1])
        share = (np.arange(overlap, dtype=np.float32) + 1) / (overlap + 1)
        weight = (3 * share**2 - 2 * share**3)[:, None, None]
        old, new = whole[first:], moved[:overlap]
        mixed = (1 - weight) * old + weight * new
        mixed = np.where(np.isnan(old), new, np.where(np.isnan(new), old, mixed))
        whole = np.concatenate([whole[:first], mixed, moved[overlap:]])
        cuts.append(first + overlap // 2)
    return whole, list(zip(cuts, [*cuts[1:], len(whole)], strict=True))


def _step(before: NDArray[np.floating], after: NDArray[np.floating]) -> NDArray[np.float32]:
    """How far apart two stretches [T, V, 3] are on the ground [3], by the mean of what was tracked."""
    step = np.zeros(3, np.float32)
    if np.isfinite(before).any() and np.isfinite(after).any():
        step[[0, 2]] = (np.nanmean(before, axis=(0, 1)) - np.nanmean(after, axis=(0, 1)))[[0, 2]]
    return step
