"""Configuration of a pre-training run: typed, frozen, each field settable from the command line."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from mamp.config import MAMPConfig, from_dict
from mamp.data.augment import Augmentation
from mamp.errors import ConfigError
from mamp.pretraining import MAMPForPretraining, Objective


def _at_least(where: str, part: Any, lowest: dict[str, int]) -> None:
    """Raise unless the fields named are at least that, or none."""
    for name, low in lowest.items():
        value = getattr(part, name)
        if value is not None and not low <= value < float("inf"):
            raise ConfigError(f"{where}.{name}: expected at least {low}, found {value}.")


@dataclass(frozen=True)
class Optimization:
    """Optimiser and schedule.

    Attributes:
        batch_size: Effective batch, over all devices and accumulation; the learning rate belongs to it.
        per_device_batch: Clips that one device takes at a time; the rest is accumulated. None: as many as fit into
            memory.
        epochs: Length of the schedule.
        warmup_epochs: Linear warm-up.
        lr: Largest learning rate.
        min_lr: Learning rate at the end.
        weight_decay: Decoupled weight decay, not on vectors and biases.
        betas: Adam's averaging factors.
        clip_grad: Largest norm of the gradient; none does not clip.
        ema: Decay of an exponential moving average of the weights, which is then what is exported; none keeps none.
    """

    batch_size: int = 128
    per_device_batch: int | None = None
    epochs: float = 400
    warmup_epochs: float = 20
    lr: float = 1e-3
    min_lr: float = 5e-4
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip_grad: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        _at_least("optim", self, {"batch_size": 1, "per_device_batch": 1})
        _at_least("optim", self, dict.fromkeys(("epochs", "warmup_epochs", "lr", "min_lr", "weight_decay"), 0))
        _at_least("optim", self, {"clip_grad": 0, "ema": 0})
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"optim.betas: expected two numbers in [0, 1), found {self.betas}.")
        if self.ema is not None and self.ema >= 1:
            raise ConfigError(f"optim.ema: expected a number in [0, 1), found {self.ema}.")


@dataclass(frozen=True)
class Sampling:
    """Which clips an epoch sees.

    Attributes:
        split: Rows of the store to train on, by its column for the protocol; none takes all.
        protocol: Which split of a set that has several: ``xsub``, ``xview`` or ``xset``.
        samples_per_epoch: Clips of an epoch; none takes each clip once.
        weight_by: Column of the store whose groups are weighted (``corpus``, say); clips are then drawn with
            replacement, in proportion to their length within a group.
        weights: ``group=weight`` pairs for ``weight_by``; groups that are not named weigh 1.
        workers: Threads that read clips ahead.
    """

    split: str | None = "train"
    protocol: str | None = None
    samples_per_epoch: int | None = None
    weight_by: str | None = None
    weights: tuple[str, ...] = ()
    workers: int = 1

    def __post_init__(self) -> None:
        _at_least("data", self, {"samples_per_epoch": 1, "workers": 0})


@dataclass(frozen=True)
class Run:
    """How the run behaves.

    Attributes:
        seed: Seed of everything random.
        device: ``auto`` takes a GPU where there is one.
        precision: ``float32``, or ``bfloat16`` for mixed precision with a float32 residual stream.
        compile: Compile the model.
        log_every: Steps between lines of ``metrics.jsonl``.
        checkpoint_every: Steps between checkpoints.
        keep: Checkpoints that are kept, the last ones; the best one is kept beside them.
        stop_after: Stop and save after this number of steps; the schedule is not changed.
        storage: Type of the exported encoder's weights.
    """

    seed: int = 0
    device: str = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    log_every: int = 20
    checkpoint_every: int = 500
    keep: int = 2
    stop_after: int | None = None
    storage: Literal["float32", "float16", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        _at_least("run", self, {"seed": 0, "log_every": 1, "checkpoint_every": 1, "keep": 1, "stop_after": 1})


@dataclass(frozen=True)
class TrainConfig:
    """A pre-training run.

    Attributes:
        init: Weights to start from, anything that ``from_pretrained`` takes, of the same width; of those with more
            blocks, the first are taken. None starts from nothing.
        encoder: The encoder, and what its weights will expect of their input.
        objective: What is masked and what is predicted.
        augment: What happens to a training clip.
        optim: Optimiser and schedule.
        data: Which clips an epoch sees.
        run: How the run behaves.
    """

    init: str | None = None
    encoder: MAMPConfig = field(default_factory=MAMPConfig)
    objective: Objective = field(default_factory=Objective)
    augment: Augmentation = field(default_factory=Augmentation)
    optim: Optimization = field(default_factory=Optimization)
    data: Sampling = field(default_factory=Sampling)
    run: Run = field(default_factory=Run)

    def __post_init__(self) -> None:
        parts = {f.name: f.default_factory for f in dataclasses.fields(self) if f.name != "init"}
        for name, kind in parts.items():
            value = getattr(self, name)
            if isinstance(value, dict):
                object.__setattr__(self, name, from_dict(kind, value, name))  # type: ignore[arg-type]
        if self.encoder.readout_dim is not None:
            raise ConfigError(
                f"encoder.readout_dim: expected none, found {self.encoder.readout_dim}: a readout is not trained but "
                "fitted to an encoder that is (mamp readout)."
            )
        together = self.optim.per_device_batch or self.optim.batch_size
        if self.objective.agreement_weight and together % 2:
            raise ConfigError(
                f"optim.batch_size, optim.per_device_batch: objective.agreement_weight takes pairs of views; expected "
                f"an even number of clips at a time, found {together}."
            )
        if self.optim.epochs <= self.optim.warmup_epochs:
            raise ConfigError(
                f"optim.epochs: expected more than warmup_epochs ({self.optim.warmup_epochs:g}), "
                f"found {self.optim.epochs:g}."
            )

    def build_model(self) -> MAMPForPretraining:
        """The model that this configuration trains."""
        return MAMPForPretraining(self.encoder, self.objective)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written to ``run.json``."""
        return dataclasses.asdict(self)
