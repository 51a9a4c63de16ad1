"""How the cost of ``encode`` grows with the length of a recording, its people, and the batch.

    python benchmarks/growth.py [--picture docs/images/growth.png]

Random walks and bundled weights of the published size. ``frames``: one person, windows of 120 frames; ``people``: one
clip of 120 frames; ``batch``: clips of one person, 120 frames. Each point is the median of interleaved samples in this
process, and the largest resident memory that it added to a process of its own that had encoded one clip before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from encode import WEIGHTS, memory_peak

from mamp import MAMPEncoder, Skeleton

POINTS = {
    "frames": (30, 120, 480, 1920, 7680),
    "people": (1, 2, 4, 8, 16),
    "batch": (1, 4, 16, 64),
}


def encode(encoder: MAMPEncoder, what: str, number: int) -> None:
    """Encode one point."""
    frames, people, batch = (
        number if what == name else one for name, one in (("frames", 120), ("people", 1), ("batch", 1))
    )
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(people, frames, 25, 3), scale=0.02).cumsum(axis=1)
    recording = Skeleton(steps + rng.normal(size=(1, 1, 25, 3), scale=0.3), "ntu25", fps=30)
    encoder.encode([recording] * batch, batch_size=batch, window=120 if what == "frames" else None)


def measure(rounds: int) -> list[dict[str, object]]:
    """Seconds and peak of each point."""
    encoder = MAMPEncoder.from_pretrained(WEIGHTS)
    encode(encoder, "people", 1)
    points = [(what, number) for what, numbers in POINTS.items() for number in numbers]
    seconds: dict[tuple[str, int], list[float]] = {point: [] for point in points}
    for _ in range(rounds):
        for point in points:
            start = time.perf_counter()
            encode(encoder, *point)
            seconds[point].append(time.perf_counter() - start)
    lines = []
    for what, number in points:
        command = [sys.executable, __file__, "--only", what, str(number)]
        peak = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        median = statistics.median(seconds[what, number])
        lines.append({"grows": what, "number": number, "seconds": round(median, 4), "peak_megabytes": peak})
    return lines


def draw(lines: list[dict[str, object]], path: Path) -> None:
    """One panel for each thing that grows: seconds, and megabytes on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(POINTS), figsize=(11, 3.2), layout="constrained")
    for panel, what in zip(panels, POINTS, strict=True):
        mine = [line for line in lines if line["grows"] == what]
        numbers = [line["number"] for line in mine]
        panel.loglog(numbers, [line["seconds"] for line in mine], "o-", color="tab:blue")
        panel.set_xlabel({"frames": "frames (windows of 120)", "people": "people", "batch": "clips a batch"}[what])
        panel.set_ylabel("seconds", color="tab:blue")
        panel.set_xticks(numbers, [str(number) for number in numbers])
        panel.minorticks_off()
        memory = panel.twinx()
        memory.plot(numbers, [line["peak_megabytes"] for line in mine], "s--", color="tab:orange")
        memory.set_ylabel("MB above the weights", color="tab:orange")
        memory.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure, print one JSON line a point, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="samples of each point [%(default)s]")
    parser.add_argument("--picture", type=Path, help="PNG to write")
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        encoder = MAMPEncoder.from_pretrained(WEIGHTS)
        encode(encoder, "people", 1)
        print(json.dumps(memory_peak(lambda: encode(encoder, args.only[0], int(args.only[1])))))
        return
    lines = measure(args.rounds)
    for line in lines:
        print(json.dumps({**line, "threads": torch.get_num_threads()}))
    if args.picture:
        draw(lines, args.picture)


if __name__ == "__main__":
    main()
