"""Accuracy on incomplete clips of probes that were trained on complete ones, and with fewer tokens.

    python benchmarks/incomplete.py STORE [STORE ...] [--weights openmocap] [--every 1]

STORE is labelled (``label``, or else ``content``; classes with fewer than five training clips are left out) and has a
column ``split``; each N-th clip is taken. Prints a JSON line for each condition: top-1 accuracy in per cent of a
logistic regression (C = 0.01) and of the nearest neighbour, by Euclidean distance, both of standardised embeddings.
Joints and stretches of time are missing from the test clips only. With fewer tokens (``token_share``), ``whole`` has
probes of complete training clips, ``alike`` those of training clips with as few tokens.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
from robustness import MISSING
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mamp import MAMPEncoder, Skeleton
from mamp.data import ClipStore

LOST = ("left arm", "both legs", "one stretch of 50 % of the time", "50 % of joints")
SHARES = (0.5, 0.25)


class Probes:
    """Linear probe and nearest neighbour of embeddings [n, E]."""

    def __init__(self, x: np.ndarray, labels: np.ndarray) -> None:
        ways = {"linear": LogisticRegression(C=0.01, max_iter=1000), "neighbour": KNeighborsClassifier(1)}
        self.probes = {name: make_pipeline(StandardScaler(), probe).fit(x, labels) for name, probe in ways.items()}

    def accuracy(self, x: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Top-1 accuracy of both, in per cent."""
        return {name: round(100 * float(probe.score(x, labels)), 1) for name, probe in self.probes.items()}


def clips_of(path: Path, every: int) -> tuple[list[Skeleton], np.ndarray, np.ndarray]:
    """Clips in the model's joints, labels, and which are for training."""
    store = ClipStore(path)
    clips = np.arange(0, len(store), every)
    labels = store.columns["label" if "label" in store.columns else "content"].astype(str)[clips]
    train = store.columns["split"].astype(str)[clips] == "train"
    counts = Counter(labels[train])
    kept = np.array([counts[label] >= 5 for label in labels])
    return [store.recording(int(clip)) for clip in clips[kept]], labels[kept], train[kept]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE")
    parser.add_argument("--weights", default="openmocap")
    parser.add_argument("--every", type=int, default=1)
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights)
    for path in args.stores:
        clips, labels, train = clips_of(path, args.every)
        test = [clip for clip, here in zip(clips, train, strict=True) if not here]
        x = np.asarray(encoder.encode(clips))
        whole = Probes(x[train], labels[train])
        found = {"nothing": whole.accuracy(x[~train], labels[~train])}
        for name in LOST:
            lost = [MISSING[name](clip, np.random.default_rng([1, number])) for number, clip in enumerate(test)]
            found[name] = whole.accuracy(np.asarray(encoder.encode(lost)), labels[~train])
        for share in SHARES:
            x = np.asarray(encoder.encode(clips, token_share=share))
            found[f"token_share {share}, whole"] = whole.accuracy(x[~train], labels[~train])
            found[f"token_share {share}, alike"] = Probes(x[train], labels[train]).accuracy(x[~train], labels[~train])
        for name, accuracy in found.items():
            print(json.dumps({"weights": args.weights, "set": path.name, "missing": name, **accuracy}), flush=True)


if __name__ == "__main__":
    main()
