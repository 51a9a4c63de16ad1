"""Without labels: where a recording changes, and which of its parts recur."""

from __future__ import annotations

import string
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ConfigError, MissingExtraError
from mamp.segment.features import RATE
from mamp.segment.segments import Segment, Segments

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

PENALTY = 1.2
SHORTEST = 0.6  # seconds of a segment
COMPONENTS = 16  # principal ones of the features that are looked at
ALIKE = 0.6  # least cosine of two parts that are the same movement


def find_changes(steps: FloatArray, penalty: float = PENALTY) -> IntArray:
    """Steps [S + 1] at which a segment begins, and the end, of features [N, D].

    Kernel change-point detection of ``ruptures`` (Truong, Oudre and Vayatis, Signal Processing 2020): the cut in which
    the features of a segment are closest to their mean, at a price for each segment.

    Args:
        steps: Features.
        penalty: The price, in units that do not depend on the recording: 1 is the variance of the features, times the
            logarithm of the number of steps. Higher gives fewer segments.

    Raises:
        MissingExtraError: ``ruptures`` is not installed.
        ConfigError: The penalty is not above zero.
    """
    if not 0 < penalty < np.inf:
        raise ConfigError(f"penalty: expected a number above zero, found {penalty!r}.")
    ruptures, least = need_ruptures(), max(2, round(SHORTEST * RATE))
    x = components(steps)
    if len(x) < 2 * least or not x.any():
        return np.array([0, len(x)])
    search = ruptures.KernelCPD(kernel="linear", min_size=least).fit(x)
    return np.array([0, *search.predict(pen=penalty * np.log(len(x)))])


def components(steps: FloatArray) -> NDArray[np.float64]:
    """[N, C] first principal components of features [N, D], whose variances sum to 1."""
    x = np.asarray(steps, np.float64) - steps.mean(axis=0, dtype=np.float64)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    kept = u[:, :COMPONENTS] * s[:COMPONENTS]
    return np.asarray(kept / np.sqrt((kept**2).sum() / len(kept)).clip(1e-12))


def recurring(steps: FloatArray, cuts: IntArray) -> tuple[IntArray, FloatArray]:
    """Which segments show the same movement: a number [S] of each, in the order of their first, and a score [S].

    Segments are compared by the mean of their features, centred on that of the recording, by cosine; average linkage
    joins what is alike. The score is the mean cosine with the others of the same number; 0 for a segment that has none.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    x = components(steps)
    means = np.stack([x[first:end].mean(axis=0) for first, end in pairwise(cuts)])
    means /= np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)
    cosine = means @ means.T
    if len(means) == 1:
        return np.zeros(1, np.int64), np.zeros(1, np.float32)
    upper = (1 - cosine)[np.triu_indices(len(means), 1)].clip(0)
    found = fcluster(linkage(upper, "average"), 1 - ALIKE, "distance")
    _, first, numbers = np.unique(found, return_index=True, return_inverse=True)
    numbers = np.argsort(np.argsort(first))[numbers]
    same = (numbers[:, None] == numbers) & ~np.eye(len(means), dtype=bool)
    score = (cosine * same).sum(axis=1) / same.sum(axis=1).clip(1)
    return numbers, score.clip(0, 1).astype(np.float32)


def find_movements(steps: FloatArray, edges: IntArray, fps: float, penalty: float = PENALTY) -> Segments:
    """Segments between the changes; those that show the same movement share a letter."""
    cuts = find_changes(steps, penalty)
    numbers, scores = recurring(steps, cuts)
    spans = zip(edges[cuts[:-1]] / fps, edges[cuts[1:]] / fps, numbers.tolist(), scores.tolist(), strict=True)
    return Segments.of(Segment(float(start), float(end), letters(number), score) for start, end, number, score in spans)


def letters(number: int) -> str:
    """A to Z, AA, AB, ..."""
    more, last = divmod(number, len(string.ascii_uppercase))
    return (letters(more - 1) if more else "") + string.ascii_uppercase[last]


def need_ruptures() -> Any:
    """The library ``ruptures``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import ruptures
    except ImportError:
        raise MissingExtraError("finding changes without labels needs ruptures: pip install 'mamp[segment]'.") from None
    return ruptures
