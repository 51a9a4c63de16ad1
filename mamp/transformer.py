"""The paper's transformer: clips to tokens, with the parameter names of the published checkpoints.

From the parts to the whole: attention and feed-forward make a :class:`Block`; :class:`Backbone` embeds joints, adds the
position embeddings and runs the blocks; :class:`Network` maps whole clips, and pooled tokens through the readout;
:func:`reduce_present` pools tokens.

Axis key of the package: B clips, M people, T frames, V joints, C coordinates, L tokens, D width, H heads.
N is B * M bodies, with the person as the fastest axis.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from mamp.attention import JOINT, Pattern, Places
from mamp.config import MAMPConfig
from mamp.errors import ConfigError, RecordingError
from mamp.kernels import Linear, attention
from mamp.layouts import get_layout
from mamp.pose import PoseReadout
from mamp.threads import share

_Network = TypeVar("_Network", bound="Network")
_Piece = TypeVar("_Piece")
_Result = TypeVar("_Result")


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch for whole bodies, and scale the rest by ``1 / (1 - rate)``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1.0 - self.rate
        draw = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), dtype=x.dtype, device=x.device)
        return x / keep * (keep + draw).floor()


class Attention(nn.Module):
    """Multi-head self-attention over the tokens of one body.

    Bodies never attend to each other. ``forward`` maps [N, L, D] to [N, L, D]; other patterns than ``joint`` need
    the places of the tokens.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: bool, pattern: Pattern = JOINT) -> None:
        super().__init__()
        self.num_heads, self.pattern = num_heads, pattern
        self.proj = Linear(dim, dim)
        self.qkv = Linear(dim, dim * 3, bias=qkv_bias)

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "n l (three h d) -> three n h l d", three=3, h=self.num_heads)
        everywhere = self.pattern.kind == "joint"
        y = attention(q, k, v) if everywhere else self.pattern.attend(q, k, v, places)
        return self.proj(rearrange(y, "n h l d -> n l (h d)"))


class FeedForward(nn.Sequential):
    """Two linear layers with an exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(OrderedDict(fc1=Linear(dim, hidden), act=nn.GELU(), fc2=Linear(hidden, dim)))


class Block(nn.Module):
    """Pre-norm transformer block: ``x += attention(norm(x)); x += feed_forward(norm(x))``."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        drop_path: float = 0.0,
        pattern: Pattern = JOINT,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads, qkv_bias, pattern)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x), places))
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
        x = x.to(self.proj.weight.dtype)
        half = torch.is_autocast_enabled(x.device.type)
        with torch.autocast(x.device.type, enabled=False) if half else nullcontext():
            if x.device.type != "cpu":  # the convolutions of a GPU drop digits (TF32) unless told not to
                return self.as_product(x)
            return rearrange(self.proj(rearrange(x, "n t v c -> n c t v")), "n d t v -> n t v d")

    def as_product(self, x: Tensor) -> Tensor:
        """The convolution as a matrix product: its patches do not overlap."""
        u, p = self.proj.kernel_size
        patches = rearrange(x, "n (t u) (v p) c -> n t v (c u p)", u=u, p=p)
        return F.linear(patches, rearrange(self.proj.weight, "d c u p -> d (c u p)"), self.proj.bias)


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


def has_hooks(module: nn.Module) -> bool:
    """Whether anybody has hung a hook on a module or a part of it."""
    everywhere = nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks
    return bool(everywhere) or any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


