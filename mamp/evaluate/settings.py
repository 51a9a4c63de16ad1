"""Settings that all protocols with training share, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from mamp.config import from_dict
from mamp.data.augment import Augmentation
from mamp.data.loader import generator_for
from mamp.errors import ConfigError
from mamp.outputs import changed_fields, flatten
from mamp.train.config import Optimization, Run

# These may change when a run resumes: its result does not depend on them.
SPREAD = ("workers", "eval_batch", "log_every", "checkpoint_every")
# Lowest values of the fields.
LOWEST = {
    0: "workers warmup_epochs lr min_lr weight_decay clip_grad",
    1: "per_device_batch num_frames eval_every eval_batch log_every checkpoint_every",
    2: "batch_size norm_clips",
}


@dataclass(frozen=True)
class SupervisedConfig:
    """Settings of all protocols with training.

    Attributes:
        batch_size: Effective batch, over all processes and accumulation; the learning rate belongs to it.
        per_device_batch: Clips on a device at a time; the rest of the batch is accumulated. Batch norm sees that many
            clips of each process. None: no accumulation.
        epochs: Length of the schedule.
        warmup_epochs: Length of the linear warm-up.
        lr: Largest learning rate.
        min_lr: Learning rate at the end.
        weight_decay: Weight decay of matrices.
        clip_grad: Largest norm of the gradient; none does not clip it.
        eval_every: Epochs between evaluations on the test clips; the last epoch is always evaluated.
        eval_batch: Test clips that are read together.
        num_frames: Frames to which clips are resized; the temporal embeddings are resized too, as published. None: the
            number of the weights.
        preprocessing: Use the preprocessing of these weights, such as pku2-xsub. None: that of the evaluated weights.
        norm_clips: Clips over which batch norm computes its statistics in training; in the published runs, the clips of
            one GPU, with running statistics of the first GPU. None: all clips that are computed together, on all
            processes.
        precision: float32, or bfloat16 for mixed precision.
        workers: Threads that read training clips ahead.
        log_every: Steps between lines of metrics.jsonl.
        checkpoint_every: Steps between checkpoints.
        augmentation: Augmentation of training clips. Centring and facing are added if the weights expect them and the
            store does not have them.
    """

    batch_size: int = 48
    per_device_batch: int | None = None
    epochs: float = 100
    warmup_epochs: float = 0
    lr: float = 3e-4
    min_lr: float = 0.0
    weight_decay: float = 0.05
    clip_grad: float | None = None
    eval_every: int = 1
    eval_batch: int = 64
    num_frames: int | None = None
    preprocessing: str | None = None
    norm_clips: int | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    workers: int = 1
    log_every: int = 20
    checkpoint_every: int = 500
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if isinstance(self.augmentation, dict):
            object.__setattr__(self, "augmentation", from_dict(Augmentation, self.augmentation, "augmentation"))
        for low, names in LOWEST.items():
            for name in names.split():
                value = getattr(self, name)
                if value is not None and not low <= value < float("inf"):
                    raise ConfigError(f"{name}: expected at least {low}, found {value}.")
        if not self.epochs > self.warmup_epochs:
            raise ConfigError(
                f"epochs: expected more than warmup_epochs ({self.warmup_epochs:g}), found {self.epochs:g}."
            )

    def optimization(self) -> Optimization:
        """Batch and schedule for the training loop."""
        names = "batch_size per_device_batch epochs warmup_epochs lr min_lr weight_decay clip_grad"
        return Optimization(**{name: getattr(self, name) for name in names.split()})

    def run(self, seed: int) -> Run:
        """Settings of the run for the training loop."""
        log, checkpoint = self.log_every, self.checkpoint_every
        return Run(seed=seed, precision=self.precision, log_every=log, checkpoint_every=checkpoint, keep=1)

    def identity(self) -> dict[str, Any]:
        """The fields that the result depends on, as plain values."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in SPREAD}


def changed_settings(found: Mapping[str, Any], wanted: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """Names of the settings that differ; one that an older version did not have counts as ``None``."""
    here, there = ({name: x for name, x in flatten(one).items() if x is not None} for one in (wanted, found))
    return changed_fields(there, here, free)


def seeded(*parts: int | str) -> None:
    """Seed the random numbers of layers by a hash of ``parts``."""
    torch.manual_seed(generator_for(*parts).initial_seed())
