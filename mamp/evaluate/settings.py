"""Settings of the protocols that train, and what follows from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from mamp.config import Preprocessing, from_dict
from mamp.data import ClipStore
from mamp.data.augment import Augmentation
from mamp.data.loader import generator_for
from mamp.errors import ConfigError
from mamp.outputs import changed_fields, flatten
from mamp.train.config import Optimization, Run

# What may change between two starts of a run: its result does not depend on it.
SPREAD = ("workers", "eval_batch", "log_every", "checkpoint_every")


@dataclass(frozen=True)
class SupervisedConfig:
    """What all protocols that train have in common.

    Attributes:
        batch_size: Effective batch, over all processes and accumulation; the learning rate belongs to it.
        per_device_batch: Clips that one device takes at a time; the rest is accumulated. Batch norm sees that many
            clips of each process. None: no accumulation.
        epochs: Length of the schedule.
        warmup_epochs: Linear warm-up.
        lr: Largest learning rate.
        min_lr: Learning rate at the end.
        weight_decay: Weight decay of matrices.
        clip_grad: Largest norm of the gradient; none does not clip.
        eval_every: Epochs between evaluations on the test clips; the last epoch is always evaluated.
        eval_batch: Test clips that are read together.
        num_frames: Frames to which a clip is resized; the temporal embeddings are resized too, as published. None: as
            the weights say.
        preprocessing: Preprocess as these weights expect, such as pku2-xsub. None: as the evaluated ones expect.
        norm_clips: Clips over which batch norm takes its statistics in training; the published runs had as many as one
            GPU held, and running statistics of the first GPU. None: all that are computed together, on all processes.
        precision: float32, or bfloat16 for mixed precision.
        workers: Threads that read training clips ahead.
        log_every: Steps between lines of metrics.jsonl.
        checkpoint_every: Steps between checkpoints.
        augmentation: What happens to a training clip. Centring and facing are added where the weights expect them and
            the store has not done them.
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
        lowest = dict.fromkeys(
            ("per_device_batch", "num_frames", "eval_every", "eval_batch", "log_every", "checkpoint_every"), 1
        )
        lowest |= {"batch_size": 2, "norm_clips": 2} | dict.fromkeys(
            ("workers", "warmup_epochs", "lr", "min_lr", "weight_decay"), 0
        )
        for name, low in (lowest | {"clip_grad": 0}).items():
            value = getattr(self, name)
            if value is not None and not low <= value < float("inf"):
                raise ConfigError(f"{name}: expected at least {low}, found {value}.")
        if not self.epochs > self.warmup_epochs:
            raise ConfigError(
                f"epochs: expected more than warmup_epochs ({self.warmup_epochs:g}), found {self.epochs:g}."
            )

    def optimization(self) -> Optimization:
        """Batch and schedule, as the training loop takes them."""
        names = {
            "batch_size",
            "per_device_batch",
            "epochs",
            "warmup_epochs",
            "lr",
            "min_lr",
            "weight_decay",
            "clip_grad",
        }
        return Optimization(**{name: getattr(self, name) for name in names})

    def run(self, seed: int) -> Run:
        """How the run behaves, as the training loop takes it."""
        return Run(
            seed=seed,
            precision=self.precision,
            log_every=self.log_every,
            checkpoint_every=self.checkpoint_every,
            keep=1,
        )

    def identity(self) -> dict[str, Any]:
        """The fields on which the result depends, as plain values."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in SPREAD}


def changed_settings(found: Mapping[str, Any], wanted: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """Names of what differs; a setting that an older version did not have yet was what ``None`` is now."""
    here, there = ({name: x for name, x in flatten(one).items() if x is not None} for one in (wanted, found))
    return changed_fields(there, here, free)


def training_augmentation(wanted: Augmentation, expected: Preprocessing, store: ClipStore) -> Augmentation:
    """Add to an augmentation what the weights expect of their input and a store has not done to its clips.

    Args:
        wanted: What the settings ask for.
        expected: What the weights expect.
        store: The clips; what was done to them is in ``meta.json`` under ``preprocessing``. One that says nothing has
            positions as recorded, in metres with y up.

    Raises:
        ConfigError: The weights expect what cannot be done to a crop.
    """
    stored = store.info.get("preprocessing", {})
    found = {"unit": "m", "up": "y", "height": None, **stored}
    for name in ("unit", "up", "height"):
        if getattr(expected, name) != found[name]:
            raise ConfigError(
                f"{store.path}: the weights expect clips with {name} {getattr(expected, name)}, these have "
                f"{found[name]}, and that cannot be changed while training. Prepare the data for these weights."
            )
    center = expected.center == "clip" and found.get("center") != "clip"
    if center and expected.center_joint != "spine_mid":
        raise ConfigError(
            f"{store.path}: the weights expect clips centred on {expected.center_joint}; training can centre on "
            "spine_mid only. Prepare the data for these weights."
        )
    facing = expected.facing and not found.get("facing", False)
    return dataclasses.replace(wanted, center=wanted.center or center, facing=wanted.facing or facing)


def seeded(*parts: int | str) -> None:
    """Seed what layers draw from by a hash of ``parts``."""
    torch.manual_seed(generator_for(*parts).initial_seed())
