"""Clips a second of the training loader, against loaders that make one sample after another.

Crop, resize and rotation of the published recipe into two-person slots, from synthetic clips of NTU's kind (a quarter
with two people, 40 to 300 frames), on one core; and the same with our own recipe. Each loader makes whole epochs in
turns, and its median processor time counts, so that other work on the machine disturbs little. Everything is measured
with the default allocator and with one that is tuned to keep its memory.

    python benchmarks/loader.py [--clips 512] [--batch 128] [--rounds 9] [--grow 2000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from baseline import NumpyDataset, SampleDataset, save_padded
from encode import TUNED
from numpy.typing import NDArray

from mamp.data import ClipStore, StoreWriter
from mamp.data.augment import Augmentation, augment
from mamp.data.loader import TrainingBatches
from mamp.layouts import MODEL_LAYOUT
from mamp.train.recipes import get_recipe


def make_clips(number: int) -> list[NDArray[np.float32]]:
    """Random walks of NTU's lengths and number of people, [M, T, V, C]."""
    rng = np.random.default_rng(0)
    shapes = [(2 if clip % 4 == 0 else 1, int(rng.integers(40, 301)), 25, 3) for clip in range(number)]
    return [(rng.normal(size=shape) * 0.02).cumsum(axis=1).astype(np.float32) for shape in shapes]


def epoch(store: ClipStore, settings: Augmentation, batch: int, people: int, number: int = 0) -> None:
    """All batches of an epoch through our loader and augmentation."""
    for parts in TrainingBatches(store, settings, batch, people, "zeros", seed=0, epoch=number).load(0):
        augment(parts[0], settings, MODEL_LAYOUT, 120)


def exhaust(batches: object) -> None:
    """All batches of another loader."""
    for _ in batches:  # type: ignore[attr-defined]
        pass


def microseconds_a_clip(loaders: dict[str, Callable[[], None]], clips: int, rounds: int) -> dict[str, float]:
    """Median processor time of each over epochs taken in turns; the first is not counted."""
    times: dict[str, list[float]] = {name: [] for name in loaders}
    for turn in range(rounds + 1):
        for name, run in loaders.items():
            start = time.process_time()
            run()
            if turn:
                times[name].append((time.process_time() - start) / clips * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def private_megabytes() -> float:
    """Anonymous resident memory of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) / 1024


def growth(store: ClipStore, batch: int, batches: int) -> dict[str, float]:
    """Private memory after the first tenth of many batches, and how much it is more at the end."""
    per_epoch = len(store) // batch
    epochs = max(batches // per_epoch, 10)
    after = []
    for number in range(epochs):
        epoch(store, Augmentation(), batch, 2, number)
        after.append(private_megabytes())
    early = after[epochs // 10]
    return {"batches": epochs * per_epoch, "private_mb": early, "growth_mb": after[-1] - early}


def measure(clips: int, batch: int, rounds: int, grow: int) -> dict[str, object]:
    """All numbers, in this process."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recordings = make_clips(clips // batch * batch)
    ours = get_recipe("openmocap").config.augment
    with tempfile.TemporaryDirectory(prefix="mamp-loader-") as folder:
        with StoreWriter(Path(folder) / "store", MODEL_LAYOUT) as writer:
            for number, clip in enumerate(recordings):
                writer.add(f"clip-{number}", clip, 30.0)
        store = ClipStore(Path(folder) / "store")
        padded = save_padded(Path(folder) / "padded.npz", recordings)
        grown = growth(store, batch, grow) if grow and Path("/proc/self/status").exists() else None
        sample, gather = SampleDataset(padded).load(batch), NumpyDataset(padded).load(batch)
        times = microseconds_a_clip(
            {
                "per sample, torch": lambda: exhaust(sample),
                "per sample, numpy": lambda: exhaust(gather),
                "mamp": lambda: epoch(store, Augmentation(), batch, 2),
                "mamp, openmocap recipe": lambda: epoch(store, ours, batch, 1),
            },
            len(recordings),
            rounds,
        )
    return {
        "tuned_allocator": "MALLOC_MMAP_THRESHOLD_" in os.environ,
        "batch": batch,
        "microseconds_a_clip": {name: round(value, 1) for name, value in times.items()},
        "clips_a_second": {name: round(1e6 / value) for name, value in times.items()},
        "ratio_torch": round(times["per sample, torch"] / times["mamp"], 2),
        "ratio_numpy": round(times["per sample, numpy"] / times["mamp"], 2),
        "memory": grown,
    }


def main() -> None:
    """Measure in a process for each allocator, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=512, help="clips of the data set [%(default)s]")
    parser.add_argument("--batch", type=int, default=128, help="clips of a batch [%(default)s]")
    parser.add_argument("--rounds", type=int, default=9, help="epochs of each loader [%(default)s]")
    parser.add_argument("--grow", type=int, default=2000, help="batches over which memory must not grow [%(default)s]")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser.add_argument("--here", action="store_true", help="measure in this process, with the allocator it has")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(args.clips, args.batch, args.rounds, args.grow)))
        return
    for extra in ({}, TUNED):
        plain = {name: value for name, value in os.environ.items() if name not in TUNED}
        environment = plain | extra | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        options = [f"--{name}={getattr(args, name)}" for name in ("clips", "batch", "rounds", "grow")]
        command = [sys.executable, __file__, "--here", *options]
        line = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        if args.json:
            print(line, end="")
            continue
        result = json.loads(line)
        print("tuned allocator" if extra else "default allocator")
        for name, rate in result["clips_a_second"].items():
            print(f"  {name:<24} {rate:>8,} clips/s  {result['microseconds_a_clip'][name]:>7} us a clip")
        print(f"  {result['ratio_torch']} times the loader in torch, {result['ratio_numpy']} times the one in numpy")
        if result["memory"]:
            print(
                "  private memory {private_mb:.0f} MB, {growth_mb:+.1f} MB over {batches} batches".format(
                    **result["memory"]
                )
            )


if __name__ == "__main__":
    main()
