"""Estimate time and memory of a run from a few steps on synthetic clips."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mamp.data import ClipStore, StoreWriter
from mamp.data.loader import training_clips
from mamp.errors import ConfigError
from mamp.layouts import get_layout
from mamp.train.config import Sampling, TrainConfig
from mamp.train.distributed import World
from mamp.train.engine import Trainer
from mamp.train.memory import available_bytes, clips_at_a_time, resident_bytes

CPU_CLIPS = 4  # clips of a trial step on a CPU, where a whole batch would take too long
STEPS = 3
STATE_BYTES = 16  # per parameter: weight, gradient and two averages of Adam in float32


@dataclass(frozen=True)
class Estimate:
    """Estimate of a run. Counts are exact, ``tried_*`` measured, and the last five derived from these."""

    device: str  # of the trial
    encoder_parameters: int
    decoder_parameters: int  # and everything else that is not exported
    tokens: int  # of a body
    tokens_kept: int  # of these, seen by the encoder
    tokens_decoded: int  # rows of the decoder
    people: int  # of a clip, absent ones included
    clips: int | None  # of an epoch; None without a store
    batch_size: int  # effective, over all devices
    devices: int
    per_device_batch: int  # clips of a micro-batch
    accumulation: int  # micro-batches of a step
    steps_per_epoch: int | None
    steps: int | None
    tried_clips: int  # of a trial step
    tried_seconds: tuple[float, ...]  # of each trial step after the first
    tried_bytes: int | None  # peak memory (CUDA) or growth of the process (CPU); None if unknown
    step_seconds: float
    clips_per_second: float  # of all devices
    run_seconds: float | None
    peak_bytes: int | None  # per device
    free_bytes: int | None  # by which per_device_batch was chosen; None if it is configured

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """The estimate as a table."""
        total = self.encoder_parameters + self.decoder_parameters
        clips = "unknown without --data" if self.clips is None else f"{self.clips:,} an epoch"
        steps = "unknown without --data"
        if self.steps is not None:
            steps = f"{self.steps:,} ({self.steps_per_epoch:,} an epoch)"
        split = f"{self.devices} device{'s' * (self.devices > 1)} x {self.per_device_batch} clips"
        tried = ", ".join(f"{seconds:.3g}" for seconds in self.tried_seconds)
        chosen = "" if self.free_bytes is None else f" ({show_bytes(self.free_bytes)} free)"
        whole = "a trial step was a whole one" if self.tried_clips == self.batch_size else "in proportion to the clips"
        rows = {
            "parameters": f"{total:,}: encoder {self.encoder_parameters:,}, decoder {self.decoder_parameters:,}",
            "tokens of a body": f"{self.tokens}: {self.tokens_kept} seen, {self.tokens_decoded} rows in the decoder",
            "clips": f"{clips}, {self.people} bodies each",
            "batch": f"{self.batch_size} = {split} x {self.accumulation} accumulated{chosen}",
            "steps": steps,
            "measured": f"{self.device}, {self.tried_clips} synthetic clips a step: {tried} s; "
            f"memory {show_bytes(self.tried_bytes)}",
            "extrapolated": f"{self.step_seconds:.3g} s a step, {self.clips_per_second:.3g} clips/s ({whole}); "
            f"{show_bytes(self.peak_bytes)} a device; "
            + ("time of the run unknown" if self.run_seconds is None else f"{show_time(self.run_seconds)} for the run"),
        }
        note = "Time is at the present load of this machine, and leaves out what checkpoints take" + (
            ", and what the devices say to each other." if self.devices > 1 else "."
        )
        return "\n".join([*(f"{name:<18}{value}" for name, value in rows.items()), note])


def show_bytes(count: int | None) -> str:
    """Format bytes."""
    if count is None:
        return "not measured here"
    return f"{count / 2**20:,.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"


def show_time(seconds: float) -> str:
    """Format seconds."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * 86400 else f"{seconds / 86400:.1f} days"


