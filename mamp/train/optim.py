"""Learning-rate schedule and parameter groups of the published runs."""

from __future__ import annotations

import math

import torch
from torch import nn

from mamp.train.config import Optimization


def learning_rate(epoch: float, lr: float, min_lr: float, warmup_epochs: float, epochs: float) -> float:
    """Linear warm-up from zero, then half a cosine down to ``min_lr``; ``epoch`` is fractional."""
    if epoch < warmup_epochs:
        return lr * epoch / warmup_epochs
    share = (epoch - warmup_epochs) / (epochs - warmup_epochs)
    return min_lr + (lr - min_lr) * 0.5 * (1.0 + math.cos(math.pi * share))


def set_learning_rate(optimizer: torch.optim.Optimizer, epoch: float, optim: Optimization) -> float:
    """Give each parameter group its rate at a fractional epoch, and return that of a group without ``lr_scale``."""
    lr = learning_rate(epoch, optim.lr, optim.min_lr, optim.warmup_epochs, optim.epochs)
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
    return lr


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups of pre-training: none for vectors and biases, ``weight_decay`` for the rest.

    As published, the rest includes the mask token and the position embeddings.
    """
    plain: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        (plain if parameter.ndim == 1 or name.endswith(".bias") else decayed).append(parameter)
    return [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay}]
