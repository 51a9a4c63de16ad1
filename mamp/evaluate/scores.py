"""Scores of predictions: accuracy in per cent, confusion, recall and precision by class, and intervals.

Intervals are percentiles of a bootstrap: the test clips are resampled with replacement ``REPLICATES`` times, and the
mean is taken each time. They say how much a number would change with another sample of test clips of the same kind.
With ``trials``, the trials (seeds) are resampled too, and the interval also covers how much they differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError

REPLICATES = 2000
CHUNK = 1 << 22  # numbers in a block of draws: 32 MiB

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Interval(NamedTuple):
    """Lower and upper end, in per cent."""

    low: float
    high: float


@dataclass(frozen=True)
class PerClass:
    """An entry for each class, [K]; recall and precision in per cent, NaN without a clip or prediction of the class."""

    recall: FloatArray
    precision: FloatArray
    count: IntArray


def classification_metrics(labels: Any, scores_or_predicted: Any, num_classes: int) -> dict[str, float]:
    """Accuracy of predictions, in per cent.

    Args:
        labels: [n] true classes, 0 to K - 1.
        scores_or_predicted: [n, K] scores, larger is likelier, or [n] predicted classes.
        num_classes: K.

    Returns:
        ``top1``; ``top5`` when there are scores of more than five classes; ``mean_class``, the mean of the recalls of
        the classes that have test clips.

    Raises:
        DataError: There are no clips, or the shapes or class numbers do not fit.
    """
    labels = np.asarray(labels)
    found = np.asarray(scores_or_predicted)
    if found.ndim == 2 and found.shape[1] != num_classes:
        raise DataError(f"expected scores of {num_classes} classes, found an array of shape {found.shape}.")
    predicted = found.argmax(axis=1) if found.ndim == 2 else found
    recall = per_class(labels, predicted, num_classes).recall
    metrics = {"top1": 100.0 * float((predicted == labels).mean())}
    if found.ndim == 2 and num_classes > 5:
        metrics["top5"] = 100.0 * float(top_k_hits(labels, found, 5).mean())
    metrics["mean_class"] = float(np.nanmean(recall))
    return metrics


def top_k_hits(labels: Any, scores: Any, k: int) -> NDArray[np.bool_]:
    """Whether the class of each clip [n] is among the k highest scores [n, K]; ties go to the first class."""
    order = np.argsort(-np.asarray(scores), axis=1, kind="stable")[:, :k]
    return np.asarray((order == np.asarray(labels)[:, None]).any(axis=1))


def confusion_matrix(labels: Any, predicted: Any, num_classes: int) -> IntArray:
    """Clips [K, K] of each true class (row) by the predicted one (column).

    Raises:
        DataError: There are no clips, the lengths differ, or a class number is outside 0 to K - 1.
    """
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    if labels.ndim != 1 or labels.shape != predicted.shape or not len(labels):
        raise DataError(
            f"expected as many predictions as labels, at least one; found shapes {predicted.shape} and {labels.shape}."
        )
    for what, values in (("labels", labels), ("predictions", predicted)):
        if values.min() < 0 or values.max() >= num_classes:
            raise DataError(f"expected {what} from 0 to {num_classes - 1}, found {values.min()} to {values.max()}.")
    flat = np.bincount(labels.astype(np.int64) * num_classes + predicted, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def per_class(labels: Any, predicted: Any, num_classes: int) -> PerClass:
    """Recall, precision and number of test clips of each class; raises as :func:`confusion_matrix`."""
    return per_class_of(confusion_matrix(labels, predicted, num_classes))


def per_class_of(confusion: IntArray) -> PerClass:
    """Recall, precision and count from a confusion matrix [K, K]."""
    right, true, said = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    share = [np.divide(right, all_, out=np.full(len(right), np.nan), where=all_ > 0) for all_ in (true, said)]
    return PerClass(100 * share[0], 100 * share[1], true)


def bootstrap_interval(hits: Any, level: float = 0.95, seed: int = 0, trials: bool = False) -> Interval:
    """Interval of a mean over clips.

    Args:
        hits: [n] or [S, n] values from 0 to 1 of each clip (in each of S trials): correct or not, or an average
            precision. NaN if a trial does not have the clip.
        level: Share of the replicates in the interval.
        seed: Seed of the draws.
        trials: Resample the trials too.

    Returns:
        The interval in per cent.
    """
    return _percentiles(_replicates(np.atleast_2d(hits), seed, trials), level)


def bootstrap_difference(
    hits: Any, against: Any, level: float = 0.95, seed: int = 0, trials: bool = False
) -> tuple[float, Interval]:
    """Difference of two means over the same clips, and its interval, paired: the same clips are drawn for both.

    Args:
        hits: [n] or [S, n] as in :func:`bootstrap_interval`.
        against: [n] or [S', n] of the same clips in the same order.
        level: Share of the replicates in the interval.
        seed: Seed of the draws.
        trials: Resample the trials of both too, independently.

    Returns:
        ``hits`` minus ``against``, and the interval, in percentage points.
    """
    one, other = np.atleast_2d(hits), np.atleast_2d(against)
    if one.shape[1] != other.shape[1]:
        raise DataError(f"expected values of the same clips, found {one.shape[1]} and {other.shape[1]} of them.")
    # Both draw clips from the same stream, so that the replicates are paired, and trials from streams of their own.
    replicates = _replicates(one, seed, trials, stream=1) - _replicates(other, seed, trials, stream=2)
    difference = np.nanmean(one, axis=1).mean() - np.nanmean(other, axis=1).mean()
    return 100 * float(difference), _percentiles(replicates, level)


def _replicates(values: NDArray[Any], seed: int, trials: bool, stream: int = 1) -> FloatArray:
    """Mean over trials of the mean over clips [R], the clips (and trials) drawn with replacement each time."""
    means = _clip_means(np.asarray(values, np.float64), np.random.default_rng((seed, 0)))
    if not trials:
        return np.asarray(means.mean(axis=0))
    count = len(means)
    drawn = np.random.default_rng((seed, stream)).integers(count, size=means.shape)
    return np.asarray(np.take_along_axis(means, drawn, axis=0).mean(axis=0))


def _clip_means(values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Mean of each trial [S, R] over clips drawn with replacement; values are [S, n]."""
    clips = values.shape[1]
    present = np.isfinite(values)
    filled, weight = np.where(present, values, 0), present.astype(np.float64)
    whole = bool(present.all())
    parts = []
    step = max(1, CHUNK // clips)
    for start in range(0, REPLICATES, step):
        rows = min(step, REPLICATES - start)
        drawn = rng.integers(clips, size=(rows, clips)) + clips * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * clips).reshape(rows, clips).astype(np.float64)
        total = clips if whole else np.maximum(weight @ times.T, 1)
        parts.append(filled @ times.T / total)
    return np.concatenate(parts, axis=1)


def _percentiles(replicates: FloatArray, level: float) -> Interval:
    low, high = 100 * np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


def mean_and_deviation(values: Any) -> tuple[float, float | None]:
    """Mean and standard deviation over trials (n - 1); a single trial has no deviation."""
    values = np.asarray(values, np.float64)
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None