def estimate(config: TrainConfig, store: ClipStore | None, clips: int | None = None, devices: int = 1) -> Estimate:
    """Estimate a run from a few complete training steps on synthetic clips.

    A trial step has the share of the batch of one device on a GPU, and a few clips on a CPU. Writes nothing.

    Args:
        config: The run.
        store: The clips; 100 frames each are assumed without a store.
        clips: Number of training clips if there is no store.
        devices: Number of devices that share the batch.

    Raises:
        ConfigError: The batch cannot be divided among the devices, or the configuration is invalid.
    """
    optim, expected = config.optim, config.encoder.preprocessing
    name = "cuda" if config.run.device == "auto" and torch.cuda.is_available() else config.run.device
    device = torch.device("cpu" if name == "auto" else name)
    people = expected.max_people or (1 if store is None else int(store.columns["people"].max()))
    free = available_bytes(device)
    share = max(optim.batch_size // devices, 1)
    fits = clips_at_a_time(config.encoder, config.objective, people, share, free, config.run.precision == "bfloat16")
    per_device = optim.per_device_batch or fits
    if per_device < 1 or optim.batch_size % (per_device * devices):
        raise ConfigError(
            f"optim.batch_size: {optim.batch_size} cannot be split over {devices} devices of {per_device} clips each; "
            "choose optim.per_device_batch so that it can."
        )
    if store is not None:
        clips = len(training_clips(store, config.data.split, config.data.protocol))
    clips = config.data.samples_per_epoch or clips
    frames = 100 if store is None else max(round(float(store.columns["frames"].mean())), 1)
    tried = per_device if device.type == "cuda" else min(per_device, CPU_CLIPS)

    trial = _try_steps(config, device, tried, people, frames)
    micro_seconds = statistics.median(trial["tried_seconds"]) / tried * per_device
    accumulation = optim.batch_size // (per_device * devices)
    step_seconds = micro_seconds * accumulation
    steps_per_epoch = None if clips is None else clips // optim.batch_size
    steps = None if steps_per_epoch is None else round(optim.epochs * steps_per_epoch)
    peak = trial["tried_bytes"]
    if peak is not None and tried < per_device:
        fixed = min(trial["encoder_parameters"] + trial["decoder_parameters"], peak // STATE_BYTES) * STATE_BYTES
        peak = fixed + (peak - fixed) * per_device // tried
    return Estimate(
        device=str(device) if device.type == "cpu" else torch.cuda.get_device_name(device),
        **trial,
        tokens=config.encoder.num_tokens,
        people=people,
        clips=clips,
        batch_size=optim.batch_size,
        devices=devices,
        per_device_batch=per_device,
        accumulation=accumulation,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        tried_clips=tried,
        step_seconds=step_seconds,
        clips_per_second=optim.batch_size / step_seconds,
        run_seconds=None if steps is None else steps * step_seconds,
        peak_bytes=peak,
        free_bytes=None if optim.per_device_batch else free,
    )


def _try_steps(config: TrainConfig, device: torch.device, clips: int, people: int, frames: int) -> dict[str, Any]:
    """Run a warm-up step and ``STEPS`` more on a synthetic store; returns what :class:`Estimate` says of the trial."""
    small = dataclasses.replace(
        config,
        optim=dataclasses.replace(config.optim, batch_size=clips, per_device_batch=clips),
        data=Sampling(split=None, workers=0),
    )
    with tempfile.TemporaryDirectory(prefix="mamp-dry-run-") as folder:
        place = Path(folder)
        write_synthetic_store(place / "store", clips * (STEPS + 1), people, frames, config.encoder.preprocessing.layout)
        with _peak_memory(device) as memory:
            trainer = Trainer(small, place / "store", place / "run", World(0, 1, device))
            seconds = []
            batches = trainer.batches(0)
            for step in range(STEPS + 1):
                began = time.perf_counter()
                trainer.train_step(batches[step])
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                seconds.append(time.perf_counter() - began)
        model = trainer.model
        counts = {name: parameter.numel() for name, parameter in model.named_parameters()}
        decoder = sum(
            count for name, count in counts.items() if name.startswith(("decoder_", "mask_token", "to_tokens"))
        )
    hidden = 0 if config.teacher else config.encoder.num_tokens - model.num_kept
    return {
        "tried_seconds": tuple(seconds[1:]),
        "tried_bytes": memory[0],
        "encoder_parameters": sum(counts.values()) - decoder,
        "decoder_parameters": decoder,
        "tokens_kept": model.num_kept,
        "tokens_decoded": model.num_kept + min(model.objective.decoded_tokens or hidden, hidden),
    }


def write_synthetic_store(path: Path, clips: int, people: int, frames: int, layout: str = "ntu25") -> None:
    """Write a store of randomly drifting joints, which costs as much to train on as real recordings."""
    joints = get_layout(layout)
    generator = np.random.default_rng(0)
    pose = generator.normal(0, 0.5, (1, 1, len(joints.joints), 3))
    with StoreWriter(path, joints) as writer:
        for clip in range(clips):
            drift = generator.normal(0, 0.01, (people, frames, len(joints.joints), 3)).cumsum(axis=1)
            positions = (pose + drift).astype(np.float32)
            writer.add(str(clip), positions, 30.0, np.ones(positions.shape[:3], np.float32), split="train")


@contextmanager
def _peak_memory(device: torch.device) -> Iterator[list[int | None]]:
    """Peak memory of the GPU, or the growth of this process, in bytes, once the block is left."""
    result: list[int | None] = [None]
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield result
        result[0] = torch.cuda.max_memory_reserved(device)
        return
    before, done, peak = resident_bytes(), threading.Event(), [0]
    if before is None:
        yield result
        return

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], resident_bytes() or 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield result
    finally:
        done.set()
        watcher.join()
    result[0] = max(peak[0] - before, (resident_bytes() or 0) - before, 0)