class Backbone(nn.Module):
    """Joint embedding, position embeddings, blocks and final norm: what encoder and pre-training model share."""

    def __init__(self, config: MAMPConfig | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.config = config = MAMPConfig() if config is None else config
        if not isinstance(config, MAMPConfig):
            raise ConfigError(f"config: expected mamp.MAMPConfig, found {type(config).__name__}.")
        t, v = config.grid
        self.temp_embed = nn.Parameter(torch.zeros(1, t, 1, config.dim_feat))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1, v, config.dim_feat))
        self.joints_embed = JointEmbedding(config.dim_in, config.dim_feat, config.t_patch_size, config.patch_size)
        pattern = Pattern(config.attention, config.attention_window)
        self.blocks = nn.ModuleList(
            Block(config.dim_feat, config.num_heads, config.mlp_ratio, config.qkv_bias, rate, pattern)
            for rate in self.drop_path_rates(drop_path_rate)
        )
        self.norm = nn.LayerNorm(config.dim_feat)
        self.apply(init_weights)
        for parameter in (self.temp_embed, self.pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)

    def drop_path_rates(self, largest: float) -> list[float]:
        """Stochastic-depth rate of each block, rising linearly from zero."""
        return [float(rate) for rate in torch.linspace(0, largest, self.config.depth, device="cpu")]

    def check_input(self, x: Tensor) -> None:
        """Raise :class:`RecordingError` unless ``x`` is [B, M, T, V, C] as configured."""
        cfg = self.config
        if not isinstance(x, Tensor) or x.is_complex():
            found = "complex numbers" if isinstance(x, Tensor) else type(x).__name__
            raise RecordingError(f"expected a tensor [B, M, T, V, C], found {found}. Recordings go through encode().")
        if x.ndim != 5 or tuple(x.shape[2:]) != (cfg.num_frames, cfg.num_joints, cfg.dim_in):
            raise RecordingError(
                f"expected clips [B, M, T, V, C] = [B, M, {cfg.num_frames}, {cfg.num_joints}, {cfg.dim_in}], found "
                f"{list(x.shape)}. Recordings of other lengths and layouts go through encode()."
            )

    def encode_tokens(self, x: Tensor, ids_keep: Tensor | None = None) -> Tensor:
        """Tokens of bodies: [N, T, V, C] -> [N, L, D], or [N, K, D] when only ``ids_keep`` [N, K] are looked at.

        Token ``t * V + v`` (counted in patches) is joint v at time t.
        """
        at_once = self.bodies_at_once(x.device)
        if at_once == sys.maxsize or len(x) <= at_once:  # an exporter must not see the number of bodies
            return self._encode_at_once(x, ids_keep)

        def encode(some: slice) -> Tensor:
            return self._encode_at_once(x[some], None if ids_keep is None else ids_keep[some])

        chunks = [slice(first, first + at_once) for first in range(0, len(x), at_once)]
        return torch.cat(list(self.share(encode, chunks)))

    def bodies_at_once(self, device: torch.device) -> int:
        """How many bodies go through the blocks together.

        Without gradients on a CPU, one: what is in between stays in the cache of a core, takes little memory, and is
        the same whatever else is encoded.
        """
        whole = self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or device.type != "cpu"
        return sys.maxsize if whole else 1

    def share(self, function: Callable[[_Piece], _Result], pieces: Sequence[_Piece]) -> Iterable[_Result]:
        """As :func:`mamp.threads.share`; but on a GPU, and with hooks, which expect one body after another, here."""
        if self.temp_embed.device.type != "cpu" or has_hooks(self):
            return map(function, pieces)
        return share(function, pieces)

    def embed_tokens(self, x: Tensor, ids_keep: Tensor | None = None) -> tuple[Tensor, Places]:
        """What the blocks take: embedded tokens [N, L, D] or [N, K, D] of bodies [N, T, V, C], and where they are."""
        grid = self.joints_embed(x) + self.pos_embed + self.temp_embed
        places = Places(grid.shape[1], grid.shape[2], ids_keep)
        h = rearrange(grid, "n t v d -> n (t v) d")
        if ids_keep is not None:
            h = h.gather(1, repeat(ids_keep, "n k -> n k d", d=h.shape[-1]))
        return h, places

    def _encode_at_once(self, x: Tensor, ids_keep: Tensor | None) -> Tensor:
        h, places = self.embed_tokens(x, ids_keep)
        for block in self.blocks:
            h = block(h, places)
        return self.norm(h)


