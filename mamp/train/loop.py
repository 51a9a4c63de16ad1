"""The training loop of pre-training and supervised training: one process or DDP, resumable at every checkpoint."""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from mamp import kernels, threads
from mamp.config import MAMPConfig
from mamp.data.augment import PackedBatch
from mamp.data.loader import Shard, TrainingBatches
from mamp.data.store import ClipStore
from mamp.errors import ConfigError, TrainingError
from mamp.train.checkpoint import load_checkpoint, remove_leftovers, save_checkpoint
from mamp.train.config import Optimization, Run
from mamp.train.distributed import World
from mamp.train.metrics import Metrics, TensorBoard, drop_later_metrics
from mamp.transformer import Block

logger = logging.getLogger(__name__)


class StoppedError(TrainingError):
    """A run stopped early on request; the same command resumes it."""


class _StepAbandoned(Exception):
    """A step was abandoned because the run has to stop."""


@dataclass(frozen=True)
class Share:
    """A part of a micro-batch that a thread can take.

    Attributes:
        weight: Its share of the loss.
        losses: Computes what :meth:`Loop.losses` gives, of this part alone.
    """

    weight: float
    losses: Callable[[], dict[str, Tensor]]


class Loop:
    """One training run in this process.

    Subclasses define the batches of an epoch (:meth:`batches`) and the loss (:meth:`losses`). They call :meth:`plan`
    once their clips are known, then :meth:`begin`. Further hooks extend checkpoints, metrics and exports.

    Args:
        optim: Effective batch size and schedule.
        run: Options of the run.
        store: The clips.
        encoder: Configuration of the encoder, for the checkpoints.
        output: Folder of the run: ``metrics.jsonl``, ``checkpoints/``.
        world: The processes.
        workers: Number of threads that read clips ahead.
        progress: Show a progress bar.
    """

    section = ""  # prefix of the options of batch and schedule in messages
    keeps_best = False  # keep the checkpoint with the lowest training loss
    independent = False  # the loss of a clip does not depend on the other clips
    tensorboard = False  # write TensorBoard logs

    def __init__(
        self,
        optim: Optimization,
        run: Run,
        store: ClipStore,
        encoder: MAMPConfig,
        output: Path,
        world: World,
        workers: int = 0,
        progress: bool = True,
    ) -> None:
        self.optim, self.run, self.store, self.encoder = optim, run, store, encoder
        self.output, self.world, self.workers, self.progress = output, world, workers, progress
        per_device = optim.per_device_batch or optim.batch_size // world.size
        if per_device < 1 or optim.batch_size % (per_device * world.size):
            raise ConfigError(
                f"{self.section}batch_size: {optim.batch_size} cannot be split over {world.size} processes of "
                f"{per_device} clips each; it must be a multiple of processes times {self.section}per_device_batch."
            )
        self.shard = Shard(world.rank, world.size, optim.batch_size // (per_device * world.size))
        self.step = 0
        self.asked_to_stop = False  # this process has received a signal
        self.blocks: list[Block] = []  # between which a step can be abandoned
        self.in_step = False  # a step can be abandoned: it has not changed the model yet
        self.stopping = False  # all processes stop after this step
        self.best_loss, self.recent = math.inf, Mean()

    def batches(self, epoch: int, first_step: int = 0) -> TrainingBatches:
        """The batches of an epoch, from ``first_step`` on."""
        raise NotImplementedError

    def losses(self, part: PackedBatch, micro: int) -> dict[str, Tensor]:
        """The ``loss`` of micro-batch ``part``, which is on the device, and further values to log.

        Call the model as ``self.parallel``.
        """
        raise NotImplementedError

    def shares(self, part: PackedBatch, micro: int) -> list[Share]:
        """:meth:`losses` as the weighted mean of losses of a few clips each, where clips are ``independent``.

        The shares do not depend on the number of threads.
        """
        raise NotImplementedError

    def extra_state(self) -> dict[str, Any]:
        """Additional state for the checkpoints."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Restore :meth:`extra_state` from a checkpoint."""

    def after_step(self, values: dict[str, float]) -> None:
        """Called with the values of each step, before anything is saved."""

    def export(self) -> None:
        """Write further files with each checkpoint, on the main process."""

    @property
    def epoch(self) -> float:
        """Completed epochs, fractional."""
        return self.step / self.steps_per_epoch

    @property
    def ends(self) -> bool:
        """Whether the schedule is over, or the run has to stop here."""
        return self.stopping or self.step >= min(self.total_steps, self.run.stop_after or self.total_steps)

    def plan(self) -> None:
        """Compute the number of steps per epoch and in total; :class:`ConfigError` if there are none."""
        self.steps_per_epoch = len(self.batches(0))
        self.total_steps = round(self.optim.epochs * self.steps_per_epoch)
        if self.total_steps < 1:
            raise ConfigError(
                f"{self.section}epochs: {self.optim.epochs:g} epochs of {self.steps_per_epoch} steps are no step."
            )

    def begin(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Set model and optimiser, and resume from the newest checkpoint if there is one."""
        if self.run.precision == "bfloat16":
            kernels.warn_if_bfloat16_is_slow(str(self.world.device))
        self.model, self.optimizer = model, optimizer
        self.average: AveragedModel | None = None
        if self.optim.ema is not None:
            self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(self.optim.ema))
        self.resume()
        self.parallel: nn.Module = model
        if self.world.size > 1:
            ids = [self.world.device] if self.world.device.type == "cuda" else None
            # Buffers need no broadcast: running statistics are computed over the whole batch.
            self.parallel = DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)

        plain = self.world.size == 1 and self.world.device.type == "cpu" and not self.run.compile
        self.shares_work = plain and self.independent
        if plain:
            self.blocks = [module for module in model.modules() if isinstance(module, Block)]
            for block in self.blocks:
                block.register_full_backward_pre_hook(self.look_up)

    def stop(self) -> None:
        """Stop after this step, or on a single CPU, where a step may take minutes, before the next block."""
        self.asked_to_stop = True
        for block in self.blocks:
            block.register_forward_pre_hook(self.look_up)

    def look_up(self, *_: Any) -> None:
        """Abandon the step if the run has to stop."""
        if self.in_step and self.asked_to_stop:
            raise _StepAbandoned

    def resume(self) -> None:
        """Resume from the newest checkpoint, if there is one."""
        with self.world.together():
            state = load_checkpoint(self.output / "checkpoints")
        if state is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.step = state["step"]
            self.best_loss, self.recent = state["best_loss"], Mean(*state["losses"])
            torch.set_rng_state(state["torch_rng"])
            self.load_extra_state(state)
        steps = self.world.gather([str(self.step)])
        if len(set(steps)) > 1:
            raise TrainingError(
                f"{self.output}: the processes found checkpoints of different steps ({', '.join(steps)}); all machines "
                "must see the same folder."
            )
        with self.world.together():
            if self.world.is_main:
                self.clean()
        if self.step:
            logger.info("resumed at step %d of %d", self.step, self.total_steps)

    def clean(self) -> None:
        """Remove metrics after the checkpoint from which the run resumes, and what killed processes left."""
        try:
            remove_leftovers(self.output / "checkpoints", self.step, self.run.keep)
            drop_later_metrics(self.output, self.step)
        except OSError as error:
            raise TrainingError(f"{self.output}: cannot write here ({error}).") from None

    def save(self) -> None:
        """Write a checkpoint and the exports, together with all processes."""
        with self.world.together():
            if self.world.is_main:
                self.write()

    def write(self) -> None:
        """Write a checkpoint and the exports; only checkpoints at regular steps can be the best."""
        best = False
        if self.step % self.run.checkpoint_every == 0 or self.step == self.total_steps:
            loss = self.recent.take()
            best = self.keeps_best and loss < self.best_loss
            self.best_loss = min(loss, self.best_loss)
        state = {
            "encoder": self.encoder.to_dict(),
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best_loss": self.best_loss,
            "losses": self.recent.state,
            "torch_rng": torch.get_rng_state(),
            **self.extra_state(),
        }
        save_checkpoint(self.output / "checkpoints", self.step, state, self.run.keep, best)
        self.export()

    def train(self) -> None:
        """Train to the end of the schedule, or until stopped."""
        saved = -1  # a finished run is saved again: it may have been killed before the export
        hidden = not (self.progress and self.world.is_main)
        bar = tqdm(total=self.total_steps, initial=self.step, unit="step", disable=hidden, mininterval=5)
        with bar, closing(self.open_metrics(bar)) as self.metrics, handle_termination(self):
            while not self.ends:
                epoch, first = divmod(self.step, self.steps_per_epoch)
                for batch in self.batches(epoch, first).load(self.workers, pin_memory=True):
                    values = self.train_step(batch)
                    if values is None:
                        self.metrics.write_line(self.step, self.total_steps, self.epoch)
                        break
                    self.metrics.add(self.step, self.total_steps, self.epoch, values, self.ends)
                    self.after_step(values)
                    if self.step % self.run.checkpoint_every == 0 or self.ends:
                        self.save()
                        saved = self.step
                    if self.ends:
                        break
            if saved != self.step:
                self.save()

    def open_metrics(self, bar: tqdm[Any]) -> Metrics:
        """Create the metrics; only the main process writes files."""
        folder = self.output if self.world.is_main else None
        board = TensorBoard(folder / "tensorboard", self.step) if folder and self.tensorboard else None
        return Metrics(folder, self.run.log_every, self.optim.batch_size, bar, board)

    def train_step(self, batch: list[PackedBatch]) -> dict[str, float] | None:
        """Take one optimiser step over the micro-batches of this process; returns ``None`` if abandoned."""
        # Where threads take whole clips, no other operator gains enough by several threads that wait for each other.
        with threads.operators_alone() if self.shares_work else nullcontext():
            return self._train_step(batch)

    def _train_step(self, batch: list[PackedBatch]) -> dict[str, float] | None:
        lr, random = set_learning_rate(self.optimizer, self.epoch, self.optim), torch.get_rng_state()
        buffers = [buffer.clone() for buffer in self.model.buffers()]  # running statistics of batch norm
        values: list[dict[str, Tensor]] = []
        self.in_step = True
        try:
            for micro, part in enumerate(batch):
                values.append(self.accumulate(part, micro, len(batch)))
        except _StepAbandoned:
            self.optimizer.zero_grad(set_to_none=True)
            torch.set_rng_state(random)
            for buffer, before in zip(self.model.buffers(), buffers, strict=True):
                buffer.copy_(before)
            self.stopping = True
            return None
        finally:
            self.in_step = False
        names = sorted(values[0])
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.clip_grad or math.inf)
        # The only time in a step at which the processor waits for a GPU.
        *found, norm = torch.stack([*(row[name].to(norm) for row in values for name in names), norm]).tolist()
        rows = [found[first : first + len(names)] for first in range(0, len(found), len(names))]
        totals = [sum(column) / len(batch) for column in zip(*rows, strict=True)]
        *means, stops = self.world.sum([total / self.world.size for total in totals] + [float(self.asked_to_stop)])
        self.stopping = stops > 0
        result = dict(zip(names, means, strict=True))
        if not math.isfinite(result["loss"]) or not math.isfinite(norm):
            bad = [part for part, row in zip(batch, rows, strict=True) if not math.isfinite(row[names.index("loss")])]
            self.fail(self.names(bad[0]) if bad else [], batch)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.recent.add(result["loss"])
        self.step += 1
        return {**result, "grad_norm": norm, "lr": lr}

    def accumulate(self, part: PackedBatch, micro: int, count: int) -> dict[str, Tensor]:
        """Accumulate the gradient of one of ``count`` micro-batches, and return its values."""
        part = part.to(self.world.device)
        if self.shares_work:
            return self.add_shares(self.shares(part, micro), count)
        sync = micro + 1 == count or not isinstance(self.parallel, DistributedDataParallel)
        with nullcontext() if sync else self.parallel.no_sync():  # type: ignore[operator]
            with self.autocast():
                values = self.losses(part, micro)
            (values["loss"] / count).backward()
        return {name: value.detach() for name, value in values.items()}

    def add_shares(self, shares: list[Share], count: int) -> dict[str, Tensor]:
        """Add the gradients of the shares of a micro-batch, in their order, whichever thread computes them."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]

        def compute(share: Share) -> tuple[dict[str, Tensor], tuple[Tensor | None, ...]]:
            with self.autocast():
                values = share.losses()
            loss = values["loss"] * (share.weight / count)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            return {name: value.detach() * share.weight for name, value in values.items()}, gradients

        total: dict[str, Tensor] = {}
        for values, gradients in threads.share(compute, shares):
            for name, value in values.items():
                total[name] = total[name] + value if name in total else value
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                    parameter.grad.add_(gradient)
        return total

    def autocast(self) -> torch.autocast:
        """Mixed precision if configured; the residual stream stays in float32."""
        enabled = self.run.precision == "bfloat16"
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16, enabled=enabled)

    def names(self, part: PackedBatch) -> list[str]:
        """Names of the clips of a micro-batch."""
        return [str(self.store.columns["name"][int(clip)]) for clip in part.clips]

    def fail(self, suspects: list[str], batch: list[PackedBatch]) -> None:
        """Raise for a loss or gradient that is not finite, naming the clips with such a loss, or the whole batch."""
        clips = self.world.gather(suspects) or self.world.gather([name for part in batch for name in self.names(part)])
        raise TrainingError(
            f"the loss or its gradient is not finite at step {self.step}; the last good checkpoint is kept. Look at "
            f"these clips, or start again in another folder with a lower {self.section}lr or with "
            f"{self.section}clip_grad: {', '.join(clips)}"
        )


def learning_rate(epoch: float, lr: float, min_lr: float, warmup_epochs: float, epochs: float) -> float:
    """Linear warm-up from zero, then half a cosine down to ``min_lr``; ``epoch`` is fractional."""
    if epoch < warmup_epochs:
        return lr * epoch / warmup_epochs
    share = (epoch - warmup_epochs) / (epochs - warmup_epochs)
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * share))


def set_learning_rate(optimizer: torch.optim.Optimizer, epoch: float, optim: Optimization) -> float:
    """Set the learning rate of all parameter groups, times their ``lr_scale`` if any, and return it."""
    lr = learning_rate(epoch, optim.lr, optim.min_lr, optim.warmup_epochs, optim.epochs)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    return lr


class Mean:
    """A running mean of numbers."""

    def __init__(self, total: float = 0.0, count: int = 0) -> None:
        self.total, self.count = total, count

    @property
    def state(self) -> tuple[float, int]:
        """Sum and count."""
        return self.total, self.count

    def add(self, value: float) -> None:
        """Add a value."""
        self.total, self.count = self.total + value, self.count + 1

    def take(self) -> float:
        """Return the mean since the last call, infinity if nothing was added."""
        mean = self.total / self.count if self.count else math.inf
        self.total, self.count = 0.0, 0
        return mean


@contextmanager
def handle_termination(loop: Loop) -> Iterator[None]:
    """On SIGTERM, finish or abandon the step, save, and end normally."""

    def stop(number: int, frame: object) -> None:
        loop.stop()

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
