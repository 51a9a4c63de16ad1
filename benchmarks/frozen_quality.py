"""How good frozen embeddings are: linear probe and nearest neighbour on action sets the weights never saw.

    python benchmarks/frozen_quality.py DATA_DIR --weights openmocap untrained

DATA_DIR holds ``nw-ucla.npz`` and ``msr-action3d.npz`` as packed corpora (see mamp/prepare/packed.py). Splits: NW-UCLA
trains on views 1 and 2 and tests on view 3; MSR-Action3D trains on odd subjects and tests on even ones. Embeddings are
standardised by the training half; the probe is a logistic regression (C = 0.1), the neighbour is the nearest in
Euclidean distance. Intervals are 95 % bootstrap intervals over the test clips. ``raw`` stands for the poses themselves:
30 frames of the normalised clip. ``untrained`` is the same encoder with fresh weights.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mamp import MAMPEncoder, Skeleton
from mamp.prepare.packed import read_packed
from mamp.preprocessing import prepare_clip

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


def features(weights: str, recordings: list[Skeleton], seed: int) -> np.ndarray:
    """One row a recording: its embedding, or its raw poses."""
    if weights == "raw":
        config = MAMPEncoder.from_pretrained("openmocap").config
        return np.stack([prepare_clip(r, config.preprocessing, 30)[0][0].flatten().numpy() for r in recordings])
    encoder = MAMPEncoder.from_pretrained("openmocap" if weights == "untrained" else weights)
    if weights == "untrained":
        torch.manual_seed(seed)
        encoder = MAMPEncoder(encoder.config)
    return np.asarray(encoder.encode(recordings, progress=True))


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


def main() -> None:
    """Measure and print one JSON line for each set and weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", nargs="+", default=["raw", "untrained", "openmocap"])
    parser.add_argument("--seed", type=int, default=0, help="seed of the untrained encoder")
    args = parser.parse_args()
    for name, is_train in SETS.items():
        recordings = read_set(args.data / f"{name}.npz")
        y = np.array([recording.info["label"] for recording in recordings])
        train = np.array([is_train(recording.info) for recording in recordings])
        for weights in args.weights:
            line = {"set": name, "weights": weights, **score(features(weights, recordings, args.seed), y, train)}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
