"""A straightforward implementation of the same mathematics, to measure against.

Explicit softmax attention, float32, every person encoded, clips cut, resized and rotated one by one in numpy from
arrays padded to one length. It is what one writes first, and what the published code amounts to.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from mamp.layers import Attention


class ExplicitAttention(nn.Module):
    """Attention that builds the matrix of weights; takes the layers of :class:`mamp.layers.Attention`."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = attention.num_heads, attention.qkv, attention.proj

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, L, D] to [N, L, D]."""
        q, k, v = rearrange(self.qkv(x), "n l (three h d) -> three n h l d", three=3, h=self.num_heads)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.proj(rearrange(weights @ v, "n h l d -> n l (h d)"))


def with_explicit_attention(model: nn.Module) -> nn.Module:
    """A copy of a model with explicit attention in every block."""
    model = copy.deepcopy(model)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Attention):
                setattr(module, name, ExplicitAttention(child))
    return model


class PaddedFeeder:
    """Clips [n, Tmax, M * V * C], zero-padded to one length, augmented one by one."""

    def __init__(self, clips: list[np.ndarray], people: int, num_frames: int, seed: int = 0) -> None:
        longest = max(clip.shape[1] for clip in clips)
        joints = clips[0].shape[2]
        self.data = np.zeros((len(clips), longest, people, joints, 3), np.float32)
        for row, clip in zip(self.data, clips, strict=True):
            row[: clip.shape[1], : clip.shape[0]] = clip.transpose(1, 0, 2, 3)
        self.num_frames, self.rng = num_frames, np.random.default_rng(seed)

    def item(self, index: int) -> np.ndarray:
        """One training clip [M, T, V, C]: random crop, linear resize, one random rotation."""
        clip = self.data[index]
        valid = int((clip.sum(axis=(1, 2, 3)) != 0).sum())
        length = min(max(int(np.floor(valid * self.rng.uniform(0.5, 1.0))), 64), valid)
        start = self.rng.integers(0, valid - length + 1)
        crop = clip[start : start + length]
        source = np.clip((np.arange(self.num_frames) + 0.5) * length / self.num_frames - 0.5, 0, length - 1)
        low = source.astype(int)
        high, share = np.minimum(low + 1, length - 1), (source - low)[:, None, None, None].astype(np.float32)
        resized = crop[low] * (1 - share) + crop[high] * share
        angles = self.rng.uniform(-0.3, 0.3, 3)
        (sx, sy, sz), (cx, cy, cz) = np.sin(angles), np.cos(angles)
        rx = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
        ry = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        rz = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
        rotated = resized @ (rz @ ry @ rx).T.astype(np.float32)
        return rotated.transpose(1, 0, 2, 3)

    def batch(self, indices: list[int]) -> Tensor:
        """Training clips [B, M, T, V, C]."""
        return torch.from_numpy(np.stack([self.item(index) for index in indices]))
