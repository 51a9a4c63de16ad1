"""Which block to stop at and what to take of its tokens: frozen quality by depth and pooling.

    python benchmarks/pooling.py STORE [STORE ...] --weights openmocap@v1 --depths 2 4 6 8 --output pooling.json

The stores are labelled and have a split (``python -m mamp.prepare packed ... --test view=3``). Every clip goes through
the blocks once; after each of the depths the tokens are normalised and pooled. Probes are those of
``python -m mamp.evaluate logistic`` and ``knn``: standardised by the training clips, C = 0.1, nearest by cosine. With
``--every N`` each N-th clip is taken.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from sklearn.linear_model import LogisticRegression

from mamp import MAMPEncoder
from mamp.config import POOLINGS
from mamp.data import ClipStore
from mamp.evaluate.frozen import standardise
from mamp.evaluate.knn import similarity
from mamp.pooling import reduce_present
from mamp.preprocessing import prepare_clip

TOGETHER = ("+".join(POOLINGS),)


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


def probe(x: np.ndarray, labels: np.ndarray, train: np.ndarray) -> dict[str, float]:
    """Accuracy of logistic regression and nearest neighbour, per cent."""
    x = standardise(x, x[train]).astype(np.float64)
    linear = LogisticRegression(C=0.1, max_iter=2000).fit(x[train], labels[train]).score(x[~train], labels[~train])
    nearest = labels[train][similarity(x[~train], x[train], "cosine").argmax(axis=1)]
    return {"linear": round(100 * linear, 1), "1-NN": round(100 * float((nearest == labels[~train]).mean()), 1)}


def measure(encoder: MAMPEncoder, store: ClipStore, depths: list[int], every: int) -> dict[str, Any]:
    """Rows ``depth x pooling`` of a set."""
    clips = range(0, len(store), every)
    expected, frames = encoder.config.preprocessing, encoder.config.num_frames
    found = [pooled_by_depth(encoder, prepare_clip(store.recording(i), expected, frames)[0], depths) for i in clips]
    labels = store.columns["label"][list(clips)]
    train = store.columns["split"].astype(str)[list(clips)] == "train"
    rows = {}
    for depth in depths:
        columns = {how: np.stack([clip[depth, how] for clip in found]) for how in POOLINGS}
        for pooling in (*POOLINGS, *TOGETHER):
            x = np.concatenate([columns[how] for how in pooling.split("+")], axis=1)
            rows[f"{depth} x {pooling}"] = probe(x, labels, train)
    return {"train_clips": int(train.sum()), "test_clips": int((~train).sum()), "rows": rows}


def main() -> None:
    """Measure, and print as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="+", type=Path, metavar="STORE")
    parser.add_argument("--weights", default="openmocap@v1", help="[%(default)s]")
    parser.add_argument("--depths", nargs="+", type=int, default=[2, 4, 6, 8], help="[2 4 6 8]")
    parser.add_argument("--every", type=int, default=1, help="take each N-th clip [%(default)s]")
    parser.add_argument("--output", type=Path, help="a file to write too")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights)
    results = {path.name: measure(encoder, ClipStore(path), args.depths, args.every) for path in args.stores}
    text = json.dumps({"weights": args.weights, **results}, indent=1)
    print(text)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
