"""From tokens to embeddings: reductions of tensors in which NaN marks a token that is absent.

What nothing is reduced to is NaN.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor

from mamp.config import MAMPConfig, Pool

# Dimensions of the tokens [N, T, V, D] of bodies that each pool reduces.
_OVER: dict[Pool, tuple[int, ...]] = {"clip": (1, 2), "person": (1, 2), "frame": (2,), "joint": (1,), "tokens": ()}


def in_place(tokens: Tensor, ids: Tensor, config: MAMPConfig) -> Tensor:
    """Put tokens [N, K, D] of ids [N, K] where they belong, and NaN elsewhere: [N, T, V, D]."""
    t, v = config.grid
    full = tokens.new_full((len(tokens), t * v, tokens.shape[-1]), torch.nan)
    full.scatter_(1, repeat(ids, "n k -> n k d", d=tokens.shape[-1]), tokens)
    return rearrange(full, "n (t v) d -> n t v d", t=t)


def pool_tokens(tokens: Tensor, pool: Pool, pooling: str = "mean") -> Tensor:
    """Reduce tokens [N, T, V, D] of bodies to what the pool needs of each."""
    return reduce_present(tokens, _OVER[pool], pooling) if _OVER[pool] else tokens


def reduce_present(values: Tensor, dim: int | tuple[int, ...], pooling: str = "mean") -> Tensor:
    """Reduce what is not NaN over some dimensions, as ``MAMPConfig.pooling`` says; NaN where nothing is left.

    Several ways to pool stand one behind another in the last dimension.
    """
    partly = bool(values.isnan().any())
    found = [_REDUCTIONS[part](values, (dim,) if isinstance(dim, int) else dim, partly) for part in pooling.split("+")]
    return found[0] if len(found) == 1 else torch.cat(found, dim=-1)


def _mean(values: Tensor, dim: tuple[int, ...], partly: bool) -> Tensor:
    return values.nanmean(dim=dim) if partly else values.mean(dim=dim)


def _max(values: Tensor, dim: tuple[int, ...], partly: bool) -> Tensor:
    if not partly:
        return values.amax(dim=dim)
    largest = values.masked_fill(values.isnan(), -torch.inf).amax(dim=dim)
    return largest.masked_fill(largest == -torch.inf, torch.nan)


def _std(values: Tensor, dim: tuple[int, ...], partly: bool) -> Tensor:
    if not partly:
        return values.std(dim=dim, correction=0)
    mean = values.nanmean(dim=dim, keepdim=True)
    return (values - mean).square().nanmean(dim=dim).sqrt()


_REDUCTIONS = {"mean": _mean, "max": _max, "std": _std}


def equal_counts(presence: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Put bodies that have as many tokens together, so that each group is encoded as it would be alone.

    Args:
        presence: [N, L], true where a token is there.

    Returns:
        For each number K of tokens that occurs: rows [n] of the bodies that have it, and ids [n, K] of their tokens.
    """
    counts = presence.sum(dim=1)
    groups = []
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero()[:, 0]
        groups.append((rows, presence[rows].nonzero()[:, 1].view(len(rows), count)))
    return groups
