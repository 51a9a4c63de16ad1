"""Throughput of ``mamp embed`` from few to very many clips, a core and in all, with the memory of every process.

The clips are made up, 20 to 39 frames of one person, in a store; the encoder is small, so that what is around it shows.

python benchmarks/many.py --clips 1000 10000 100000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mamp import MAMPConfig, MAMPEncoder
from mamp.data import StoreWriter
from mamp.layouts import get_layout
from mamp.workers import cores


def main() -> None:
    """Write the store and the weights once, and embed more and more of the clips."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, nargs="+", default=[1_000, 3_000, 10_000, 30_000, 100_000])
    parser.add_argument("--workers", type=int, default=cores())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16)).save_pretrained(folder / "weights")
        for count in args.clips:
            write_store(folder / "store", count)
            print(json.dumps(measure(folder, count, args.workers)), flush=True)
            (folder / "out.npz").unlink()


def write_store(path: Path, count: int) -> None:
    """Clips of one person."""
    rng = np.random.default_rng(0)
    layout = get_layout("ntu25")
    noise = rng.normal(0, 0.4, (1, 64, len(layout.joints), 3)).astype(np.float32)
    for file in path.glob("*"):
        file.unlink()
    with StoreWriter(path, layout) as writer:
        for clip in range(count):
            writer.add(f"{clip:06}", noise[:, clip % 25 : clip % 25 + 20 + clip % 20] * (1 + clip / count), 30.0)


def measure(folder: Path, count: int, workers: int) -> dict[str, float]:
    """Seconds and memory of one command, in processes of its own."""
    command = [sys.executable, "-m", "mamp", "embed", str(folder / "store"), "-o", str(folder / "out.npz")]
    command += ["--weights", str(folder / "weights"), "--workers", str(workers)]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peaks: dict[int, float] = {}
    while process.poll() is None:
        for pid in below(process.pid):
            peaks[pid] = max(peaks.get(pid, 0), resident(pid))
        time.sleep(0.2)
    seconds = time.perf_counter() - began
    assert process.returncode == 0 and len(np.load(folder / "out.npz")["embeddings"]) == count
    others = [peak for pid, peak in peaks.items() if pid != process.pid]
    return {
        "clips": count,
        "seconds": round(seconds, 1),
        "clips a second and core": round(count / seconds / workers),
        "first process MB": round(peaks[process.pid]),
        "largest worker MB": round(max(others, default=0)),
    }


def below(pid: int) -> list[int]:
    """A process and those that it started, and so on."""
    found = [pid]
    for one in found:
        for task in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                found += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def resident(pid: int) -> float:
    """Megabytes that a process holds."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


if __name__ == "__main__":
    main()
