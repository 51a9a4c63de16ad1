"""One linear probe and one nearest neighbour for every benchmark, and three questions that they answer.

    python benchmarks/probe.py windows DATA_DIR [--windows 30 60]            a mean over windows against one pass
    python benchmarks/probe.py tokens DATA_DIR [--shares 1 0.5 0.25 0.1]     only the tokens that move most
    python benchmarks/probe.py depths STORE [STORE ...] --depths 2 4 6 8     which block to stop at, and what to pool

DATA_DIR holds ``nw-ucla.npz`` and ``msr-action3d.npz`` as packed corpora (mamp/prepare/packed.py). NW-UCLA trains on
views 1 and 2 and tests on view 3; MSR-Action3D trains on odd subjects and tests on even ones. STORE is labelled and has
a column ``split``. Embeddings are standardised by the training half; the probe is a logistic regression (C = 0.1). The
neighbour is the nearest in Euclidean distance for windows and tokens, by cosine for depths, as in ``python -m
mamp.evaluate knn``. Intervals are 95 % bootstrap intervals over the test clips. Windows overlap by half; none is one
pass, as the weights were trained. Seconds are those of the processor. One JSON line for each measurement; with
``--every N`` each N-th clip is taken. To evaluate weights on a prepared set, use ``python -m mamp.evaluate``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from sklearn.linear_model import LogisticRegression

from mamp import MAMPEncoder, Skeleton
from mamp.config import POOLINGS
from mamp.data import ClipStore
from mamp.evaluate.frozen import standardise
from mamp.evaluate.knn import Metric, similarity
from mamp.evaluate.scores import bootstrap_interval
from mamp.prepare.packed import read_packed
from mamp.preprocessing import prepare_clip
from mamp.transformer import reduce_present

# Which clips are for training.
SETS = {
    "nw-ucla": lambda info: info["view"] in (1, 2),
    "msr-action3d": lambda info: info["subject"] % 2 == 1,
    "hdm05-11": lambda info: info["fold"] == "train",
}
KINECT = ("nw-ucla", "msr-action3d")


def read_set(path: Path) -> list[Skeleton]:
    """Recordings of a set; in the Kinect sets a joint at exactly (0, 0, 0) was not tracked."""
    recordings = []
    for recording in read_packed(path):
        positions = recording.positions.copy()
        positions[~positions.any(axis=-1)] = np.nan
        if np.isfinite(positions).any():
            recordings.append(recording.replace(positions=positions))
    return recordings


def halves(name: str, recordings: Sequence[Skeleton]) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and which clips are for training."""
    labels = np.array([recording.info["label"] for recording in recordings])
    return labels, np.array([SETS[name](recording.info) for recording in recordings])


