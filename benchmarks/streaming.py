"""Latency and memory of ``StreamingEncoder``: what a frame costs, what an embedding costs, and a day of frames.

    python benchmarks/streaming.py [--weights openmocap] [--embeddings 30] [--frames 200000]

Prints JSON: milliseconds of a ``push`` without and with an embedding (median and 95th percentile; wall time, and CPU
time of this process, which does not depend on what else runs), for one and two people, and the growth of the process
over many frames. ``real_time`` is how many streams of 30 frames a second with a hop of 10 one process keeps up with.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

from mamp import MAMPConfig, MAMPEncoder, Preprocessing
from mamp.streaming import StreamingEncoder

FPS, WINDOW, HOP = 30, 120, 10


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    return {
        "median": round(1000 * float(np.median(seconds)), 3),
        "p95": round(1000 * float(np.quantile(seconds, 0.95)), 3),
    }


def timed(call: Callable[[np.ndarray], object], frame: np.ndarray) -> tuple[float, float, object]:
    """Wall and CPU seconds of a call, and what it returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call(frame)
    return time.perf_counter() - wall, time.process_time() - cpu, result


def latency(encoder: MAMPEncoder, people: int, embeddings: int) -> dict[str, object]:
    """Time pushes until there are so many embeddings."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(people, 1, 25, 3)) + 0.02 * rng.normal(size=(people, 600, 25, 3)).cumsum(axis=1)
    frames = np.ascontiguousarray(x.swapaxes(0, 1), np.float32)
    live = StreamingEncoder(encoder, FPS, WINDOW, HOP, layout="ntu25")
    for number in range(WINDOW + HOP):
        live.push(frames[number])
    pushes: list[float] = []
    walls: list[float] = []
    cpus: list[float] = []
    for number in itertools.count():
        if len(walls) == embeddings:
            break
        wall, cpu, result = timed(live.push, frames[number % len(frames)])
        if result is None:
            pushes.append(wall)
        else:
            walls.append(wall)
            cpus.append(cpu)
    return {
        "people": people,
        "push_ms": spread(pushes),
        "embedding_ms": spread(walls),
        "embedding_cpu_ms": spread(cpus),
        "real_time": round(HOP / FPS / float(np.median(cpus)), 1),
    }


def growth(frames: int) -> dict[str, object]:
    """Push many frames through a tiny encoder, and see what the process has grown by."""
    torch.manual_seed(0)
    expected = Preprocessing(max_people=None, absent_person="none")
    tiny = MAMPEncoder(MAMPConfig(dim_feat=16, depth=1, num_heads=2, num_frames=16, preprocessing=expected)).eval()
    live = StreamingEncoder(tiny, FPS, WINDOW, WINDOW, layout="ntu25")
    x = np.random.default_rng(0).normal(size=(600, 25, 3)).astype(np.float32)

    def push(number: int) -> int:
        for frame in range(number):
            live.push(x[frame % len(x)])
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

    before = push(10 * WINDOW)
    return {"frames": frames, "hours": round(frames / FPS / 3600, 1), "grown_kib": push(frames) - before}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="openmocap", help="[%(default)s]")
    parser.add_argument("--embeddings", type=int, default=30, help="to time, for each number of people [%(default)s]")
    parser.add_argument("--frames", type=int, default=200_000, help="to look for growth [%(default)s]")
    args = parser.parse_args()
    encoder = MAMPEncoder.from_pretrained(args.weights)
    result = {
        "threads": torch.get_num_threads(),
        "window": WINDOW,
        "hop": HOP,
        "latency": [latency(encoder, people, args.embeddings) for people in (1, 2)],
        "memory": growth(args.frames),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
