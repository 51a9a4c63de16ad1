"""Masking: the motion-aware masking of the paper, and alternatives.

A rule computes a sort key per token from a clip and uniform noise u; the tokens with the smallest keys are kept.

==============  ======================================================================================================
``motion``      ``log softmax(I / (tau max I)) - log(-log u)`` with the motion intensity I (the paper's)
``random``      ``u``
``confidence``  as ``motion``, with ``I * c``: the tracking confidence c reduces the weight of jitter
``tube``        ``rank of u over joints + u``: a few joints are visible at (nearly) all times
``parts``       ``rank of u over body parts at each time + u``: at most one body part is visible at a time
``future``      ``time + u / 2``: what comes later is masked (:mod:`mamp.future`)
``learned``     as ``motion``, with the loss of each token in place of I: what an averaged teacher predicts badly
``still``       as ``motion``, with ``max I - I``: what moves most stays visible, as with ``token_share`` of ``encode``
==============  ======================================================================================================
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from mamp.errors import ConfigError

Masking = Literal["motion", "random", "confidence", "tube", "parts", "future", "learned", "still"]


class Mask(NamedTuple):
    """Masking of N bodies of L tokens.

    Attributes:
        mask: [N, L], 1 where a token is masked, in the dtype of the input.
        ids_keep: [N, K] indices of the visible tokens, in the order of the encoder.
        ids_shuffle: [N, L] indices of all tokens by ascending key, visible ones first.
        ids_restore: [N, L] inverse permutation of ``ids_shuffle``.
    """

    mask: Tensor
    ids_keep: Tensor
    ids_shuffle: Tensor
    ids_restore: Tensor


def num_kept(num_tokens: int, mask_ratio: float) -> int:
    """Number of visible tokens, ``int(L * (1 - ratio))``; as published, 750 tokens at ratio 0.9 leave 74, not 75."""
    if not 0 <= mask_ratio <= 1:
        raise ConfigError(f"mask_ratio: expected a share in [0, 1], found {mask_ratio!r}.")
    return int(num_tokens * (1 - mask_ratio))


def patchify(x: Tensor, t_patch_size: int, patch_size: int = 1) -> Tensor:
    """Cut clips into tokens: [N, T, V, C] -> [N, L, t_patch_size * patch_size * C], frame-major inside a token."""
    return rearrange(x, "n (t u) (v p) c -> n (t v) (u p c)", u=t_patch_size, p=patch_size)


def motion_intensity(x: Tensor, t_patch_size: int, patch_size: int = 1) -> Tensor:
    """Mean absolute difference between each token and its predecessor in time, [N, T, V, C] -> [N, L].

    The first step has no predecessor, and takes the values of the second.
    """
    patches = rearrange(x, "n (t u) (v p) c -> n t v (u p c)", u=t_patch_size, p=patch_size)
    change = torch.zeros_like(patches)
    if patches.shape[1] > 1:
        change[:, 1:] = (patches[:, 1:] - patches[:, :-1]).abs()
        change[:, 0] = change[:, 1]
    return rearrange(change.mean(dim=-1), "n t v -> n (t v)")


def motion_aware_key(intensity: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Sort key of motion-aware masking: Gumbel top-k over ``softmax(I / (max(I) * tau))``.

    Masked tokens are drawn without replacement in proportion to the softmax, so moving tokens are masked more often.

    Args:
        intensity: [N, L] motion intensity.
        noise: [N, L], uniform in [0, 1).
        tau: Temperature above zero; smaller values prefer motion more strongly.
    """
    peak = intensity.max(dim=-1, keepdim=True).values
    prob = torch.softmax(intensity / (peak * tau + 1e-10), dim=-1)
    gumbel = -torch.log(-torch.log(noise + 1e-10) + 1e-10)
    return torch.log(prob) + gumbel


def still_key(intensity: Tensor, noise: Tensor, tau: float) -> Tensor:
    """As :func:`motion_aware_key`, but masking what moves least: sort key [N, L]."""
    return motion_aware_key(intensity.max(dim=-1, keepdim=True).values - intensity, noise, tau)


def tube_key(noise: Tensor, steps: int) -> Tensor:
    """Sort key of tube masking, [N, L] from ``noise`` [N, L]: joints in random order, the same at all times."""
    u = rearrange(noise, "n (t v) -> n t v", t=steps)
    rank = u[:, :1].argsort(dim=-1).argsort(dim=-1)
    return rearrange(rank + u, "n t v -> n (t v)")


def parts_key(noise: Tensor, steps: int, parts: Tensor) -> Tensor:
    """Sort key of body-part masking, [N, L] from ``noise`` [N, L]: parts in random order at each of ``steps`` times.

    ``parts`` [v] is the index of the body part of each joint.
    """
    u = rearrange(noise, "n (t v) -> n t v", t=steps)
    first_of_part = torch.stack([(parts == part).int().argmax() for part in range(int(parts.max()) + 1)])
    rank = u[..., first_of_part].argsort(dim=-1).argsort(dim=-1)
    return rearrange(rank[..., parts] + u, "n t v -> n (t v)")


def token_confidence(confidence: Tensor, t_patch_size: int, patch_size: int = 1) -> Tensor:
    """Tracking confidence of each token, or of its predecessor in time if that is lower: [N, T, V] -> [N, L]."""
    mean = rearrange(confidence, "n (t u) (v p) -> n t v (u p)", u=t_patch_size, p=patch_size).mean(dim=-1)
    before = torch.cat([mean[:, 1:2], mean[:, :-1]], dim=1) if mean.shape[1] > 1 else mean
    return rearrange(torch.minimum(mean, before), "n t v -> n (t v)")


def mask_tokens(key: Tensor, mask_ratio: float) -> Mask:
    """Mask all tokens except those with the smallest keys; ``key`` is [N, L]."""
    kept = num_kept(key.shape[1], mask_ratio)
    ids_shuffle = torch.argsort(key, dim=1)
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    mask = (ids_restore >= kept).to(key.dtype)
    return Mask(mask, ids_shuffle[:, :kept], ids_shuffle, ids_restore)


def mask_ratio_between(low: float, high: float, u: float) -> float:
    """Mask ratio between ``low`` and ``high`` with a log-uniform share of visible tokens, given uniform ``u``."""
    least, most = 1 - high, 1 - low
    return 1 - least * (most / least) ** u


def missing_tokens(draw: Tensor, share: float, steps: int, parts: Tensor) -> Tensor:
    """Tokens [N, L] to hide as if not tracked: 30 % of the affected bodies lose up to half of the time, others parts.

    Args:
        draw: [N, 4], uniform in [0, 1): whether, what, how much, and which part or from when.
        share: Share of affected bodies.
        steps: Time steps, t.
        parts: [v] index of the body part of each joint; one or two parts are lost.
    """
    what, much, when = draw[:, 1:2], draw[:, 2:3], draw[:, 3:4]
    step = torch.arange(steps, device=draw.device)[None]
    length = (0.5 * much * steps).floor()
    begin = (when * (steps - length)).floor()
    stretch = (step >= begin) & (step < begin + length)

    count = int(parts.max()) + 1
    first = (when * count).floor().long()
    second = (first + 1 + (much * 2 * (count - 1)).floor().long() % (count - 1)) % count
    lacks = (parts[None] == first) | ((parts[None] == second) & (much < 0.5))

    gone = torch.where((what < 0.3)[..., None], stretch[:, :, None], lacks[:, None, :])
    return rearrange(gone & (draw[:, :1] < share)[..., None], "n t v -> n (t v)")
