"""What a GPU gets out of this package: run once, prints the table.

    python benchmarks/gpu.py [--device cuda] [--rounds 10] [-o table.md]

``encode``: a batch of 256 clips of two people by an encoder of the published size, against the floor: the time of its
matrix products at the rate of one large product in the same precision. The network alone, with clips that are on the
device, and ``encode`` from recordings in memory. ``training``: steps of the recipe ``ntu60-xsub`` on a store of the
size of NTU RGB+D 60 (40,091 random walks of 40 to 300 frames, a quarter with two people), loader, augmentation and
optimiser included, as a share of the peak: the rate of one large product. Differences to the CPU: the largest of an
embedding, and that of the gradient relative to its norm. How often a step waits for the device: once is expected.

``--tiny`` is the same in seconds, with small models and few clips, to see that it works; ``--device cpu`` too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mamp import MAMPEncoder, Skeleton
from mamp.config import MAMPConfig
from mamp.data import StoreWriter
from mamp.layouts import MODEL_LAYOUT
from mamp.train.config import TrainConfig
from mamp.train.distributed import world
from mamp.train.engine import Trainer
from mamp.train.recipes import get_recipe

Row = tuple[str, str, str]


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    batch: int = 256
    product: int = 8192
    clips: int = 40_091
    training_batch: int = 128
    width: int = 256
    depth: int = 8
    frames: int = 120


TINY = Sizes(batch=4, product=256, clips=12, training_batch=4, width=32, depth=2, frames=16)


def seconds(device: torch.device, run: Callable[[], object], rounds: int) -> float:
    """Median time of something, until the device is done with it; the first two times are not counted."""
    times = []
    for turn in range(rounds + 2):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        times += [time.perf_counter() - start] if turn > 1 else []
    return statistics.median(times)


def wait(device: torch.device) -> None:
    """Wait until a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(device: torch.device, size: int, dtype: torch.dtype, rounds: int) -> float:
    """Operations a second of one large matrix product."""
    x, y = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds(device, lambda: x @ y, rounds)


def recordings(sizes: Sizes) -> list[Skeleton]:
    """Random walks of two people."""
    rng = np.random.default_rng(0)
    walks = rng.normal(size=(sizes.batch, 2, sizes.frames, 25, 3), scale=0.02).cumsum(axis=2)
    return [Skeleton(walk + rng.normal(size=(25, 3), scale=0.3), "ntu25", fps=30) for walk in walks]


def write_store(path: Path, sizes: Sizes) -> Path:
    """A store of the number of clips, of the lengths and of the people of NTU RGB+D 60."""
    rng = np.random.default_rng(0)
    steps = rng.normal(size=(2, 4000, 25, 3), scale=0.02).astype(np.float32)
    with StoreWriter(path, MODEL_LAYOUT) as writer:
        for clip in range(sizes.clips):
            frames, first = int(rng.integers(40, 301)), int(rng.integers(0, 3700))
            walk = steps[: 2 if clip % 4 == 0 else 1, first : first + frames].cumsum(axis=1)
            writer.add(f"clip-{clip}", walk, 30.0, split="train")
    return path


def encode_rows(device: torch.device, sizes: Sizes, rounds: int) -> Iterator[Row]:
    """The encoder against the floor, and against the CPU."""
    config = MAMPConfig(dim_feat=sizes.width, depth=sizes.depth, num_frames=sizes.frames)
    torch.manual_seed(0)
    encoder, clips = MAMPEncoder(config).eval(), recordings(sizes)
    few = clips[:8]
    expected = encoder.encode(few)
    encoder.to(device)
    found = encoder.encode(few, batch_size=8)
    x = torch.randn(sizes.batch, 2, sizes.frames, 25, 3, device=device)
    tokens, width = config.num_tokens, config.dim_feat
    flops = 2 * sizes.batch * config.depth
    flops *= int(2 * tokens * width**2 * (4 + 2 * config.mlp_ratio) + 4 * tokens**2 * width)
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        half = dtype != torch.float32
        floor = flops / rate(device, sizes.product, dtype, rounds)

        def network(half: bool = half) -> None:
            with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
                encoder(x)

        def everything(half: bool = half) -> None:
            encoder.encode(clips, batch_size=sizes.batch, precision="bfloat16" if half else None)

        for what, run in (("network", network), ("from recordings", everything)):
            taken = seconds(device, run, rounds if run is network else 3)
            rate_text = f"{sizes.batch / taken:,.0f} clips/s"
            yield f"encode, batch {sizes.batch}, {name}, {what}", f"{100 * floor / taken:.0f} % of the floor", rate_text
    yield "encode, difference to the CPU, float32", f"{abs(found - expected).max():.1e}", "expected: below 1e-5"
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        encoder.encode(clips, batch_size=sizes.batch)
        yield "encode, memory", f"{torch.cuda.max_memory_allocated(device) / 1e6:,.0f} MB", ""


