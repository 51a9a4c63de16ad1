"""Building blocks of the paper's transformer, with the parameter names of the published checkpoints.

Axis key of the whole package: B clips, M people, T frames, V joints, C coordinates, L tokens, D width, H heads.
N stands for B * M bodies, the person fastest.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mamp import kernels


class Linear(nn.Linear):
    """``torch.nn.Linear``, computed the fast way on a CPU (see :mod:`mamp.kernels`)."""

    def forward(self, input: Tensor) -> Tensor:
        return kernels.linear(input, self.weight, self.bias)


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch for whole bodies, and scale the rest by ``1 / (1 - rate)``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        draw = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device)
        return x / keep * (keep + draw).floor()


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of one body.

    Bodies never attend to each other. ``forward`` maps [N, L, D] to [N, L, D].
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.proj = Linear(dim, dim)
        self.qkv = Linear(dim, dim * 3, bias=qkv_bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "n l (three h d) -> three n h l d", three=3, h=self.num_heads)
        return self.proj(rearrange(kernels.attention(q, k, v), "n h l d -> n l (h d)"))


class FeedForward(nn.Module):
    """Two linear layers with an exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden)
        self.fc2 = Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block: ``x += attention(norm(x)); x += feed_forward(norm(x))``."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, qkv_bias: bool, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads, qkv_bias)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class JointEmbedding(nn.Module):
    """Linear embedding of patches of ``t_patch_size`` frames x ``patch_size`` joints.

    ``forward`` maps [N, T, V, C] to [N, T / t_patch_size, V / patch_size, D], in the type of the weights also under
    autocast: half precision has too few digits for where a joint is and how it moves from frame to frame.
    """

    def __init__(self, dim_in: int, dim: int, t_patch_size: int, patch_size: int) -> None:
        super().__init__()
        patch = (t_patch_size, patch_size)
        self.proj = nn.Conv2d(dim_in, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        x = rearrange(x.to(self.proj.weight.dtype), "n t v c -> n c t v")
        with torch.autocast(x.device.type, enabled=False):
            return rearrange(self.proj(x), "n d t v -> n t v d")


def init_weights(module: nn.Module) -> None:
    """Initialise as published: linear layers Xavier-uniform with zero bias, layer norms to one and zero.

    The joint embedding keeps torch's own initialisation of a convolution.
    """
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
