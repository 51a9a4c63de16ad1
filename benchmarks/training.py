"""Pre-training step and loader against the straightforward implementation, side by side in one run.

    python benchmarks/training.py [--clips 8] [--rounds 7]

Synthetic clips of NTU's size (30 to 300 frames, a quarter with two people), the published 8 + 3 model. Ratios are of
medians of interleaved samples; above 1 is faster than the baseline. ``same`` is the largest difference of a gradient
between the two, over the largest entry of that gradient. Set ``MALLOC_MMAP_THRESHOLD_=4294967296``,
``MALLOC_TRIM_THRESHOLD_=4294967296`` and ``MALLOC_TOP_PAD_=268435456`` to measure with a tuned allocator.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from baseline import PaddedFeeder, with_explicit_attention

from mamp.data import ClipStore, StoreWriter
from mamp.data.augment import augment
from mamp.data.loader import TrainingBatches
from mamp.layouts import MODEL_LAYOUT
from mamp.train.recipes import get_recipe


def make_clips(number: int) -> list[np.ndarray]:
    """Random walks of NTU's lengths and number of people, [M, T, V, C]."""
    rng = np.random.default_rng(0)
    clips = []
    for clip in range(number):
        shape = (2 if clip % 4 == 0 else 1, int(rng.integers(30, 300)), 25, 3)
        clips.append((rng.normal(size=shape) * 0.02).cumsum(axis=1).astype(np.float32))
    return clips


def interleaved(samples: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in samples}
    for turn in range(rounds + 1):
        for name, run in samples.items():
            start = time.perf_counter()
            run()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8, help="clips of a step [%(default)s]")
    parser.add_argument("--rounds", type=int, default=7, help="samples of each [%(default)s]")
    args = parser.parse_args()
    config = get_recipe("ntu60-xsub").config
    clips = make_clips(512)
    torch.manual_seed(0)
    model = config.build_model()
    plain = with_explicit_attention(model)
    feeder = PaddedFeeder(clips, people=2, num_frames=120)
    with tempfile.TemporaryDirectory() as folder:
        with StoreWriter(Path(folder) / "store", MODEL_LAYOUT) as writer:
            for number, clip in enumerate(clips):
                writer.add(f"clip-{number}", clip, 30.0)
        batches = TrainingBatches(ClipStore(Path(folder) / "store"), config.augment, 128, 2, "zeros", 0, 0)

        def load() -> torch.Tensor:
            return augment(batches[0][0], config.augment, MODEL_LAYOUT, 120).x

        loader = interleaved({"baseline": lambda: feeder.batch(list(range(128))), "mamp": load}, args.rounds)
        x = load()[: args.clips]
    noise = torch.rand(args.clips * 2, 750)

    def step(network: torch.nn.Module, bfloat16: bool = False) -> None:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = network(x, noise).loss
        loss.backward()

    steps = interleaved(
        {
            "baseline": lambda: step(plain),
            "float32": lambda: step(model),
            "bfloat16": lambda: step(model, bfloat16=True),
        },
        args.rounds,
    )
    step(plain)
    step(model)
    theirs = {name: parameter.grad for name, parameter in plain.named_parameters()}
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    same = max(float((theirs[name] - ours[name]).abs().max() / theirs[name].abs().max()) for name in theirs)
    result = {
        "threads": torch.get_num_threads(),
        "tuned_allocator": "MALLOC_MMAP_THRESHOLD_" in os.environ,
        "clips_of_a_step": args.clips,
        "step_seconds": {name: round(value, 4) for name, value in steps.items()},
        "step_ratio_float32": round(steps["baseline"] / steps["float32"], 2),
        "step_ratio_bfloat16": round(steps["baseline"] / steps["bfloat16"], 2),
        "same": same,
        "loader_seconds_128_clips": {name: round(value, 4) for name, value in loader.items()},
        "loader_ratio": round(loader["baseline"] / loader["mamp"], 2),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