def training_config(device: torch.device, sizes: Sizes, precision: str) -> TrainConfig:
    """The published recipe on the store of this benchmark."""
    config = get_recipe("ntu60-xsub").config
    encoder = config.encoder.replace(dim_feat=sizes.width, depth=sizes.depth, num_frames=sizes.frames)
    objective = replace(config.objective, decoder_dim_feat=sizes.width)
    if sizes is TINY:
        objective = replace(objective, decoder_depth=1)
    return replace(
        config,
        encoder=encoder,
        objective=objective,
        augment=replace(config.augment, crop_min=min(64, sizes.frames)),
        optim=replace(config.optim, batch_size=sizes.training_batch, per_device_batch=sizes.training_batch),
        data=replace(config.data, split="train", protocol=None, workers=4),
        run=replace(config.run, device=str(device), precision=precision),
    )


def gradient(trainer: Trainer, clips: int) -> torch.Tensor:
    """Gradient of a few clips, on the CPU."""
    trainer.model.zero_grad(set_to_none=True)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(clips, 2, trainer.encoder.num_frames, 25, 3, generator=generator) * 0.1
    noise = torch.rand(2 * clips, trainer.model.num_tokens, generator=generator)
    trainer.model(x.to(trainer.world.device), noise.to(trainer.world.device)).loss.backward()
    found = torch.cat([p.grad.flatten().cpu() for p in trainer.model.parameters() if p.grad is not None])
    trainer.model.zero_grad(set_to_none=True)
    return found


def training_rows(device: torch.device, sizes: Sizes, rounds: int) -> Iterator[Row]:
    """Steps with their loader, as a share of the peak."""
    with tempfile.TemporaryDirectory(prefix="mamp-gpu-") as folder:
        store = write_store(Path(folder) / "store", sizes)
        gradients = []
        for place in (torch.device("cpu"), device):
            with world(str(place)) as here:
                trainer = Trainer(training_config(place, sizes, "float32"), store, Path(folder) / "same", here)
                gradients.append(gradient(trainer, 2))
        different = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
        yield "training, difference of the gradient to the CPU, float32", f"{different:.1e}", "expected: below 1e-5"
        for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            with world(str(device)) as here:
                trainer = Trainer(training_config(device, sizes, precision), store, Path(folder) / precision, here)
                yield from step_rows(trainer, precision, rate(here.device, sizes.product, dtype, rounds), rounds)


def step_rows(trainer: Trainer, precision: str, peak: float, rounds: int) -> Iterator[Row]:
    """Steps of one trainer."""
    device, batch = trainer.world.device, trainer.optim.batch_size

    def batches() -> Iterator[object]:
        epoch = 0
        while True:
            yield from trainer.batches(epoch).load(4, pin_memory=True)
            epoch += 1

    coming = batches()
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(next(coming))  # type: ignore[arg-type]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.set_sync_debug_mode("warn")
        import warnings

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.train_step(next(coming))  # type: ignore[arg-type]
        torch.cuda.set_sync_debug_mode("default")
        waits = sum("synchroniz" in str(warning.message) for warning in caught)
        yield f"training step, {precision}, waits for the device", str(waits), "expected: 1"
    for _ in islice(coming, 2):
        trainer.train_step(next(coming))  # type: ignore[arg-type]
    wait(device)
    start = time.perf_counter()
    for part in islice(coming, rounds):
        trainer.train_step(part)  # type: ignore[arg-type]
    wait(device)
    taken = (time.perf_counter() - start) / rounds
    share = 100 * counter.get_total_flops() / taken / peak
    yield f"training step, {batch} clips, {precision}", f"{share:.0f} % of the peak", f"{batch / taken:,.0f} clips/s"
    if device.type == "cuda":
        yield f"training step, {precision}, memory", f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB", ""


def main() -> None:
    """Measure, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="[%(default)s]")
    parser.add_argument("--rounds", type=int, default=10, help="samples of each [%(default)s]")
    parser.add_argument("--tiny", action="store_true", help="small models and few clips")
    parser.add_argument("-o", "--output", type=Path, help="write the table to this file, too")
    args = parser.parse_args()
    device, sizes = torch.device(args.device), TINY if args.tiny else Sizes()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    lines = [f"torch {torch.__version__}, {name}{', tiny' if args.tiny else ''}.", "", "| | | |", "|---|---|---|"]
    print("\n".join(lines), flush=True)
    for rows in (encode_rows, training_rows):
        for row in rows(device, sizes, args.rounds):
            lines.append("| " + " | ".join(row) + " |")
            print(lines[-1], flush=True)
    if args.output:
        args.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
