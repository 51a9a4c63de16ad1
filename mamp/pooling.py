"""From tokens to embeddings: one value of each channel for all tokens that are there, then the mean over people.

A token that is absent is NaN, and so is what nothing is reduced to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from einops import rearrange, repeat
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mamp.config import MAMPConfig
from mamp.preprocessing import NormalizedClip, middle_crop
from mamp.skeleton import Skeleton

if TYPE_CHECKING:
    from mamp.embedding import Pool

FloatArray = NDArray[np.float32]

# Dimensions of the tokens [N, T, V, D] of bodies that each pool reduces.
_OVER: dict[Pool, tuple[int, ...]] = {"clip": (1, 2), "person": (1, 2), "frame": (2,), "joint": (1,), "tokens": ()}


def result_shape(pool: Pool, recording: Skeleton, config: MAMPConfig) -> tuple[int, ...]:
    """Shape of the embedding of a recording or window, without the frames of ``pool="frame"``."""
    t, v = config.grid
    expected, people = config.preprocessing, recording.num_people
    if pool == "tokens" and expected.max_people is not None:
        people = expected.max_people if expected.absent_person != "none" else min(people, expected.max_people)
    inner = {"clip": (), "person": (people,), "frame": (), "joint": (v,), "tokens": (people, t, v)}[pool]
    return (*inner, config.dim_feat if pool == "tokens" else config.embedding_dim)


def in_place(tokens: Tensor, ids: Tensor, config: MAMPConfig) -> Tensor:
    """Put tokens [N, K, D] of ids [N, K] where they belong, and NaN elsewhere: [N, T, V, D]."""
    t, v = config.grid
    full = tokens.new_full((len(tokens), t * v, tokens.shape[-1]), torch.nan)
    full.scatter_(1, repeat(ids, "n k -> n k d", d=tokens.shape[-1]), tokens)
    return rearrange(full, "n (t v) d -> n t v d", t=t)


def pool_tokens(tokens: Tensor, pool: Pool, pooling: str = "mean") -> Tensor:
    """Reduce tokens [N, T, V, D] of bodies to what the pool needs of each."""
    return reduce_present(tokens, _OVER[pool], pooling) if _OVER[pool] else tokens


def pool_people(
    bodies: Tensor, clip: NormalizedClip, recording: Skeleton, pool: Pool, config: MAMPConfig
) -> FloatArray:
    """Combine the people of one recording, absent ones included where the weights expect them.

    Args:
        bodies: [M, ...], what :func:`pool_tokens` made of each person of the clip.
        clip: The clip.
        recording: What it was made from.
        pool: What one embedding stands for.
        config: Of the encoder.
    """
    if pool == "person" or (pool == "tokens" and config.preprocessing.max_people is None):
        everybody = bodies.new_full((recording.num_people, *bodies.shape[1:]), torch.nan)
        everybody[torch.from_numpy(clip.people)] = bodies[: clip.num_present]
        return everybody.numpy()
    if pool == "tokens":
        missing = result_shape(pool, recording, config)[0] - len(bodies)
        return F.pad(bodies, (0, 0) * (bodies.ndim - 1) + (0, missing), value=torch.nan).numpy()
    bodies = reduce_present(bodies, 0)
    if pool == "frame":
        bodies = _to_frames(bodies, clip, recording.num_frames, config.preprocessing.crop)
    return bodies.numpy()


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


def _to_frames(steps: Tensor, clip: NormalizedClip, num_frames: int, crop: float) -> Tensor:
    """Spread token steps [t, D] over the frames of the recording [T, D], by linear interpolation in time."""
    start, length = middle_crop(len(clip.frames), crop)
    resized = F.interpolate(rearrange(_bridged(steps), "t d -> 1 d t"), size=length, mode="linear", align_corners=False)
    rows = rearrange(resized, "1 d t -> t d")
    # A frame without anybody takes the next one that has somebody.
    kept = np.searchsorted(clip.frames, np.arange(num_frames)).clip(0, len(clip.frames) - 1)
    return rows[torch.from_numpy(kept - start).clamp(0, length - 1)]


def _bridged(steps: Tensor) -> Tensor:
    """Steps [t, D], those without a token (NaN) interpolated between their neighbours in time."""
    there = ~steps.isnan().any(dim=1)
    if bool(there.all()):
        return steps
    known = there.nonzero()[:, 0]
    time = torch.arange(len(steps))
    after = torch.searchsorted(known, time).clamp(max=len(known) - 1)
    before = torch.where(known[after] > time, after - 1, after).clamp(min=0)
    gap = (known[after] - known[before]).clamp(min=1)
    share = ((time - known[before]) / gap).clamp(0, 1)[:, None]
    return torch.lerp(steps[known[before]], steps[known[after]], share.to(steps.dtype))
