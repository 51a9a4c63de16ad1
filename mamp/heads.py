"""Classification heads, and encoder plus head, with the parameter names of the published checkpoints."""

from __future__ import annotations

import torch
import torch.distributed as dist
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn import functional as F

from mamp.config import MAMPConfig
from mamp.transformer import Backbone, reduce_present

# Clips encoded together without gradients; few, to bound memory.
CLIPS_AT_ONCE = {"cpu": 4, "cuda": 64}
EPS = 1e-6  # of the batch norm of the linear probe


class SumOverProcesses(torch.autograd.Function):
    """Sum of a tensor over all processes, with gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """The sum, the same everywhere."""
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        """Every process depends on what this one added."""
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over the clips of all processes, which must have the same number, on CPUs and GPUs.

    ``forward`` maps [B, D] to [B, D]. In a single process it is :class:`torch.nn.BatchNorm1d`. With ``group``, every
    ``group`` clips are normalised separately, like on the GPUs of the published runs, and the running statistics are
    those of the first group of the first process.
    """

    group: int | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each feature."""
        if self.training and self.group is not None:
            return self._in_groups(x, self.group)
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(x)
        assert self.running_var is not None
        count = len(x) * dist.get_world_size()
        mean = SumOverProcesses.apply(x.sum(dim=0)) / count
        var = SumOverProcesses.apply((x - mean).square().sum(dim=0)) / count
        self._track(mean, var.detach().to(self.running_var.dtype) * count / (count - 1))
        y = (x - mean) * (var + self.eps).rsqrt()
        return y if self.weight is None else y * self.weight + self.bias

    @torch.no_grad()
    def _track(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(var.to(self.running_var.dtype), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)

    def _in_groups(self, x: Tensor, size: int) -> Tensor:
        parts = x.split(size)
        assert len(parts[-1]) == size or len(parts) == 1, "the batch is a multiple of the group"
        with torch.no_grad():
            var, mean = torch.var_mean(parts[0], dim=0)
            if dist.is_initialized() and dist.get_world_size() > 1:
                dist.broadcast(mean, 0)
                dist.broadcast(var, 0)
        self._track(mean, var)
        weight, bias = self.weight, self.bias
        return torch.cat([F.batch_norm(part, None, None, weight, bias, True, 0.0, self.eps) for part in parts])


def set_norm_clips(model: nn.Module, clips: int | None) -> None:
    """Set the group size of every :class:`BatchNorm` of a model; ``None`` normalises over all clips."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.group = clips


def mean_over_people(x: Tensor, present: Tensor | None) -> Tensor:
    """Mean [B, M, ...] -> [B, ...] over all people as published, including absent ones, or over ``present`` [B, M]."""
    if present is None:
        return x.mean(dim=1)
    share = present / present.sum(dim=1, keepdim=True)
    return torch.einsum("bm...,bm->b...", x, share.to(x.dtype))