class Network(Backbone):
    """The encoder as a network: normalised clips to tokens, and pooled tokens to embeddings.

    Args:
        config: Architecture.
        drop_path_rate: Largest stochastic-depth rate, for fine-tuning (published: 0.3).
    """

    def __init__(self, config: MAMPConfig | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__(config, drop_path_rate)
        self._absent_tokens: tuple[tuple[Any, ...], Tensor] | None = None
        self.readout: nn.Linear | None = None
        if self.config.readout_dim is not None:
            self.readout = nn.Linear(self.config.pooled_dim, self.config.readout_dim)
        self.pose: PoseReadout | None = None
        if self.config.readout_pose:
            layout = get_layout(self.config.preprocessing.layout)
            centre = layout.center_of(self.config.preprocessing.center_joint)
            self.pose = PoseReadout(self.config, layout.joints.index(centre))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of clips.

        Args:
            x: [B, M, T, V, C]: B clips of M people, T frames, V joints, C coordinates, normalised as
                ``config.preprocessing`` says. A person who is absent is all zeros.

        Returns:
            [B, M, T / t_patch_size, V / patch_size, D].

        Raises:
            RecordingError: ``x`` has another shape than the configuration says.
        """
        self.check_input(x)
        bodies = rearrange(x, "b m t v c -> (b m) t v c")
        plain = self.training or torch.is_grad_enabled() or torch.compiler.is_compiling()
        tokens = self.encode_tokens(bodies) if plain else self._encode_present(bodies)
        t, v = self.config.grid
        return rearrange(tokens, "(b m) (t v) d -> b m t v d", m=x.shape[1], t=t, v=v)

    def _encode_present(self, bodies: Tensor) -> Tensor:
        """As ``encode_tokens``, but the tokens of an all-zero body, a constant of the weights, are looked up."""
        present = (bodies != 0).flatten(1).any(dim=1)
        if bool(present.all()):
            return self.encode_tokens(bodies)
        absent = self._tokens_of_absent(bodies)
        tokens = absent.expand(bodies.shape[0], *absent.shape[1:]).clone()
        if bool(present.any()):
            tokens[present] = self.encode_tokens(bodies[present]).to(tokens.dtype)
        return tokens

    def _tokens_of_absent(self, like: Tensor) -> Tensor:
        """Tokens [1, L, D] of an all-zero body, computed again only after the weights changed."""
        parameters = list(self.parameters())
        autocast = torch.is_autocast_enabled(like.device.type) and torch.get_autocast_dtype(like.device.type)
        key = (
            like.dtype,
            autocast,
            *((p.data_ptr(), p.dtype, 0 if p.is_inference() else p._version) for p in parameters),
            *torch.stack([p.detach().float().norm() for p in parameters]).tolist(),  # writes through .data
        )
        if self._absent_tokens is None or self._absent_tokens[0] != key or any(p.is_inference() for p in parameters):
            self._absent_tokens = (key, self.encode_tokens(torch.zeros_like(like[:1])))
        return self._absent_tokens[1]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.temp_embed.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.temp_embed.dtype

    def read_out(self, pooled: Tensor) -> Tensor:
        """Pooled tokens [..., F] to embeddings [..., E], float32 and on the CPU; as they are without a readout."""
        pooled = pooled.float().cpu()
        if self.readout is None:
            return pooled
        weight, bias = (parameter.float().cpu() for parameter in (self.readout.weight, self.readout.bias))
        with torch.autocast("cpu", enabled=False):
            return F.linear(pooled, weight, bias)

    def without_readout(self: _Network) -> _Network:
        """A new encoder with the same blocks whose embeddings are what is pooled; itself when it has no readout.

        It places people by the first of them, since ``apart`` needs a readout.
        """
        return self if self.readout is None else self._part(self.config.without_readout())

    def without_pose(self: _Network) -> _Network:
        """A new encoder whose readout takes only tokens; itself when that is so."""
        return self if self.pose is None else self._part(self.config.replace(readout_pose=False))

    def _part(self: _Network, config: MAMPConfig) -> _Network:
        """A new encoder with those of the weights that a configuration still has."""
        with torch.random.fork_rng(devices=[]):
            part = type(self)(config).to(self.device, self.dtype)
        state = self.state_dict()
        part.load_state_dict({name: state[name] for name in part.state_dict()})
        return part.train(self.training)


def resize_temp_embed(temp_embed: Tensor, num_steps: int) -> Tensor:
    """Resize temporal embeddings [1, t, 1, D] to another number of time steps, bicubic as published."""
    if temp_embed.shape[1] == num_steps:
        return temp_embed
    image = rearrange(temp_embed, "1 t 1 d -> 1 d t 1")
    image = F.interpolate(image, size=(num_steps, 1), mode="bicubic", align_corners=False)
    return rearrange(image, "1 d t 1 -> 1 t 1 d")


def lengthen_tokens(state: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    """Weights for tokens ``times`` as long: a token starts as the mean of the tokens that it replaces."""
    if times == 1:
        return dict(state)
    kernel, temp_embed = state["joints_embed.proj.weight"], state["temp_embed"]
    return {
        **state,
        "joints_embed.proj.weight": repeat(kernel / times, "d c u p -> d c (times u) p", times=times),
        "temp_embed": reduce(temp_embed, "1 (t times) 1 d -> 1 t 1 d", "mean", times=times),
    }


def choose_blocks(state: Mapping[str, Tensor], blocks: Sequence[int]) -> dict[str, Tensor]:
    """Weights with some of the blocks only, in this order."""
    chosen = {name: value for name, value in state.items() if not name.startswith("blocks.")}
    for number, block in enumerate(blocks):
        before = f"blocks.{block}."
        own = {name.removeprefix(before): value for name, value in state.items() if name.startswith(before)}
        chosen |= {f"blocks.{number}.{name}": value for name, value in own.items()}
    return chosen


def reduce_present(values: Tensor, dim: int | tuple[int, ...], pooling: str = "mean") -> Tensor:
    """Reduce the values that are not NaN over ``dim``, as ``MAMPConfig.pooling`` says; NaN if there are none.

    Several reductions are concatenated in the last dimension.
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
