"""Clips a second of the training loader, against loaders that make one sample after another; and its memory.

    python benchmarks/loader.py [--clips 512] [--batch 128] [--rounds 9] [--grow 2000] [--json]
    python benchmarks/loader.py --gigabytes 10 [--workers 2] [--seconds 20]

Speed: crop, resize and rotation of the published recipe into two-person slots, from synthetic clips of NTU's kind (a
quarter with two people, 40 to 300 frames), on one core; and the same with our own recipe. Each loader makes whole
epochs in turns, and its median processor time counts, so that other work on the machine disturbs little. Everything is
measured with the default allocator and with one that is tuned to keep its memory.

Memory: with ``--gigabytes``, of a store larger than memory should have to hold, whose positions are a sparse file (it
takes no room on disk): peaks of resident memory, of anonymous pages (its own) and of file pages (libraries, and what it
has mapped), while threads read ahead.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from baseline import SampleDataset, save_padded
from numpy.typing import NDArray
from timing import fresh, in_turns, megabytes

from mamp.data import ClipStore, StoreWriter
from mamp.data.augment import Augmentation, augment
from mamp.data.loader import TrainingBatches
from mamp.data.store import FORMAT
from mamp.layouts import MODEL_LAYOUT
from mamp.train.recipes import get_recipe

FIELDS = {"rss": "VmRSS", "anonymous": "RssAnon", "file": "RssFile"}


def make_clips(number: int) -> list[NDArray[np.float32]]:
    """Random walks of NTU's lengths and number of people, [M, T, V, C]."""
    rng = np.random.default_rng(0)
    shapes = [(2 if clip % 4 == 0 else 1, int(rng.integers(40, 301)), 25, 3) for clip in range(number)]
    return [(rng.normal(size=shape) * 0.02).cumsum(axis=1).astype(np.float32) for shape in shapes]


def epoch(store: ClipStore, settings: Augmentation, batch: int, people: int, number: int = 0) -> None:
    """All batches of an epoch through our loader and augmentation."""
    for parts in TrainingBatches(store, settings, batch, people, "zeros", seed=0, epoch=number).load(0):
        augment(parts[0], settings, MODEL_LAYOUT, 120)


def growth(store: ClipStore, batch: int, batches: int) -> dict[str, float]:
    """Private memory after the first tenth of many batches, and how much it is more at the end."""
    per_epoch = len(store) // batch
    epochs = max(batches // per_epoch, 10)
    after = []
    for number in range(epochs):
        epoch(store, Augmentation(), batch, 2, number)
        after.append(megabytes("RssAnon"))
    early = after[epochs // 10]
    return {"batches": epochs * per_epoch, "private_mb": early, "growth_mb": after[-1] - early}


def measure(clips: int, batch: int, rounds: int, grow: int) -> dict[str, object]:
    """Speed, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recordings = make_clips(clips // batch * batch)
    ours = get_recipe("openmocap").config.augment
    with tempfile.TemporaryDirectory(prefix="mamp-loader-") as folder:
        with StoreWriter(Path(folder) / "store", MODEL_LAYOUT) as writer:
            for number, clip in enumerate(recordings):
                writer.add(f"clip-{number}", clip, 30.0)
        store = ClipStore(Path(folder) / "store")
        sample = SampleDataset(save_padded(Path(folder) / "padded.npz", recordings)).load(batch)
        grown = growth(store, batch, grow) if grow and megabytes("RssAnon") else None
        runs = {
            "per sample, torch": lambda: sum(1 for _ in sample),
            "mamp": lambda: epoch(store, Augmentation(), batch, 2),
            "mamp, openmocap recipe": lambda: epoch(store, ours, batch, 1),
        }
        seconds = in_turns(runs, rounds, time.process_time, warm=1)
    return {
        "tuned_allocator": "MALLOC_MMAP_THRESHOLD_" in os.environ,
        "batch": batch,
        "clips_a_second": {name: round(len(recordings) / value) for name, value in seconds.items()},
        "ratio_torch": round(seconds["per sample, torch"] / seconds["mamp"], 2),
        "memory": grown,
    }


def make_sparse_store(path: Path, gigabytes: float, seed: int = 0) -> Path:
    """A store as large as asked for: a real index of clips of NTU's lengths and people, and zeros for positions."""
    row_bytes = len(MODEL_LAYOUT.joints) * 3 * 4
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
    meta = {"format": FORMAT, "layout": MODEL_LAYOUT.name, "num_clips": clips, "num_rows": int(rows.sum())}
    (path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return path


def measure_memory(gigabytes: float, workers: int, seconds: float, batch: int) -> dict[str, float]:
    """Read batches of a large store for a while; peaks of memory, and clips a second."""
    with tempfile.TemporaryDirectory(prefix="mamp-loader-") as folder:
        store = ClipStore(make_sparse_store(Path(folder) / "store", gigabytes))
        before, peak = megabytes("VmRSS"), dict.fromkeys(FIELDS, 0.0)
        count, number, read = 0, 0, 0
        start = time.perf_counter()
        while time.perf_counter() < start + seconds:
            batches = TrainingBatches(store, Augmentation(), batch, 2, "zeros", seed=0, epoch=number)
            for parts in batches.load(workers):
                count += batch
                read += sum(part.rows.nbytes for part in parts)
                peak = {name: max(peak[name], megabytes(field)) for name, field in FIELDS.items()}
                if time.perf_counter() >= start + seconds:
                    break
            number += 1
        return {
            "store_gb": (store.path / "positions.bin").stat().st_size / 1e9,
            "clips": len(store),
            "before_mb": before,
            **{f"{name}_mb": value for name, value in peak.items()},
            "read_gb": read / 1e9,
            "clips_per_second": count / (time.perf_counter() - start),
        }


def main() -> None:
    """Measure in a process for each allocator, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=512, help="clips of the data set [%(default)s]")
    parser.add_argument("--batch", type=int, default=128, help="clips of a batch [%(default)s]")
    parser.add_argument("--rounds", type=int, default=9, help="epochs of each loader [%(default)s]")
    parser.add_argument("--grow", type=int, default=2000, help="batches over which memory must not grow [%(default)s]")
    parser.add_argument("--gigabytes", type=float, help="measure the memory over a store of this size instead")
    parser.add_argument("--workers", type=int, default=2, help="threads that read ahead [%(default)s]")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to read [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--here", action="store_true", help="measure in this process, with the allocator it has")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.clips, args.batch, args.rounds, args.grow)))
        return
    if args.gigabytes:
        print(json.dumps(measure_memory(args.gigabytes, args.workers, args.seconds, args.batch), indent=None))
        return
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    options = [f"--{name}={getattr(args, name)}" for name in ("clips", "batch", "rounds", "grow")]
    for tuned in (False, True):
        result = fresh(__file__, "--here", *options, tuned=tuned, **one)
        if args.json:
            print(json.dumps(result), flush=True)
            continue
        print("tuned allocator" if tuned else "default allocator")
        for name, rate in result["clips_a_second"].items():
            print(f"  {name:<24} {rate:>8,} clips/s")
        print(f"  {result['ratio_torch']} times the loader that makes one sample after another")
        if grown := result["memory"]:
            print("  private memory {private_mb:.0f} MB, {growth_mb:+.1f} MB over {batches} batches".format(**grown))


if __name__ == "__main__":
    main()
