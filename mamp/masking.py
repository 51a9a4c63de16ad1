"""Which tokens the encoder sees: motion-aware masking (the paper's), and its neighbours.

A rule turns a clip and uniform noise u into one sort key per token; the tokens with the smallest keys are kept.

==============  ======================================================================================================
``motion``      ``log softmax(I / (tau max I)) - log(-log u)`` with the motion intensity I (the paper's)
``random``      ``u``
``confidence``  as ``motion``, with ``I * c``: tracking confidence c weighs down what is jitter rather than motion
``tube``        ``rank of u over joints + u``: what is visible of a few joints is visible at (nearly) all times
``parts``       ``rank of u over body parts at each time + u``: at each time one body part is visible, at most
==============  ======================================================================================================
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from mamp.errors import ConfigError

Masking = Literal["motion", "random", "confidence", "tube", "parts"]


class Mask(NamedTuple):
    """Outcome of masking for N bodies of L tokens.

    Attributes:
        mask: [N, L] in the input's dtype, 1 where a token is masked.
        ids_keep: [N, K] indices of the kept tokens, in the order in which the encoder sees them.
        ids_shuffle: [N, L] all tokens by ascending key: the kept ones first, then the masked ones.
        ids_restore: [N, L] position of each token in the shuffled order, the inverse of ``ids_shuffle``.
    """

    mask: Tensor
    ids_keep: Tensor
    ids_shuffle: Tensor
    ids_restore: Tensor


def num_kept(num_tokens: int, mask_ratio: float) -> int:
    """Tokens that stay visible: ``int(L * (1 - ratio))``.

    The product is truncated in floating point as published, so 750 tokens at ratio 0.9 leave 74, not 75.
    """
    if not 0 <= mask_ratio <= 1:
        raise ConfigError(f"mask_ratio: expected a share in [0, 1], found {mask_ratio!r}.")
    return int(num_tokens * (1 - mask_ratio))


def patchify(x: Tensor, t_patch_size: int, patch_size: int = 1) -> Tensor:
    """Cut clips into tokens: [N, T, V, C] -> [N, L, t_patch_size * patch_size * C], frame-major inside a token."""
    return rearrange(x, "n (t u) (v p) c -> n (t v) (u p c)", u=t_patch_size, p=patch_size)


def motion_intensity(x: Tensor, t_patch_size: int, patch_size: int = 1) -> Tensor:
    """Mean absolute change of each token from the token of the same joint one patch earlier.

    [N, T, V, C] -> [N, L]; the first patch has no predecessor and takes the value of the second.
    """
    patches = rearrange(x, "n (t u) (v p) c -> n t v (u p c)", u=t_patch_size, p=patch_size)
    change = torch.zeros_like(patches)
    if patches.shape[1] > 1:
        change[:, 1:] = (patches[:, 1:] - patches[:, :-1]).abs()
        change[:, 0] = change[:, 1]
    return rearrange(change.mean(dim=-1), "n t v -> n (t v)")


def motion_aware_key(intensity: Tensor, noise: Tensor, tau: float) -> Tensor:
    """Sort key of motion-aware masking: Gumbel top-k over ``softmax(I / (max(I) * tau))``.

    With I divided by its maximum over the body, the masked set is drawn without replacement in proportion to the
    softmax, so moving tokens are masked more often (the paper's motion-aware masking).

    Args:
        intensity: [N, L] motion intensity.
        noise: [N, L], uniform in [0, 1).
        tau: Temperature, above zero; smaller prefers motion more strongly.
    """
    peak = intensity.max(dim=-1, keepdim=True).values
    prob = torch.softmax(intensity / (peak * tau + 1e-10), dim=-1)
    gumbel = -torch.log(-torch.log(noise + 1e-10) + 1e-10)
    return torch.log(prob) + gumbel


def tube_key(noise: Tensor, steps: int) -> Tensor:
    """Sort key of tube masking: joints in random order, the same at all times. ``noise`` is [N, L] with L = t * v."""
    u = rearrange(noise, "n (t v) -> n t v", t=steps)
    rank = u[:, :1].argsort(dim=-1).argsort(dim=-1)
    return rearrange(rank + u, "n t v -> n (t v)")


def parts_key(noise: Tensor, steps: int, parts: Tensor) -> Tensor:
    """Sort key of body-part masking: at each time, parts in random order.

    Args:
        noise: [N, L] with L = t * v.
        steps: Time steps, t.
        parts: [v] number of the body part of each joint, from 0.
    """
    u = rearrange(noise, "n (t v) -> n t v", t=steps)
    first_of_part = torch.stack([(parts == part).int().argmax() for part in range(int(parts.max()) + 1)])
    rank = u[..., first_of_part].argsort(dim=-1).argsort(dim=-1)
    return rearrange(rank[..., parts] + u, "n t v -> n (t v)")


def token_confidence(confidence: Tensor, t_patch_size: int, patch_size: int = 1) -> Tensor:
    """Mean tracking confidence of each token and of the one before it, between which motion is measured.

    [N, T, V] -> [N, L].
    """
    mean = rearrange(confidence, "n (t u) (v p) -> n t v (u p)", u=t_patch_size, p=patch_size).mean(dim=-1)
    before = torch.cat([mean[:, 1:2], mean[:, :-1]], dim=1) if mean.shape[1] > 1 else mean
    return rearrange(torch.minimum(mean, before), "n t v -> n (t v)")


def mask_tokens(key: Tensor, mask_ratio: float) -> Mask:
    """Keep the tokens with the smallest keys; the rest is masked. ``key`` is [N, L]."""
    kept = num_kept(key.shape[1], mask_ratio)
    ids_shuffle = torch.argsort(key, dim=1)
    ids_restore = torch.argsort(ids_shuffle, dim=1)
    mask = (ids_restore >= kept).to(key.dtype)
    return Mask(mask, ids_shuffle[:, :kept], ids_shuffle, ids_restore)


def mask_ratio_between(low: float, high: float, u: float) -> float:
    """Mask ratio from ``low`` to ``high`` such that the share of visible tokens is log-uniform for uniform ``u``."""
    least, most = 1 - high, 1 - low
    return 1 - least * (most / least) ** u


def missing_tokens(draw: Tensor, share: float, steps: int, parts: Tensor) -> Tensor:
    """Tokens that the encoder does not see of some bodies: one or two body parts, or a stretch of time.

    Of the bodies that lack something, 30 % lack a stretch of up to half of the time, the others one or two parts.

    Args:
        draw: [N, 4], uniform in [0, 1): whether anything is missing, what, how much, and which part or from when.
        share: Share of the bodies that lack something.
        steps: Time steps, t.
        parts: [v] number of the body part of each joint, from 0.

    Returns:
        [N, L] with L = t * v, true where a token is missing.
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
