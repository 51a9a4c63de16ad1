"""What each kind of attention costs with the length of a clip: time of the processor and memory of one clip.

    python benchmarks/attention.py [--frames 30 120 480 1200] [--width 128 --blocks 3]

One person of 25 joints, tokens of 4 frames of a joint, random weights, one thread, float32, without gradients. Time is
that of the processor and not of the clock, so that other programs matter less; memory is how far the largest resident
size of a process of its own grows while it encodes a second clip. The median and the range of some repetitions.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import statistics
import time
from multiprocessing import get_context
from pathlib import Path
from typing import get_args

import torch

from mamp import MAMPConfig, MAMPEncoder
from mamp.config import Attending
from mamp.evaluate.page import markdown_table
from mamp.train.memory import resident_bytes


def largest() -> int:
    """Largest resident size since it was last reset, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@torch.no_grad()
def measure(kind: Attending, frames: int, width: int, blocks: int, repeats: int) -> tuple[list[float], float]:
    """Milliseconds of each repetition, and MB."""
    config = MAMPConfig(num_frames=frames, dim_feat=width, depth=blocks, num_heads=4, attention=kind)
    encoder, x = MAMPEncoder(config).eval(), torch.randn(1, 1, frames, 25, 3)
    encoder(x)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident_bytes() or 0
    encoder(x)
    grown, found = largest() - before, []
    for _ in range(repeats):
        began = time.process_time()
        encoder(x)
        found.append(1000 * (time.process_time() - began))
    return found, grown / 1e6


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", nargs="+", type=int, default=[30, 120, 480, 1200])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for frames in args.frames:
        length = frames // 4 * 4
        for kind in get_args(Attending):
            with get_context("fork").Pool(1) as pool:
                times, memory = pool.apply(measure, (kind, length, args.width, args.blocks, args.repeats))
            spread = f"{statistics.median(times):.0f} ({min(times):.0f} to {max(times):.0f})"
            rows.append([length, length // 4 * 25, kind, spread, f"{memory:.0f}"])
            print(rows[-1], flush=True)
    print("\n".join(markdown_table(["frames", "tokens", "attention", "ms", "MB"], rows)))


if __name__ == "__main__":
    main()
