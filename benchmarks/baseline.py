"""A straightforward implementation of the same mathematics, to measure against.

Explicit softmax attention, ``torch.nn.Linear``, float32, every person of a batch at once. It is what one writes first,
and what the published code amounts to. The training loader takes one sample at a time.
"""

from __future__ import annotations

import copy
import math
import sys
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from mamp.attention import Places
from mamp.kernels import Linear
from mamp.transformer import Attention, Backbone, Block

FloatArray = NDArray[np.float32]
Model = TypeVar("Model", bound=Backbone)


class ExplicitAttention(nn.Module):
    """Attention that builds the matrix of weights; takes the layers of :class:`mamp.transformer.Attention`."""

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.num_heads, self.qkv, self.proj = attention.num_heads, attention.qkv, attention.proj

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, L, D] to [N, L, D]."""
        q, k, v = rearrange(self.qkv(x), "n l (three h d) -> three n h l d", three=3, h=self.num_heads)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.proj(rearrange(weights @ v, "n h l d -> n l (h d)"))


class PlainBlock(nn.Module):
    """A block as one writes it first; takes the layers of :class:`mamp.transformer.Block`."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp, self.drop_path = block.norm1, block.norm2, block.mlp, block.drop_path
        self.attn = ExplicitAttention(block.attn)

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        """Tokens [N, L, D] to [N, L, D], wherever they are: each attends to all."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        hidden = nn.functional.gelu(self.mlp.fc1(self.norm2(x)))
        return x + self.drop_path(self.mlp.fc2(hidden))


def straightforward(model: Model) -> Model:
    """A copy of a model, computed the straightforward way, with the same names of parameters."""
    model = copy.deepcopy(model)
    model.bodies_at_once = lambda device: sys.maxsize  # type: ignore[method-assign]
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Block):
                setattr(module, name, PlainBlock(child))
            elif isinstance(child, Linear):
                plain = nn.Linear(child.in_features, child.out_features, child.bias is not None)
                plain.weight, plain.bias = child.weight, child.bias
                setattr(module, name, plain)
    return model


def check_same(model: Model, other: Model) -> None:
    """Raise unless two models have the same parameters."""
    mine, theirs = dict(model.named_parameters()), dict(other.named_parameters())
    if mine.keys() != theirs.keys() or not all(torch.equal(mine[name], theirs[name]) for name in mine):
        raise RuntimeError("the baseline has other parameters than the model")


def save_padded(path: Path, clips: list[FloatArray], people: int = 2) -> Path:
    """Write clips [M, T, V, C] as ``x_train`` [n, Tmax, people * V * C], zeros after the end and for absent people."""
    data = np.zeros((len(clips), max(clip.shape[1] for clip in clips), people, *clips[0].shape[2:]), np.float32)
    for row, clip in zip(data, clips, strict=True):
        row[: clip.shape[1], : clip.shape[0]] = rearrange(clip, "m t v c -> t m v c")
    np.savez(path, x_train=rearrange(data, "n t m v c -> n t (m v c)"))
    return path


def random_rotation(generator: torch.Generator | None = None, angle: float = 0.3) -> Tensor:
    """``Rz Ry Rx`` [3, 3] of three random angles."""
    angles = torch.empty(3).uniform_(-angle, angle, generator=generator)
    (sx, sy, sz), (cx, cy, cz) = angles.sin().tolist(), angles.cos().tolist()
    rx = torch.tensor([[1.0, 0.0, 0.0], [0.0, cx, sx], [0.0, -sx, cx]])
    ry = torch.tensor([[cy, 0.0, -sy], [0.0, 1.0, 0.0], [sy, 0.0, cy]])
    rz = torch.tensor([[cz, sz, 0.0], [-sz, cz, 0.0], [0.0, 0.0, 1.0]])
    return rz @ ry @ rx


class SampleDataset(Dataset[Tensor]):
    """Samples [C, T, V, M] of a padded file, by the published steps."""

    def __init__(self, path: Path, num_frames: int = 120, seed: int = 0) -> None:
        with np.load(path) as file:
            self.data = rearrange(file["x_train"], "n t (m v c) -> n c t v m", m=2, c=3)  # a view
        self.num_frames, self.rng = num_frames, np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor:
        clip = self.data[index]
        valid = int((clip.sum(axis=(0, 2, 3)) != 0).sum())
        length = min(max(math.floor(valid * self.rng.uniform(0.5, 1.0)), 64), valid)
        start = int(self.rng.integers(0, valid - length + 1))
        crop = torch.from_numpy(clip[:, start : start + length])
        c, _, v, m = crop.shape
        series = rearrange(crop, "c t v m -> 1 (c v m) t")
        resized = F.interpolate(series, size=self.num_frames, mode="linear", align_corners=False)
        x = rearrange(resized, "1 (c v m) t -> c (t v m)", c=c, v=v, m=m)
        return rearrange(random_rotation() @ x, "c (t v m) -> c t v m", v=v, m=m)

    def load(self, batch_size: int) -> DataLoader[Tensor]:
        """Shuffled batches [B, C, T, V, M]."""
        return DataLoader(self, batch_size, shuffle=True, drop_last=True)