class Probe:
    """Logistic regression and nearest neighbour, fitted to embeddings [n, E] and their labels [n]."""

    def __init__(self, x: np.ndarray, labels: np.ndarray, metric: Metric = "euclidean") -> None:
        self.by, self.labels, self.metric = x, labels, metric
        self.x = standardise(x, x)
        self.linear = LogisticRegression(C=0.1, max_iter=2000).fit(self.x.astype(np.float64), labels)

    def hits(self, x: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Which test clips each of the two gets right."""
        x = standardise(x, self.by)
        nearest = self.labels[similarity(x, self.x, self.metric).argmax(axis=1)]
        return {"linear": self.linear.predict(x.astype(np.float64)) == labels, "neighbour": nearest == labels}

    def accuracy(self, x: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Accuracy of both, in per cent."""
        return {name: round(100 * float(hits.mean()), 1) for name, hits in self.hits(x, labels).items()}


def with_interval(hits: np.ndarray) -> dict[str, Any]:
    """Accuracy in per cent, and its interval."""
    return {"accuracy": round(100 * float(hits.mean()), 1), "interval": [round(x, 1) for x in bootstrap_interval(hits)]}


def score(x: np.ndarray, labels: np.ndarray, train: np.ndarray) -> dict[str, Any]:
    """Accuracy of linear probe and nearest neighbour, in per cent, with intervals."""
    hits = Probe(x[train], labels[train]).hits(x[~train], labels[~train])
    counts = {"train_clips": int(train.sum()), "test_clips": int((~train).sum())}
    return counts | {
        "linear": with_interval(hits["linear"]),
        "nearest_neighbour": with_interval(hits["neighbour"]),
    }


def measure_windows(encoder: MAMPEncoder, folder: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The mean over windows against one pass over the whole recording."""
    for name in args.sets:
        recordings = read_set(folder / f"{name}.npz")[:: args.every]
        for window in (None, *args.windows):
            start = time.process_time()
            stride = None if window is None else window // 2
            rows = [encoder.encode(recording, window=window, stride=stride) for recording in recordings]
            x = np.stack([np.nanmean(np.atleast_2d(row), axis=0) for row in rows])
            milliseconds = round(1e3 * (time.process_time() - start) / len(recordings), 1)
            line = {"set": name, "window": window, "milliseconds": milliseconds}
            yield line | score(x, *halves(name, recordings))


def measure_tokens(encoder: MAMPEncoder, folder: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Accuracy and speed with a share of the tokens; ``ratio`` is to the time of all of them."""
    for name in args.sets:
        recordings = read_set(folder / f"{name}.npz")[:: args.every]
        encoder.encode(recordings[:2])
        whole = None
        for share in args.shares:
            start = time.process_time()
            x = np.asarray(encoder.encode(recordings, token_share=share))
            seconds = time.process_time() - start
            whole = seconds if share == 1 else whole
            line = {
                "set": name,
                "token_share": share,
                "milliseconds_a_clip": round(1e3 * seconds / len(recordings), 1),
                "ratio": round(whole / seconds, 2) if whole else None,
            }
            yield line | score(x, *halves(name, recordings))


@torch.no_grad()
def pooled_by_depth(encoder: MAMPEncoder, x: torch.Tensor, depths: list[int]) -> dict[tuple[int, str], np.ndarray]:
    """Pooled tokens [D] of one clip [M, T, V, C], mean over people, by depth and way to pool."""
    found = {}
    h = rearrange(encoder.joints_embed(x) + encoder.pos_embed + encoder.temp_embed, "m t v d -> m (t v) d")
    for depth, block in enumerate(encoder.blocks, 1):
        h = block(h)
        if depth in depths:
            tokens = encoder.norm(h)
            for how in POOLINGS:
                found[depth, how] = reduce_present(tokens, 1, how).mean(dim=0).numpy()
    return found


def measure_depths(encoder: MAMPEncoder, path: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Accuracy by the block after which the tokens are normalised and pooled, and by the way to pool."""
    store = ClipStore(path)
    clips = list(range(0, len(store), args.every))
    expected, frames = encoder.config.preprocessing, encoder.config.num_frames
    found = [
        pooled_by_depth(encoder, torch.from_numpy(prepare_clip(store.recording(i), expected, frames)[0]), args.depths)
        for i in clips
    ]
    labels, train = store.columns["label"][clips], store.columns["split"].astype(str)[clips] == "train"
    for depth in args.depths:
        columns = {how: np.stack([clip[depth, how] for clip in found]) for how in POOLINGS}
        for pooling in (*POOLINGS, "+".join(POOLINGS)):
            x = np.concatenate([columns[how] for how in pooling.split("+")], axis=1)
            right = Probe(x[train], labels[train], "cosine").accuracy(x[~train], labels[~train])
            yield {"set": path.name, "depth": depth, "pooling": pooling, **right}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("windows", "tokens", "depths"))
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--sets", nargs="+", choices=KINECT, default=list(KINECT), help="[both]")
    parser.add_argument("--windows", type=int, nargs="+", default=[30, 60], help="frames [30 60]")
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.1])
    parser.add_argument("--depths", nargs="+", type=int, default=[2, 4, 6, 8], help="[2 4 6 8]")
    parser.add_argument("--every", type=int, default=1, help="take each N-th clip only [%(default)s]")
    parser.add_argument("--weights", help="[openmocap; for depths openmocap@v1]")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights or ("openmocap@v1" if args.what == "depths" else "openmocap"))
    measure = {"windows": measure_windows, "tokens": measure_tokens, "depths": measure_depths}[args.what]
    for path in args.data:
        for line in measure(encoder, path, args):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
