"""Long recordings: the mean over windows against one pass over the whole, by linear probe and nearest neighbour.

    python benchmarks/long_recordings.py DATA_DIR [--windows 30 60] [--every 1]

DATA_DIR, splits, linear probe and nearest neighbour are those of ``probe.py``. Windows overlap by half.
``milliseconds`` is processor time a clip. One JSON line for each set and window; none is one pass, as the weights were
trained.
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
    """Measure and print one JSON line for each set and window."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS), help="[both]")
    parser.add_argument("--windows", type=int, nargs="+", default=[30, 60], help="frames [30 60]")
    parser.add_argument("--every", type=int, default=1, help="take every n-th recording only, for a quick look")
    parser.add_argument("--weights", default="openmocap", help="[%(default)s]")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights)
    for name in args.sets:
        recordings = read_set(args.data / f"{name}.npz")[:: args.every]
        y = np.array([recording.info["label"] for recording in recordings])
        train = np.array([SETS[name](recording.info) for recording in recordings])
        for window in (None, *args.windows):
            start = time.process_time()
            stride = None if window is None else window // 2
            rows = [encoder.encode(recording, window=window, stride=stride) for recording in recordings]
            x = np.stack([np.nanmean(np.atleast_2d(row), axis=0) for row in rows])
            milliseconds = 1e3 * (time.process_time() - start) / len(recordings)
            line = {"set": name, "window": window, "milliseconds": round(milliseconds, 1), **score(x, y, train)}
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
