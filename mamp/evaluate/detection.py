"""Scores of segments found in untrimmed recordings: frame accuracy, edit score, segment F1, and average precision.

Frames, edit score and F1 are those of Lea et al., "Temporal Convolutional Networks for Action Segmentation and
Detection", CVPR 2017 (section 4.1), on runs of frames of one label; the background counts among frames only. Average
precision is the event-based protocol of Liu et al., "PKU-MMD: A Large Scale Benchmark for Continuous Multi-Modal Human
Action Understanding", 2017 (section 4): over actions, detections of one action in all recordings are ranked by their
score; over recordings, those of all actions in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mamp.segment.segments import runs

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

F1_OVERLAPS = (0.1, 0.25, 0.5)
MAP_OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
REPLICATES = 1000


@dataclass(frozen=True)
class Scored:
    """What is known and what was found in a recording.

    Attributes:
        truth: [m, 3] class (from 1), first frame and end of each interval.
        found: [n, 3] the same of what was found.
        scores: [n] how sure each of these is.
        true_frames: [T] class of each frame, 0 for the background.
        found_frames: [T] the same, as predicted.
    """

    truth: IntArray
    found: IntArray
    scores: FloatArray
    true_frames: IntArray
    found_frames: IntArray

    @cached_property
    def counts(self) -> FloatArray:
        """[2 + 3 * 3] sums for accuracy and F1: right frames, frames; right, wrong and missed runs at each overlap."""
        true, found = runs(self.true_frames), runs(self.found_frames)
        frames = [(self.true_frames == self.found_frames).sum(), len(self.true_frames)]
        return np.array([*frames, *(n for least in F1_OVERLAPS for n in f1_counts(true, found, least))], np.float64)

    @cached_property
    def edit(self) -> float:
        """Edit score, in per cent."""
        return edit_score(*(runs(frames)[:, 0].tolist() for frames in (self.true_frames, self.found_frames)))


def overlaps(found: IntArray, truth: IntArray) -> FloatArray:
    """[n, m] intersection over union of rows [n, 3] and [m, 3] of class, start and end; 0 between two classes."""
    first = np.maximum(found[:, None, 1], truth[None, :, 1])
    last = np.minimum(found[:, None, 2], truth[None, :, 2])
    both = (last - first).clip(0)
    either = (found[:, 2] - found[:, 1])[:, None] + (truth[:, 2] - truth[:, 1])[None] - both
    return np.asarray(both / either.clip(1) * (found[:, None, 0] == truth[None, :, 0]))


def edit_score(true: Sequence[int], found: Sequence[int]) -> float:
    """100 for the same order of classes, less the share of them that must be inserted, removed or replaced."""
    if not true and not found:
        return 100.0
    row = list(range(len(found) + 1))
    for i, one in enumerate(true, 1):
        before, row[0] = row[0], i
        for j, other in enumerate(found, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return 100 * (1 - row[-1] / max(len(true), len(found)))


def f1_counts(truth: IntArray, found: IntArray, least: float) -> tuple[int, int, int]:
    """Right, wrong and missed segments: each is compared with the true one that it overlaps most, which counts once."""
    share = overlaps(found, truth)
    taken: set[int] = set()
    for row in share:
        best = int(row.argmax()) if len(row) else -1
        if best >= 0 and row[best] >= least and best not in taken:
            taken.add(best)
    return len(taken), len(found) - len(taken), len(truth) - len(taken)


def hits(truth: IntArray, found: IntArray, scores: FloatArray, least: float) -> NDArray[np.bool_]:
    """Which detections [n] count as right: the surest of those that overlap a true interval by more than ``least``.

    A detection belongs to the true interval of its class that it overlaps most.
    """
    right = np.zeros(len(found), bool)
    if not len(found) or not len(truth):
        return right
    share = overlaps(found, truth)
    taken: set[int] = set()
    for row in np.argsort(-scores, kind="stable").tolist():
        best = int(share[row].argmax())
        if share[row, best] > least and best not in taken:
            taken.add(best)
            right[row] = True
    return right


def average_precision(right: NDArray[np.bool_], scores: FloatArray, truths: float, weights: FloatArray) -> float:
    """Area under the curve of precision over recall, where precision is the highest at that recall or a higher one.

    Args:
        right: [n] whether a detection counts as right.
        scores: [n] by which they are ranked.
        truths: Number of true intervals.
        weights: [n] how often each detection counts.
    """
    order = np.argsort(-scores, kind="stable")
    gained = (weights * right)[order]
    precision = gained.cumsum() / weights[order].cumsum().clip(1e-12)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return float((highest * gained).sum() / truths)


class Detections:
    """Average precision of a set of recordings, which may be drawn from.

    Args:
        recordings: The recordings.
        classes: Number of classes.
    """

    def __init__(self, recordings: Sequence[Scored], classes: int) -> None:
        self.truths = np.array([np.bincount(one.truth[:, 0], minlength=classes + 1) for one in recordings])
        self.recording = np.repeat(np.arange(len(recordings)), [len(one.found) for one in recordings])
        self.label = np.concatenate([one.found[:, 0] for one in recordings])
        self.scores = np.concatenate([one.scores for one in recordings])
        self.right = {
            least: np.concatenate([hits(one.truth, one.found, one.scores, least) for one in recordings])
            for least in MAP_OVERLAPS
        }

    def over_actions(self, least: float, times: FloatArray) -> float:
        """Mean over the actions that there are, in per cent; ``times`` [R] is how often each recording counts."""
        truths, weights = times @ self.truths, times[self.recording]
        values = []
        for label in np.flatnonzero(truths).tolist():
            mine = self.label == label
            right = self.right[least][mine]
            values.append(average_precision(right, self.scores[mine], truths[label], weights[mine]))
        return 100 * float(np.mean(values)) if values else 0.0

    def over_recordings(self, least: float) -> float:
        """Mean over the recordings in which there is something, in per cent."""
        values = []
        for number, truths in enumerate(self.truths.sum(axis=1).tolist()):
            mine = self.recording == number
            if truths:
                ones = np.ones(int(mine.sum()))
                values.append(average_precision(self.right[least][mine], self.scores[mine], truths, ones))
        return 100 * float(np.mean(values)) if values else 0.0


def detection_metrics(
    recordings: Sequence[Scored], classes: int, replicates: int = REPLICATES
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """All metrics, in per cent, and 95 % bootstrap intervals over the recordings of most of them.

    Args:
        recordings: The test recordings.
        classes: Number of classes, K.
        replicates: Draws of the bootstrap.

    Returns:
        ``accuracy``, of frames; ``edit``; ``f1@10``, ``f1@25`` and ``f1@50``; ``map@0.1`` to ``map@0.7``, over actions;
        ``map_v@0.5``, over recordings. Intervals of all but the last, and of ``map`` at 0.5 only.
    """
    found, once = Detections(recordings, classes), np.ones(len(recordings))
    metrics = _sums(recordings, once) | {f"map@{least}": found.over_actions(least, once) for least in MAP_OVERLAPS}
    metrics["map_v@0.5"] = found.over_recordings(0.5)
    ends = {}
    for name, values in (bootstrap_metrics(recordings, classes, replicates) if replicates else {}).items():
        low, high = np.quantile(values, [0.025, 0.975])
        ends[name] = (float(low), float(high))
    return metrics, ends


def bootstrap_metrics(
    recordings: Sequence[Scored], classes: int, replicates: int = REPLICATES
) -> dict[str, FloatArray]:
    """Metrics [replicates], in per cent, of recordings drawn with replacement.

    As many recordings are drawn in the same way each time: replicates of what two methods find in them are paired.
    """
    found, rng, draws = Detections(recordings, classes), np.random.default_rng(0), []
    for _ in range(replicates):
        drawn = rng.integers(len(recordings), size=len(recordings))
        times = np.bincount(drawn, minlength=len(recordings)).astype(np.float64)
        draws.append(_sums(recordings, times) | {"map@0.5": found.over_actions(0.5, times)})
    return {name: np.array([one[name] for one in draws]) for name in draws[0]}


def _sums(recordings: Sequence[Scored], times: FloatArray) -> dict[str, float]:
    """Metrics that are made of sums over recordings, of which each counts ``times`` [R]."""
    sums, edits = np.array([one.counts for one in recordings]), np.array([one.edit for one in recordings])
    right, frames, *counts = (times @ sums).tolist()
    found = {"accuracy": 100 * right / frames, "edit": float(times @ edits / times.sum())}
    for number, least in enumerate(F1_OVERLAPS):
        hit, wrong, missed = counts[3 * number : 3 * number + 3]
        found[f"f1@{round(100 * least)}"] = 100 * 2 * hit / max(2 * hit + wrong + missed, 1e-12)
    return found
