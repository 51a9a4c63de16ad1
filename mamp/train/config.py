"""Configuration of a pre-training run."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass, field
from typing import Any, Literal

from mamp.config import MAMPConfig, from_dict
from mamp.data.augment import Augmentation
from mamp.distillation import Distillation
from mamp.encoder import MAMPEncoder
from mamp.errors import ConfigError
from mamp.pretraining import MAMPForPretraining, Objective


def _at_least(where: str, part: Any, lowest: dict[str, int]) -> None:
    """Raise :class:`ConfigError` if a field is below its minimum; ``None`` is allowed."""
    for name, low in lowest.items():
        value = getattr(part, name)
        if value is not None and not low <= value < float("inf"):
            raise ConfigError(f"{where}.{name}: expected at least {low}, found {value}.")


@dataclass(frozen=True)
class Optimization:
    """Optimiser and schedule.

    Attributes:
        batch_size: Effective batch size over all devices and accumulation, to which the learning rate belongs.
        per_device_batch: Clips per device and micro-batch; the rest is accumulated. None takes as many as fit in
            memory.
        epochs: Length of the schedule.
        warmup_epochs: Length of the linear warm-up.
        lr: Maximum learning rate.
        min_lr: Final learning rate.
        weight_decay: Decoupled weight decay, not applied to vectors and biases.
        betas: Coefficients of Adam.
        clip_grad: Maximum gradient norm; none disables clipping.
        ema: Decay of an exponential moving average of the weights, which is then exported; none disables it.
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
    """Sampling of clips.

    Attributes:
        split: Split to train on; none takes all clips.
        protocol: Protocol of the split, if the store has several: ``xsub``, ``xview`` or ``xset``.
        samples_per_epoch: Clips per epoch; none takes each clip once.
        weight_by: Column whose groups are weighted, such as ``corpus``; clips are then drawn with replacement, in
            proportion to their length within a group.
        weights: ``group=weight`` pairs for ``weight_by``; the default weight is 1.
        workers: Number of threads that read clips ahead.
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
    """Options of the run.

    Attributes:
        seed: Random seed.
        device: Device; ``auto`` uses a GPU if available.
        precision: ``float32``, or ``bfloat16`` for mixed precision with a float32 residual stream.
        compile: Compile the model.
        log_every: Steps between lines of ``metrics.jsonl``.
        checkpoint_every: Steps between checkpoints.
        keep: Number of latest checkpoints to keep, besides the best one.
        stop_after: Stop and save after this number of steps; the schedule is not changed.
        storage: Data type of the exported weights.
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
        init: Weights to start from, as for ``from_pretrained``, of the same width; surplus blocks are dropped. None
            initialises at random.
        teacher: Weights with a readout, as for ``from_pretrained``, whose tokens and embeddings the encoder learns to
            give (see :mod:`mamp.distillation`) in place of masked prediction. None predicts.
        encoder: Architecture and preprocessing of the encoder.
        objective: Masking and prediction target.
        augment: Augmentation of training clips.
        optim: Optimiser and schedule.
        data: Sampling of clips.
        run: Options of the run.
    """

    init: str | None = None
    teacher: str | None = None
    encoder: MAMPConfig = field(default_factory=MAMPConfig)
    objective: Objective = field(default_factory=Objective)
    augment: Augmentation = field(default_factory=Augmentation)
    optim: Optimization = field(default_factory=Optimization)
    data: Sampling = field(default_factory=Sampling)
    run: Run = field(default_factory=Run)

    def __post_init__(self) -> None:
        parts = {f.name: f.default_factory for f in dataclasses.fields(self) if f.default_factory is not MISSING}
        for name, kind in parts.items():
            value = getattr(self, name)
            if isinstance(value, dict):
                object.__setattr__(self, name, from_dict(kind, value, name))  # type: ignore[arg-type]
        if self.teacher is None and self.encoder.readout_dim is not None:
            raise ConfigError(
                f"encoder.readout_dim: expected none, found {self.encoder.readout_dim}: a readout is fitted to a "
                "trained encoder (mamp readout)."
            )
        if self.teacher is not None and self.objective.agreement_weight:
            raise ConfigError(
                "objective.agreement_weight: expected 0 with a teacher, which embeds each clip already; found "
                f"{self.objective.agreement_weight:g}."
            )
        together = self.optim.per_device_batch or self.optim.batch_size
        if self.objective.agreement_weight and together % 2:
            raise ConfigError(
                f"optim.batch_size, optim.per_device_batch: objective.agreement_weight takes pairs of views; expected "
                f"an even number of clips at a time, found {together}."
            )
        if self.teacher is None and self.objective.masking == "learned" and self.optim.ema is None:
            raise ConfigError(
                "objective.masking: 'learned' takes the loss of an averaged teacher, expected a decay in optim.ema "
                "(0.99, say), found none."
            )
        if self.optim.epochs <= self.optim.warmup_epochs:
            raise ConfigError(
                f"optim.epochs: expected more than warmup_epochs ({self.optim.warmup_epochs:g}), "
                f"found {self.optim.epochs:g}."
            )

    def build_model(self) -> MAMPForPretraining | Distillation:
        """Build the model to train."""
        if self.teacher is not None:
            return Distillation(self.encoder, self.objective, MAMPEncoder.from_pretrained(self.teacher))
        return MAMPForPretraining(self.encoder, self.objective)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as written to ``run.json``."""
        return dataclasses.asdict(self)
