"""Encoding against the straightforward implementation, side by side in one run.

    python benchmarks/encode.py [--batches 1 8 32] [--mixes full ntu] [--rounds 5]
    python benchmarks/encode.py --growth [--picture docs/images/growth.png]

From recordings in memory to embeddings: ``full`` clips have two people, of ``ntu`` clips a quarter have two. The
baseline encodes everybody, the batch as a whole, in float32 with explicit attention. Ratios are of medians of
interleaved samples; above 1 is faster than the baseline. Everything is measured twice: with the allocator as it comes,
and tuned by environment variables so that it returns no memory. ``error`` is the largest difference of an embedding to
the baseline's; ``error_over_spread`` the mean distance to it over the mean distance between clips. ``peak_megabytes``
is what the process takes above its weights and recordings, each implementation in a process of its own.
``share_of_floor`` compares with the time that the matrix products alone would take, at the rate of one large product.

``--growth`` measures random walks: ``frames`` of one person in windows of 120, ``people`` in one clip of 120 frames,
and ``batch``, clips of one person of 120 frames: the median of interleaved samples in this process, and the largest
resident memory that each point added to a process of its own that had encoded one clip before.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from baseline import check_same, straightforward
from timing import fresh, in_turns, memory_peak

from mamp import MAMPEncoder, Preprocessing, Skeleton, kernels
from mamp.preprocessing import prepare_clip

FRAMES = 120
WEIGHTS = "openmocap@v1"  # of the published size, and the mean over tokens, which the baseline takes


def make_recordings(number: int, mix: str) -> list[Skeleton]:
    """Random walks; of ``ntu`` clips a quarter have two people, of ``full`` clips all."""
    rng = np.random.default_rng(0)
    recordings = []
    for clip in range(number):
        shape = (2 if mix == "full" or clip % 4 == 0 else 1, FRAMES, 25, 3)
        steps = rng.normal(size=shape) * rng.uniform(0.005, 0.05)
        recordings.append(Skeleton(rng.normal(size=(1, 1, 25, 3)) * 0.3 + steps.cumsum(axis=1), "ntu25", fps=30))
    return recordings


def build() -> MAMPEncoder:
    """Bundled weights with the preparation of the published ones: a second person is zeros when absent."""
    pretrained = MAMPEncoder.from_pretrained(WEIGHTS)
    encoder = MAMPEncoder(pretrained.config.replace(preprocessing=Preprocessing())).eval()
    encoder.load_state_dict(pretrained.state_dict())
    return encoder


def implementations(encoder: MAMPEncoder) -> dict[str, Callable[[list[Skeleton]], np.ndarray]]:
    """From recordings to embeddings [B, D], by name."""
    plain = straightforward(encoder)
    check_same(plain, encoder)

    @torch.no_grad()
    def baseline(recordings: list[Skeleton]) -> np.ndarray:
        expected = encoder.config.preprocessing
        x = torch.from_numpy(np.stack([prepare_clip(recording, expected, FRAMES)[0] for recording in recordings]))
        tokens = plain.encode_tokens(x.flatten(0, 1))
        return tokens.unflatten(0, x.shape[:2]).mean(dim=(1, 2)).numpy()

    return {
        "baseline": baseline,
        "float32": lambda recordings: np.asarray(encoder.encode(recordings)),
        "bfloat16": lambda recordings: np.asarray(encoder.encode(recordings, precision="bfloat16")),
    }


def in_batches(run: Callable[[list[Skeleton]], np.ndarray], batch: int) -> Callable[[list[Skeleton]], np.ndarray]:
    """The same, a batch at a time."""
    return lambda recordings: np.concatenate(
        [run(recordings[first : first + batch]) for first in range(0, len(recordings), batch)]
    )


def floor_seconds(encoder: MAMPEncoder, bodies: float) -> float:
    """Time of the matrix products of that many bodies, at the rate of one large product in float32."""
    config = encoder.config
    tokens, width = config.grid[0] * config.grid[1], config.dim_feat
    flops = bodies * config.depth * (2 * tokens * width**2 * (4 + 2 * config.mlp_ratio) + 4 * tokens**2 * width)
    x, weight = torch.randn(1536, 1024), torch.randn(1024, 1024)
    times = []
    with torch.no_grad():
        for _ in range(5):
            start = time.perf_counter()
            kernels.linear(x, weight, None)
            times.append(time.perf_counter() - start)
    return flops * min(times) / (2 * 1536 * 1024 * 1024)


def measure(batch: int, mix: str, rounds: int) -> dict[str, object]:
    """Times, ratios and errors of one batch."""
    encoder = build()
    recordings = make_recordings(max(batch, 4) if mix == "ntu" else batch, mix)
    runs = {name: in_batches(run, batch) for name, run in implementations(encoder).items()}
    results = {name: run(recordings) for name, run in runs.items()}
    seconds = in_turns({name: partial(run, recordings) for name, run in runs.items()}, rounds)
    expected = results["baseline"]
    bodies = sum(recording.num_people for recording in recordings)
    line: dict[str, object] = {
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "ratio_float32": round(seconds["baseline"] / seconds["float32"], 2),
        "ratio_bfloat16": round(seconds["baseline"] / seconds["bfloat16"], 2),
        "share_of_floor_float32": round(floor_seconds(encoder, bodies) / seconds["float32"], 2),
        "error_float32": float(abs(results["float32"] - expected).max()),
    }
    if len(recordings) > 1:
        spread = np.mean([np.linalg.norm(a - b) for i, a in enumerate(expected) for b in expected[:i]])
        error = np.linalg.norm(results["bfloat16"] - expected, axis=1).mean()
        line["bfloat16_error_over_spread"] = round(float(error / spread), 5)
    return line


def peak_megabytes(name: str, batch: int, mix: str) -> float:
    """Highest resident memory while encoding, above what there was before; Linux only."""
    recordings = make_recordings(batch, mix)
    run = implementations(build())[name]
    run(recordings[:1])  # what is loaded on first use
    return memory_peak(lambda: run(recordings))


# How the cost grows with the length of a recording, its people and the batch.
POINTS = {
    "frames": (30, 120, 480, 1920, 7680),
    "people": (1, 2, 4, 8, 16),
    "batch": (1, 4, 16, 64),
}


def encode_point(encoder: MAMPEncoder, what: str, number: int) -> None:
    """Encode one point."""
    frames, people, batch = (
        number if what == name else one for name, one in (("frames", 120), ("people", 1), ("batch", 1))
    )
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(people, frames, 25, 3), scale=0.02).cumsum(axis=1)
    recording = Skeleton(steps + rng.normal(size=(1, 1, 25, 3), scale=0.3), "ntu25", fps=30)
    encoder.encode([recording] * batch, batch_size=batch, window=120 if what == "frames" else None)


def measure_growth(rounds: int) -> list[dict[str, object]]:
    """Seconds and peak of each point."""
    encoder = MAMPEncoder.from_pretrained(WEIGHTS)
    encode_point(encoder, "people", 1)
    points = [(what, number) for what, numbers in POINTS.items() for number in numbers]
    seconds = in_turns({point: partial(encode_point, encoder, *point) for point in points}, rounds)
    return [
        {
            "grows": what,
            "number": number,
            "seconds": round(seconds[what, number], 4),
            "peak_megabytes": fresh(__file__, "--only", "growth", number, what),
        }
        for what, number in points
    ]


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
    """Measure and print one JSON line for each allocator, mix and batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--mixes", nargs="+", default=["full", "ntu"], choices=["full", "ntu"])
    parser.add_argument("--rounds", type=int, default=5, help="samples of each [%(default)s]")
    parser.add_argument("--growth", action="store_true", help="how the cost grows with frames, people and batch")
    parser.add_argument("--picture", type=Path, help="PNG of the growth to write")
    parser.add_argument("--only", nargs=3, metavar=("WHAT", "BATCH", "MIX"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        what, batch, mix = args.only[0], int(args.only[1]), args.only[2]
        if what == "growth":
            encoder = MAMPEncoder.from_pretrained(WEIGHTS)
            encode_point(encoder, "people", 1)
            print(json.dumps(memory_peak(lambda: encode_point(encoder, mix, batch))))
            return
        print(json.dumps(measure(batch, mix, args.rounds) if what == "times" else peak_megabytes(what, batch, mix)))
        return

    if args.growth:
        lines = measure_growth(args.rounds)
        for line in lines:
            print(json.dumps({**line, "threads": torch.get_num_threads()}))
        if args.picture:
            draw(lines, args.picture)
        return

    own = (__file__, "--rounds", args.rounds, "--only")
    for mix in args.mixes:
        for batch in args.batches:
            peaks = {name: fresh(*own, name, batch, mix) for name in ("baseline", "float32", "bfloat16")}
            for tuned in (False, True):
                head = {"mix": mix, "batch": batch, "threads": torch.get_num_threads(), "tuned_allocator": tuned}
                times = fresh(*own, "times", batch, mix, tuned=tuned)
                print(json.dumps({**head, **times, "peak_megabytes": peaks}), flush=True)


if __name__ == "__main__":
    main()
