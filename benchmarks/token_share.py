"""Encoding only the tokens that move most: what it costs in accuracy, and what it gains in speed.

    python benchmarks/token_share.py DATA_DIR [--shares 1 0.5 0.25 0.1] [--every 1]

DATA_DIR, splits, linear probe and nearest neighbour are those of ``probe.py``. ``ratio`` compares the time of
encoding the whole set with that of all tokens, by the time of the process. One JSON line for each set and share.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from probe import SETS, read_set, score

from mamp import MAMPEncoder


def main() -> None:
    """Measure and print one JSON line for each set and share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--shares", type=float, nargs="+", default=[1.0, 0.5, 0.25, 0.1])
    parser.add_argument("--weights", default="openmocap")
    parser.add_argument("--every", type=int, default=1, help="take every n-th recording only, for a quick look")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights)
    for name, is_train in SETS.items():
        recordings = read_set(args.data / f"{name}.npz")[:: args.every]
        y = np.array([recording.info["label"] for recording in recordings])
        train = np.array([is_train(recording.info) for recording in recordings])
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
                **score(x, y, train),
            }
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