class Head(nn.Module):
    """Maps tokens to class scores in two steps, ``pool`` and ``classify``; ``num_classes`` is K."""

    num_classes: int

    def pool(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """[B, M, T, V, D] -> [B, F]; see :func:`mean_over_people` for ``present``."""
        raise NotImplementedError

    def classify(self, features: Tensor) -> Tensor:
        """[B, F] -> [B, K]."""
        raise NotImplementedError

    def forward(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """[B, M, T, V, D] -> [B, K]."""
        return self.classify(self.pool(tokens, present))


class LinearHead(Head):
    """Published linear probe: mean over people, time and joints, batch norm without parameters, linear layer.

    Args:
        dim: Width of what is pooled: D of a token for the mean.
        num_classes: Number of classes, K.
        norm: Type of batch norm; the plain one if every process has the whole batch.
        pooling: Over time and joints, as ``MAMPConfig.pooling``; the mean as published.
    """

    def __init__(
        self, dim: int, num_classes: int, norm: type[nn.BatchNorm1d] = BatchNorm, pooling: str = "mean"
    ) -> None:
        super().__init__()
        self.num_classes, self.pooling = num_classes, pooling
        self.fc = nn.Sequential(norm(dim, affine=False, eps=EPS), nn.Linear(dim, num_classes))
        nn.init.trunc_normal_(self.fc[1].weight, std=0.01)  # type: ignore[arg-type]
        nn.init.zeros_(self.fc[1].bias)  # type: ignore[arg-type]

    def pool(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """[B, M, T, V, D] -> [B, D], or as many times D as the pooling has parts."""
        return mean_over_people(reduce_present(tokens, (2, 3), self.pooling), present)

    def classify(self, features: Tensor) -> Tensor:
        """[B, D] -> [B, K]."""
        scores: Tensor = self.fc(features)
        return scores


class ActionHead(Head):
    """Published fine-tuning head: dropout, mean over time and people, hidden layer with batch norm, linear layer.

    Args:
        dim: Width of a token, D.
        num_joints: Joints of the tokens, V, which are concatenated.
        num_classes: Number of classes, K.
        hidden: Width of the hidden layer.
        dropout: Dropout rate of the tokens.
    """

    def __init__(self, dim: int, num_joints: int, num_classes: int, hidden: int = 2048, dropout: float = 0.3) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.dropout = nn.Dropout(dropout)
        self.bn = BatchNorm(hidden)
        self.fc1 = nn.Linear(num_joints * dim, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def pool(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """[B, M, T, V, D] -> [B, V * D]."""
        people = reduce(self.dropout(tokens), "b m t v d -> b m v d", "mean")
        return rearrange(mean_over_people(people, present), "b v d -> b (v d)")

    def classify(self, features: Tensor) -> Tensor:
        """[B, V * D] -> [B, K]."""
        scores: Tensor = self.fc2(F.relu(self.bn(self.fc1(features))))
        return scores


class Classifier(Backbone):
    """Encoder and head, with the state dict keys of the published downstream checkpoints.

    Args:
        config: Architecture of the encoder.
        head: The head.
        drop_path_rate: Maximum stochastic-depth rate of the encoder.
        frozen: Train only the head: the encoder needs no gradient and stays in evaluation mode.
    """

    def __init__(self, config: MAMPConfig, head: Head, drop_path_rate: float = 0.0, frozen: bool = False) -> None:
        super().__init__(config, drop_path_rate)
        if frozen:
            self.requires_grad_(False)
        self.head, self.frozen = head, frozen

    def train(self, mode: bool = True) -> Classifier:
        """Set training mode, only of the head if the encoder is frozen."""
        super().train(mode and not self.frozen)
        self.head.train(mode)
        return self

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Compute logits [B, K].

        Args:
            x: [B, M, T, V, C] clips, zeros for absent people.
            present: [B, M] people to average over; ``None`` takes all, as published.
        """
        features = self.pool(x, present)
        with torch.autocast(x.device.type, enabled=False):  # cheap, hence in full precision
            return self.head.classify(features.to(self.temp_embed.dtype))

    def pool(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Features [B, F] of clips; without gradients, a few clips at a time."""
        self.check_input(x)
        if torch.is_grad_enabled() and not self.frozen:
            return self.head.pool(self.tokens(x, present), present)
        with torch.no_grad():
            size = CLIPS_AT_ONCE.get(x.device.type, CLIPS_AT_ONCE["cpu"])
            masks = [None] * len(x.split(size)) if present is None else present.split(size)
            parts = zip(x.split(size), masks, strict=True)
            return torch.cat([self.head.pool(self.tokens(part, mask), mask) for part, mask in parts])

    def tokens(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """[B, M, T, V, C] -> [B, M, T / t_patch_size, V / patch_size, D], zeros for people not ``present``.

        Without gradients, all-zero bodies are encoded only once.
        """
        (b, m), (t, v) = x.shape[:2], self.config.grid
        encoded, empty = present, None
        if not torch.is_grad_enabled():
            empty = (x == 0).flatten(2).all(dim=2)
            empty = empty if present is None else empty & present
            encoded = ~empty if present is None else present & ~empty
        if encoded is None or bool(encoded.all()):
            h = self.encode_tokens(rearrange(x, "b m t v c -> (b m) t v c"))
            return rearrange(h, "(b m) (t v) d -> b m t v d", m=m, t=t)
        some = self.encode_tokens(x[encoded])
        h = some.new_zeros(b, m, t * v, self.config.dim_feat)
        h[encoded] = some
        if empty is not None and bool(empty.any()):
            h[empty] = self.encode_tokens(x[empty][:1])
        return rearrange(h, "b m (t v) d -> b m t v d", t=t)
