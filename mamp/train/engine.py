"""The training loop: plain PyTorch, one process or DDP, resumable to the step."""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from mamp.data.augment import PackedBatch, augment
from mamp.data.loader import Shard, TrainingBatches, clip_weights, clips_of_split, generator_for
from mamp.data.store import ClipStore
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError, DataError, TrainingError
from mamp.pretraining import MAMPForPretraining, PretrainingOutput
from mamp.train.checkpoint import load_checkpoint, remove_leftovers, save_checkpoint
from mamp.train.config import TrainConfig
from mamp.train.distributed import World, world
from mamp.train.optim import learning_rate, weight_decay_groups
from mamp.train.record import Metrics, drop_later_metrics, write_run_file

logger = logging.getLogger(__name__)


class Trainer:
    """One pre-training run in this process.

    Args:
        config: The run.
        data: The store of clips.
        output: Folder of the run: ``run.json``, ``metrics.jsonl``, ``checkpoints/``, ``encoder/``.
        world: The processes.
    """

    def __init__(self, config: TrainConfig, data: Path, output: Path, world: World) -> None:
        self.config, self.output, self.world = config, output, world
        self.store = ClipStore(data)
        optim = config.optim
        per_device = optim.per_device_batch or optim.batch_size // world.size
        if per_device < 1 or optim.batch_size % (per_device * world.size):
            raise ConfigError(
                f"optim.batch_size: {optim.batch_size} cannot be split over {world.size} processes of {per_device} "
                "clips each; it must be a multiple of processes times --optim.per_device_batch."
            )
        self.shard = Shard(world.rank, world.size, optim.batch_size // (per_device * world.size))
        expected = config.encoder.preprocessing
        if self.store.layout.name != expected.layout:
            raise DataError(
                f"{data}: expected joints of layout {expected.layout!r} (encoder.preprocessing.layout), found "
                f"{self.store.layout.name!r}."
            )
        self.max_people = expected.max_people or int(self.store.columns["people"].max())
        self.clips = clips_of_split(self.store, config.data.split, config.data.protocol)
        self.weights = clip_weights(self.store, config.data.weight_by, config.data.weights)
        self.steps_per_epoch = len(self.batches(0))
        self.total_steps = round(optim.epochs * self.steps_per_epoch)
        if self.total_steps < 1:
            raise ConfigError(f"optim.epochs: {optim.epochs:g} epochs of {self.steps_per_epoch} steps are no step.")

        torch.manual_seed(config.run.seed)
        self.model: MAMPForPretraining = config.build_model().to(world.device)
        if config.run.compile:
            self.model.compile()
        self.optimizer = torch.optim.AdamW(
            weight_decay_groups(self.model, optim.weight_decay), lr=optim.lr, betas=optim.betas, fused=True
        )
        self.average: AveragedModel | None = None
        if optim.ema is not None:
            self.average = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(optim.ema))
        self.step = 0
        self.asked_to_stop = False  # this process, by a signal
        self.stopping = False  # all processes, after the step in which one was asked
        self.best_loss, self.losses = math.inf, Mean()
        self.resume()
        self.parallel: nn.Module = self.model
        if world.size > 1:
            ids = [world.device] if world.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.model, device_ids=ids)

    def batches(self, epoch: int, first_step: int = 0) -> TrainingBatches:
        """The batches of one epoch from one step on."""
        cfg = self.config
        return TrainingBatches(
            self.store,
            cfg.augment,
            cfg.optim.batch_size,
            self.max_people,
            cfg.encoder.preprocessing.absent_person,
            cfg.run.seed,
            epoch,
            first_step,
            self.shard,
            self.weights,
            cfg.data.samples_per_epoch,
            self.clips,
        )

    def resume(self) -> None:
        """Go on from the newest checkpoint, if there is one."""
        with self.world.together():
            state = load_checkpoint(self.output / "checkpoints")
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.step = state["step"]
            self.best_loss, self.losses = state["best_loss"], Mean(*state["losses"])
            torch.set_rng_state(state["torch_rng"])
        steps = self.world.gather([str(self.step)])
        if len(set(steps)) > 1:
            raise TrainingError(
                f"{self.output}: the processes found checkpoints of different steps ({', '.join(steps)}); all machines "
                "must see the same --output."
            )
        with self.world.together():
            if self.world.is_main:
                self.clean()
        if self.step:
            logger.info("resumed at step %d of %d", self.step, self.total_steps)

    def clean(self) -> None:
        """Remove what was written after the checkpoint from which the run goes on, and what was half written."""
        try:
            remove_leftovers(self.output / "checkpoints")
            drop_later_metrics(self.output / "metrics.jsonl", self.step)
        except OSError as error:
            raise TrainingError(f"{self.output}: cannot write here ({error}).") from None

    def save(self) -> None:
        """Write a checkpoint, and the encoder as it is now; the best one by training loss is kept apart."""
        with self.world.together():
            if self.world.is_main:
                self.write()

    def write(self) -> None:
        """What :meth:`save` does, on the main process. Stops out of turn do not take part in what is best."""
        best = False
        if self.step % self.config.run.checkpoint_every == 0 or self.step == self.total_steps:
            loss = self.losses.take()
            best = loss < self.best_loss
            self.best_loss = min(loss, self.best_loss)
        state = {
            "encoder": self.config.encoder.to_dict(),
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best_loss": self.best_loss,
            "losses": self.losses.state,
            "torch_rng": torch.get_rng_state(),
        }
        save_checkpoint(self.output / "checkpoints", self.step, state, self.config.run.keep, best)
        model = self.model if self.average is None else cast(MAMPForPretraining, self.average.module)
        export_encoder(model, self.output / "encoder", getattr(torch, self.config.run.storage))

    def train(self) -> None:
        """Run to the end of the schedule, or until stopped."""
        run = self.config.run
        last = min(self.total_steps, run.stop_after or self.total_steps)
        saved = -1
        bar = tqdm(
            total=self.total_steps, initial=self.step, unit="step", disable=not self.world.is_main, mininterval=5
        )
        with bar, closing(Metrics(self, bar)) as metrics, handle_termination(self):
            while self.step < last and not self.stopping:
                epoch, first = divmod(self.step, self.steps_per_epoch)
                for batch in self.batches(epoch, first).load(self.config.data.workers, pin_memory=True):
                    self.note(metrics, self.train_step(batch))
                    if self.step % run.checkpoint_every == 0 or self.step >= last:
                        self.save()
                        saved = self.step
                    if self.step >= last or self.stopping:
                        break
            if saved != self.step:
                self.save()

    def note(self, metrics: Metrics, values: dict[str, float]) -> None:
        """Write down the numbers of a step."""
        try:
            metrics.add(values)
        except OSError as error:
            raise TrainingError(
                f"{self.output}: cannot write the metrics ({error}). Free some space; the run goes on from the last "
                "checkpoint when it is started again."
            ) from None

    def train_step(self, batch: list[PackedBatch]) -> dict[str, float]:
        """One optimiser step over the micro-batches of this process."""
        cfg, optim = self.config, self.config.optim
        epoch, step = divmod(self.step, self.steps_per_epoch)
        lr = learning_rate(self.step / self.steps_per_epoch, optim.lr, optim.min_lr, optim.warmup_epochs, optim.epochs)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        totals: dict[str, float] = {}
        suspects: list[str] = []
        for micro, part in enumerate(batch):
            part = part.to(self.world.device)
            clips = augment(
                part, cfg.augment, self.store.layout, cfg.encoder.num_frames, cfg.encoder.preprocessing.stream
            )
            rows = self.shard.rows(optim.batch_size, micro)
            noise, decoded_noise = self.noise(epoch, step, rows)
            sync = micro + 1 == len(batch) or not isinstance(self.parallel, DistributedDataParallel)
            with nullcontext() if sync else self.parallel.no_sync():  # type: ignore[operator]
                with self.autocast():
                    output: PretrainingOutput = self.parallel(
                        clips.x, noise, clips.target, decoded_noise, clips.confidence
                    )
                (output.loss / len(batch)).backward()
            for name, value in {"loss": output.loss, **output.losses}.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / len(batch)
            if not math.isfinite(totals["loss"]) and not suspects:
                suspects = self.names(part)
        names = sorted(totals)
        *means, stops = self.world.sum([totals[name] / self.world.size for name in names] + [float(self.asked_to_stop)])
        self.stopping = stops > 0
        result = dict(zip(names, means, strict=True))
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), optim.clip_grad or math.inf)
        if not math.isfinite(result["loss"]) or not math.isfinite(norm):
            self.fail(suspects, batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.losses.add(result["loss"])
        self.step += 1
        return {**result, "grad_norm": float(norm), "lr": lr}

    def noise(self, epoch: int, step: int, rows: slice) -> tuple[Tensor, Tensor]:
        """Random numbers of the mask, and of which masked tokens are decoded, for some clips of the batch."""
        shape = (self.config.optim.batch_size, self.max_people, self.config.encoder.num_tokens)
        seeds = (self.config.run.seed, epoch, step)
        mask, decoded = (torch.rand(shape, generator=generator_for(kind, *seeds)) for kind in ("mask", "decoded"))
        hidden = self.config.encoder.num_tokens - self.model.num_kept
        return (
            rearrange(mask[rows], "b m l -> (b m) l").to(self.world.device),
            rearrange(decoded[rows], "b m l -> (b m) l")[:, :hidden].to(self.world.device),
        )

    def autocast(self) -> torch.autocast:
        """Mixed precision, if asked for; the residual stream stays in float32."""
        enabled = self.config.run.precision == "bfloat16"
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16, enabled=enabled)

    def names(self, part: PackedBatch) -> list[str]:
        """Names of the clips of a micro-batch."""
        return [str(self.store.columns["name"][int(clip)]) for clip in part.clips]

    def fail(self, suspects: list[str], batch: list[PackedBatch]) -> None:
        """Stop at a loss or gradient that is not finite; the last good checkpoint stays.

        Names the clips of all processes whose loss it was, or the whole batch when the loss was still finite.
        """
        clips = self.world.gather(suspects) or self.world.gather([name for part in batch for name in self.names(part)])
        raise TrainingError(
            f"the loss or its gradient is not finite at step {self.step}; the last good checkpoint is kept. Look at "
            f"these clips, or start again in another --output with a lower --optim.lr or with --optim.clip_grad: "
            f"{', '.join(clips)}"
        )


