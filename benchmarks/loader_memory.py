"""Memory and speed of the training loader over a store larger than memory should have to hold.

Makes a store whose positions are a sparse file (it takes no room on disk), reads training batches from it with
threads that read ahead, and watches the resident memory of every process: anonymous pages (its own) and file pages
(libraries, and what it has mapped). The sum counts a page that processes share once for each: it is an upper bound.

    python benchmarks/loader_memory.py [--gigabytes 10] [--workers 2] [--seconds 20] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from mamp.data.augment import Augmentation
from mamp.data.loader import TrainingBatches
from mamp.data.store import FORMAT, ClipStore
from mamp.layouts import get_layout

FIELDS = {"VmRSS": "rss", "RssAnon": "anonymous", "RssFile": "file"}


def make_sparse_store(path: Path, gigabytes: float, seed: int = 0) -> Path:
    """A store as large as asked for: a real index of clips of NTU's lengths and people, and zeros for positions."""
    layout = get_layout("ntu25")
    row_bytes = len(layout.joints) * 3 * 4
    rng = np.random.default_rng(seed)
    frames = rng.integers(32, 300, size=int(gigabytes * 1e9 / (100 * row_bytes))).astype(np.int32)
    people = rng.choice([1, 2], size=len(frames), p=[0.8, 0.2]).astype(np.int16)
    rows = frames.astype(np.int64) * people
    clips = int(np.searchsorted(rows.cumsum(), gigabytes * 1e9 / row_bytes)) + 1
    frames, people, rows = frames[:clips], people[:clips], rows[:clips]
    path.mkdir(parents=True)
    np.savez(
        path / "clips.npz",
        name=np.array([f"clip-{i:07d}" for i in range(clips)]),
        first_row=rows.cumsum() - rows,
        people=people,
        frames=frames,
        fps=np.full(clips, 30, np.float32),
        label=rng.integers(0, 60, clips),
    )
    with (path / "positions.bin").open("wb") as file:
        file.truncate(int(rows.sum()) * row_bytes)
    meta = {"format": FORMAT, "layout": layout.name, "num_clips": clips, "num_rows": int(rows.sum())}
    (path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return path


def processes() -> list[int]:
    """This process and those it started."""
    found = [os.getpid()]
    for pid in found:
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (thread / "children").read_text().split()]
    return found


def memory() -> dict[int, dict[str, float]]:
    """Resident megabytes of each process, by kind."""
    result = {}
    for pid in processes():
        with contextlib.suppress(OSError):
            lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
            result[pid] = {name: int(lines[key].split()[0]) / 1024 for key, name in FIELDS.items() if key in lines}
    return result


def measure(path: Path, workers: int, seconds: float, batch_size: int = 128) -> dict[str, float]:
    """Read batches for a while; peaks of memory over all processes, and clips a second."""
    store = ClipStore(path)
    before = memory()[os.getpid()]["rss"]
    peak = {f"{kind}_{what}": 0.0 for kind in FIELDS.values() for what in ("largest", "sum")}
    count, epoch, read = 0, 0, 0
    start = time.perf_counter()
    while time.perf_counter() < start + seconds:
        batches = TrainingBatches(store, Augmentation(), batch_size, 2, "zeros", seed=0, epoch=epoch)
        for batch in batches.load(workers):
            count += batch_size
            read += sum(part.rows.nbytes for part in batch)
            now = memory().values()
            for kind in FIELDS.values():
                values = [process.get(kind, 0.0) for process in now]
                peak[f"{kind}_largest"] = max(peak[f"{kind}_largest"], *values)
                peak[f"{kind}_sum"] = max(peak[f"{kind}_sum"], sum(values))
            if time.perf_counter() >= start + seconds:
                break
        epoch += 1
    took = time.perf_counter() - start
    return {
        "store_gb": (path / "positions.bin").stat().st_size / 1e9,
        "clips": len(store),
        "workers": workers,
        "before_mb": before,
        **{f"{name}_mb": value for name, value in peak.items()},
        "read_gb": read / 1e9,
        "clips_per_second": count / took,
        "seconds": took,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the store (default 10)")
    parser.add_argument("--workers", type=int, default=2, help="threads that read ahead (default 2)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to read (default 20)")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mamp-loader-") as folder:
        store = make_sparse_store(Path(folder) / "store", options.gigabytes)
        result = measure(store, options.workers, options.seconds)
    if options.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:>20}  {value:,.1f}" if isinstance(value, float) else f"{name:>20}  {value:,}")


if __name__ == "__main__":
    main()
