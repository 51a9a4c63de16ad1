"""Pre-training step against the straightforward implementation.

    python benchmarks/training.py [--clips 8] [--rounds 7]

Synthetic clips of NTU's size, a quarter with two people, and the model of the recipe ``ntu60-xsub``: forward and
backward of the model, and ``whole`` steps of ``python -m mamp.train``, which shares clips among threads and takes a
step of the optimiser. Each implementation runs in processes of its own, in turns; ratios are of medians, above 1 is
faster than the baseline. Measured with the allocator as it comes, and tuned by environment variables so that it returns
no memory. ``same`` is the norm of the difference of their gradients over the norm of the gradient; ``peak_megabytes``
is what the process takes above its weights and clips.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from baseline import straightforward
from busy import make_store, make_trainer
from timing import fresh, memory_peak

from mamp.pretraining import MAMPForPretraining
from mamp.train.recipes import get_recipe

NAMES = ("baseline", "float32", "bfloat16")


def build(name: str) -> MAMPForPretraining:
    """The model by implementation, always with the same weights."""
    torch.manual_seed(0)
    model = get_recipe("ntu60-xsub").config.build_model()
    return straightforward(model) if name == "baseline" else model


def make_batch(clips: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips [B, 2, 120, 25, 3], three quarters with nobody in the second place, and the noise of the mask."""
    generator = torch.Generator().manual_seed(1)
    x = (torch.randn(clips, 2, 120, 25, 3, generator=generator) * 0.02).cumsum(dim=2)
    x[torch.arange(clips) % 4 > 0, 1] = 0
    return x, torch.rand(clips * 2, 750, generator=generator)


def step(name: str, model: MAMPForPretraining, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Forward and backward."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=name == "bfloat16"):
        loss = model(*batch).loss
    loss.backward()


def worker(name: str, clips: int, rounds: int) -> dict[str, object]:
    """Seconds of each step, and the peak of memory."""
    model, batch = build(name), make_batch(clips)
    step(name, model, make_batch(1))
    peak = memory_peak(lambda: step(name, model, batch))
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        step(name, model, batch)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "whole": whole_steps(name, clips, rounds), "peak_megabytes": peak}


def whole_steps(name: str, clips: int, rounds: int) -> list[float]:
    """Seconds of each step of a trainer; the baseline takes the batch at once."""
    with tempfile.TemporaryDirectory(prefix="mamp-training-") as folder:
        store = make_store(Path(folder) / "store", clips, 2)
        plain = name == "baseline"
        trainer = make_trainer(
            store,
            clips,
            "bfloat16" if name == "bfloat16" else "float32",
            straightforward if plain else lambda model: model,
        )
        trainer.shares_work = not plain
        batch, seconds = trainer.batches(0)[0], []
        for _ in range(rounds + 1):
            start = time.perf_counter()
            trainer.train_step(batch)
            seconds.append(time.perf_counter() - start)
    return seconds[1:]


def gradient_difference(clips: int) -> float:
    """Norm of the difference of the gradients of the two in float32, relative to the norm of the gradient."""
    gradients = []
    for name in ("baseline", "float32"):
        model = build(name)
        step(name, model, make_batch(clips))
        gradients.append(
            torch.cat([p.grad.flatten() for _, p in sorted(model.named_parameters()) if p.grad is not None])
        )
    return float((gradients[0] - gradients[1]).norm() / gradients[0].norm())


def main() -> None:
    """Measure and print one JSON line for each allocator."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8, help="clips of a step [%(default)s]")
    parser.add_argument("--rounds", type=int, default=7, help="steps of a process [%(default)s]")
    parser.add_argument("--turns", type=int, default=2, help="processes of each implementation [%(default)s]")
    parser.add_argument("--only", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(worker(args.only, args.clips, args.rounds)))
        return
    same = gradient_difference(args.clips)
    for tuned in (False, True):
        seconds: dict[str, list[float]] = {name: [] for name in NAMES}
        whole: dict[str, list[float]] = {name: [] for name in NAMES}
        peaks: dict[str, float] = {}
        for _ in range(args.turns):
            for name in NAMES:
                own = ("--only", name, "--clips", args.clips, "--rounds", args.rounds)
                found = fresh(__file__, *own, tuned=tuned)
                seconds[name] += found["seconds"]
                whole[name] += found["whole"]
                peaks[name] = found["peak_megabytes"]
        median, step_median = (
            {name: statistics.median(values) for name, values in each.items()} for each in (seconds, whole)
        )
        line = {
            "threads": torch.get_num_threads(),
            "tuned_allocator": tuned,
            "clips": args.clips,
            "seconds": {name: round(value, 4) for name, value in median.items()},
            "ratio_float32": round(median["baseline"] / median["float32"], 2),
            "ratio_bfloat16": round(median["baseline"] / median["bfloat16"], 2),
            "whole_seconds": {name: round(value, 4) for name, value in step_median.items()},
            "whole_ratio_float32": round(step_median["baseline"] / step_median["float32"], 2),
            "whole_ratio_bfloat16": round(step_median["baseline"] / step_median["bfloat16"], 2),
            "peak_megabytes": peaks,
            "same": same,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