class Mean:
    """A running mean of numbers."""

    def __init__(self, total: float = 0.0, count: int = 0) -> None:
        self.total, self.count = total, count

    @property
    def state(self) -> tuple[float, int]:
        """Sum and number of what was added."""
        return self.total, self.count

    def add(self, value: float) -> None:
        """Take one number."""
        self.total, self.count = self.total + value, self.count + 1

    def take(self) -> float:
        """The mean since the last call; infinite when nothing was added."""
        mean = self.total / self.count if self.count else math.inf
        self.total, self.count = 0.0, 0
        return mean


def export_encoder(model: MAMPForPretraining, folder: Path, dtype: torch.dtype) -> None:
    """Save the encoder of a pre-training model where ``from_pretrained`` finds it."""
    encoder = MAMPEncoder(model.config)
    keys = encoder.state_dict().keys()
    encoder.load_state_dict({name: value for name, value in model.state_dict().items() if name in keys})
    encoder.save_pretrained(folder, dtype=dtype)


@contextmanager
def handle_termination(trainer: Trainer) -> Iterator[None]:
    """On SIGTERM finish the step, save, and end normally."""

    def stop(number: int, frame: object) -> None:
        trainer.asked_to_stop = True

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def train(
    config: TrainConfig,
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    recipe: str | None = None,
) -> None:
    """Run, or go on with, a pre-training run.

    Args:
        config: The run; see :mod:`mamp.train.recipes`.
        data: Store of clips, written by ``python -m mamp.prepare``.
        output: Folder of the run. When it holds checkpoints of the same configuration, the run goes on from them.
        recipe: Name of the recipe that the configuration was made from, for ``run.json``.

    Raises:
        DataError: The store is missing or damaged.
        TrainingError: The folder cannot be used, or the loss is not finite.
    """
    with world(config.run.device) as here:
        with here.together():
            ClipStore(data)
            if here.is_main:
                write_run_file(config, Path(data), Path(output), recipe)
        Trainer(config, Path(data), Path(output), here).train()
