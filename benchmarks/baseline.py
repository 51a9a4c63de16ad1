"""A straightforward implementation of the same mathematics, to measure against.

Explicit softmax attention, ``torch.nn.Linear``, float32, every person of a batch at once. It is what one writes first,
and what the published code amounts to. The loader that goes with it is in ``baseline_loader.py``.
"""

from __future__ import annotations

import copy
import sys
from typing import TypeVar

import torch
from einops import rearrange
from torch import Tensor, nn

from mamp.kernels import Linear
from mamp.transformer import Attention, Backbone, Block

Model = TypeVar("Model", bound=Backbone)


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


class PlainBlock(nn.Module):
    """A block as one writes it first; takes the layers of :class:`mamp.layers.Block`."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.norm1, self.norm2, self.mlp, self.drop_path = block.norm1, block.norm2, block.mlp, block.drop_path
        self.attn = ExplicitAttention(block.attn)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, L, D] to [N, L, D]."""
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
