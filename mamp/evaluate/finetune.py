"""Fine-tuning of the whole encoder: with all labels, with few, from weights of another set, or from scratch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from mamp.config import MAMPConfig
from mamp.data.augment import Augmentation
from mamp.errors import ConfigError, DataError
from mamp.evaluate.data import IntArray, Labelled
from mamp.evaluate.protocol import Job, Protocol
from mamp.evaluate.representation import label_of
from mamp.evaluate.result import Result
from mamp.evaluate.settings import SPREAD, SupervisedConfig
from mamp.evaluate.supervised import run_trials
from mamp.heads import ActionHead, Classifier

EMBEDDINGS = ("temp_embed", "pos_embed", "joints_embed")


@dataclass(frozen=True)
class FinetuneConfig(SupervisedConfig):
    """Settings of ``finetune``, ``scratch`` and ``transfer``; the defaults are those of the published scripts.

    Attributes:
        min_lr: Learning rate at the end.
        warmup_epochs: Linear warm-up.
        betas: Adam's averaging factors.
        layer_decay: Factor between the learning rates of a layer and the layer below; 1 gives all the same rate.
        drop_path: Rate of stochastic depth of the last block, which is the largest.
        dropout: Dropout of the tokens in the head.
        smoothing: Label smoothing.
        hidden: Width of the head's hidden layer.
    """

    min_lr: float = 1e-5
    warmup_epochs: float = 5
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 0.8
    drop_path: float = 0.3
    dropout: float = 0.3
    smoothing: float = 0.1
    hidden: int = 2048
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("drop_path", "dropout", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected a number in [0, 1), found {getattr(self, name)}.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas: expected two numbers in [0, 1), found {self.betas}.")
        if not 0 < self.layer_decay <= 1:
            raise ConfigError(f"layer_decay: expected a factor in (0, 1], found {self.layer_decay}.")
        if self.hidden < 1:
            raise ConfigError(f"hidden: expected at least 1, found {self.hidden}.")


@dataclass(frozen=True)
class SemiConfig(FinetuneConfig):
    """Settings of ``semi``: those of ``finetune``, and which labels are used.

    Attributes:
        share: Share of the training clips to use; the others are left out.
        balanced: Take the share of each class, at least one clip, instead of a share of all clips as published.
    """

    share: float = 0.1
    balanced: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ConfigError(f"share: expected a share in (0, 1], found {self.share}.")


def make_classifier(config: MAMPConfig, settings: FinetuneConfig, num_classes: int) -> Classifier:
    """An encoder with stochastic depth and the published head."""
    head = ActionHead(config.dim_feat, config.grid[1], num_classes, settings.hidden, settings.dropout)
    return Classifier(config, head, settings.drop_path)


def layer_of(name: str, depth: int) -> int:
    """Layer of a parameter: 0 for the embeddings, 1 to ``depth`` for the blocks, ``depth + 1`` for the rest."""
    first, *rest = name.split(".")
    if first in EMBEDDINGS:
        return 0
    return int(rest[0]) + 1 if first == "blocks" else depth + 1


def layer_decay_groups(model: nn.Module, depth: int, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Parameter groups whose ``lr_scale`` shrinks by ``layer_decay`` with each layer further down.

    As published, vectors have no weight decay, but the position embeddings do.

    Args:
        model: Encoder and head; parameters without gradient are left out.
        depth: Blocks of the encoder.
        weight_decay: Of matrices.
        layer_decay: Factor between layers; 1 gives all the same rate.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer, decayed = layer_of(name, depth), parameter.ndim > 1
        new = {
            "lr_scale": layer_decay ** (depth + 1 - layer),
            "weight_decay": weight_decay if decayed else 0.0,
            "params": [],
        }
        groups.setdefault((layer, decayed), new)["params"].append(parameter)
    return list(groups.values())


def make_optimizer(settings: FinetuneConfig, model: Classifier) -> torch.optim.Optimizer:
    """AdamW with learning rates by layer."""
    groups = layer_decay_groups(model, model.config.depth, settings.weight_decay, settings.layer_decay)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def labelled_share(data: Labelled, share: float, seed: int, balanced: bool) -> IntArray:
    """Training clips whose labels are used, the same in every process.

    As published, the first ``share`` of all training clips in random order is used, whatever their classes.

    Args:
        data: Clips, labels and split.
        share: Share of the training clips.
        seed: Seed of the shuffle.
        balanced: Take the share of each class, rounded, and at least one clip.

    Raises:
        DataError: No clip is left.
    """
    order = np.arange(len(data.train))
    np.random.RandomState(seed).shuffle(order)  # the generator of the published runs
    clips = data.train[order]
    if not balanced:
        clips = clips[: int(len(clips) * share)]
    else:
        labels = data.labels[clips]
        kept = [np.flatnonzero(labels == k) for k in range(len(data.classes))]
        clips = clips[np.sort(np.concatenate([rows[: max(round(len(rows) * share), 1)] for rows in kept]))]
    if not len(clips):
        raise DataError(
            f"{data.store.path}: a share of {share:g} of {len(data.train)} training clips is no clip; raise share."
        )
    return clips


def finetune(job: Job, notes: tuple[str, ...] = (), share: float | None = None, balanced: bool = False) -> Result:
    """Train encoder and head on all training clips, or on a share of them."""
    config: FinetuneConfig = job.config

    def choose(seed: int) -> IntArray:
        return job.data.train if share is None else labelled_share(job.data, share, seed, balanced)

    make = partial(make_classifier, settings=config, num_classes=len(job.data.classes))
    return run_trials(job, make, partial(make_optimizer, config), choose, config.smoothing, notes)


def run_scratch(job: Job) -> Result:
    """Run ``scratch``."""
    weights = job.weights if job.weights.partition(":")[0] == "untrained" else f"untrained:{job.weights}"
    return finetune(dataclasses.replace(job, weights=weights))


def run_semi(job: Job) -> Result:
    """Run ``semi``."""
    config: SemiConfig = job.config
    how = "of each class" if config.balanced else "of all, whatever their classes"
    count = len(labelled_share(job.data, config.share, job.seeds[0], config.balanced))
    note = f"Trained on the labels of {count} of {len(job.data.train)} training clips ({config.share:.3g} {how})."
    return finetune(job, (note,), config.share, config.balanced)


def run_transfer(job: Job) -> Result:
    """Run ``transfer``."""
    if job.weights.partition(":")[0] == "untrained":
        raise ConfigError("transfer: expected weights that were trained on another set, found untrained ones.")
    note = f"Weights {label_of(job.weights)!r} were fine-tuned on the labels of {job.data.describe()['name']!r}."
    return finetune(job, (note,))


PUBLISHED = FinetuneConfig()
PROTOCOLS = (
    Protocol(
        name="finetune",
        description="Fine-tuning: encoder and head are trained on all training clips.",
        source="The paper's fine-tuning; learning rates of the published scripts.",
        config=PUBLISHED,
        run=finetune,
        free=SPREAD,
    ),
    Protocol(
        name="scratch",
        description="Supervised training from scratch: like fine-tuning, with one learning rate for all layers.",
        source="The paper's baseline without pre-training; published scripts.",
        config=dataclasses.replace(PUBLISHED, layer_decay=1.0),
        run=run_scratch,
        fresh=True,
        free=SPREAD,
    ),
    Protocol(
        name="semi",
        description="Fine-tuning on a share of the training clips.",
        source="The paper's semi-supervised evaluation; the subset is the same in every process.",
        config=SemiConfig(),
        run=run_semi,
        free=SPREAD,
    ),
    Protocol(
        name="transfer",
        description="Fine-tuning on one data set of weights that were pre-trained on another.",
        source="The paper's transfer learning; the settings of fine-tuning.",
        config=PUBLISHED,
        run=run_transfer,
        free=SPREAD,
    ),
)
