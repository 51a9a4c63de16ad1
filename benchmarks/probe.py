"""Linear probe and nearest neighbour on recordings in memory, for benchmarks that change the recordings.

DATA_DIR of these benchmarks holds ``nw-ucla.npz`` and ``msr-action3d.npz`` as packed corpora (mamp/prepare/packed.py).
NW-UCLA trains on views 1 and 2 and tests on view 3; MSR-Action3D trains on odd subjects and tests on even ones.
Embeddings are standardised by the training half; the probe is a logistic regression (C = 0.1), the neighbour is the
nearest in Euclidean distance. Intervals are 95 % bootstrap intervals over the test clips. To evaluate weights on a
prepared set, use ``python -m mamp.evaluate``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mamp import Skeleton
from mamp.prepare.packed import read_packed

SETS = {"nw-ucla": lambda info: info["view"] in (1, 2), "msr-action3d": lambda info: info["subject"] % 2 == 1}


def read_set(path: Path) -> list[Skeleton]:
    """Recordings of a Kinect set, in which a joint at exactly (0, 0, 0) was not tracked."""
    recordings = []
    for recording in read_packed(path):
        positions = recording.positions.copy()
        positions[~positions.any(axis=-1)] = np.nan
        if np.isfinite(positions).any():
            recordings.append(recording.replace(positions=positions))
    return recordings


def interval(hits: np.ndarray) -> list[float]:
    """95 % bootstrap interval of an accuracy, in per cent."""
    rng = np.random.default_rng(0)
    means = rng.choice(hits, (2000, len(hits))).mean(axis=1)
    return [round(100 * float(q), 1) for q in np.quantile(means, (0.025, 0.975))]


def score(x: np.ndarray, y: np.ndarray, train: np.ndarray) -> dict[str, Any]:
    """Accuracy of linear probe and nearest neighbour, in per cent, with intervals."""
    scaler = StandardScaler().fit(x[train])
    x_train, x_test = scaler.transform(x[train]), scaler.transform(x[~train])
    result: dict[str, Any] = {"train_clips": int(train.sum()), "test_clips": int((~train).sum())}
    probes = {
        "linear": LogisticRegression(C=0.1, max_iter=2000),
        "nearest_neighbour": KNeighborsClassifier(n_neighbors=1),
    }
    for name, probe in probes.items():
        hits = probe.fit(x_train, y[train]).predict(x_test) == y[~train]
        result[name] = {"accuracy": round(100 * float(hits.mean()), 1), "interval": interval(hits)}
    return result
