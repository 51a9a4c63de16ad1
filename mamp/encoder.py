"""``MAMPEncoder``: clips to tokens (the paper's encoder), and recordings to embeddings."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, overload

import numpy as np
import torch
from einops import rearrange, repeat
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mamp.config import MAMPConfig, Preprocessing
from mamp.embedding import EncodeOptions, Pool, Precision, embed_recordings
from mamp.errors import RecordingError
from mamp.layers import Block, JointEmbedding, init_weights
from mamp.skeleton import Skeleton

FloatArray = NDArray[np.float32]

# Bodies that go through the blocks together on a CPU, when no gradient is wanted: few, so that what is in between stays
# in the cache, takes little memory, and is the same memory again and again.
BODIES_AT_ONCE = 2


class Trunk(nn.Module):
    """Joint embedding, position embeddings, blocks and final norm: what encoder and pre-training model share."""

    def __init__(self, config: MAMPConfig | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.config = config = config or MAMPConfig()
        t, v = config.grid
        self.temp_embed = nn.Parameter(torch.zeros(1, t, 1, config.dim_feat))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1, v, config.dim_feat))
        self.joints_embed = JointEmbedding(config.dim_in, config.dim_feat, config.t_patch_size, config.patch_size)
        self.blocks = nn.ModuleList(
            Block(config.dim_feat, config.num_heads, config.mlp_ratio, config.qkv_bias, rate)
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
        if len(x) <= at_once:
            return self._encode_at_once(x, ids_keep)
        tokens = x.new_empty(0)
        for first in range(0, len(x), at_once):
            some = slice(first, first + at_once)
            found = self._encode_at_once(x[some], None if ids_keep is None else ids_keep[some])
            if first == 0:
                tokens = found.new_empty(len(x), *found.shape[1:])
            tokens[some] = found
        return tokens

    def bodies_at_once(self, device: torch.device) -> int:
        """How many bodies go through the blocks together; without gradients on a CPU, few."""
        whole = self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or device.type != "cpu"
        return sys.maxsize if whole else max(BODIES_AT_ONCE, torch.get_num_threads())

    def _encode_at_once(self, x: Tensor, ids_keep: Tensor | None) -> Tensor:
        h = rearrange(self.joints_embed(x) + self.pos_embed + self.temp_embed, "n t v d -> n (t v) d")
        if ids_keep is not None:
            h = h.gather(1, repeat(ids_keep, "n k -> n k d", d=h.shape[-1]))
        for block in self.blocks:
            h = block(h)
        return self.norm(h)


class MAMPEncoder(Trunk):
    """The pretrained encoder of 3D skeleton recordings.

    ``encoder(x)`` maps a tensor of normalised clips [B, M, T, V, C] to tokens [B, M, T / 4, V, D], differentiably.
    ``encoder.encode(recordings)`` does everything from a recording to a numpy embedding.

    Args:
        config: Architecture, and what the weights expect of their input.
        drop_path_rate: Largest stochastic-depth rate, for fine-tuning (published: 0.3).
    """

    def __init__(self, config: MAMPConfig | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__(config, drop_path_rate)
        self._absent_tokens: tuple[tuple[Any, ...], Tensor] | None = None
        self.readout: nn.Linear | None = None
        if self.config.readout_dim is not None:
            self.readout = nn.Linear(self.config.pooled_dim, self.config.readout_dim)

    def read_out(self, pooled: Tensor) -> Tensor:
        """Pooled tokens [..., F] to embeddings [..., E], float32 and on the CPU; as they are without a readout."""
        pooled = pooled.float().cpu()
        if self.readout is None:
            return pooled
        weight, bias = (parameter.float().cpu() for parameter in (self.readout.weight, self.readout.bias))
        with torch.autocast("cpu", enabled=False):
            return F.linear(pooled, weight, bias)

    def without_readout(self) -> MAMPEncoder:
        """A new encoder with the same blocks whose embeddings are what is pooled; itself when it has no readout."""
        if self.readout is None:
            return self
        with torch.random.fork_rng(devices=[]):
            plain = MAMPEncoder(self.config.replace(readout_dim=None)).to(self.device, self.dtype)
        state = self.state_dict()
        plain.load_state_dict({name: state[name] for name in plain.state_dict()})
        return plain.train(self.training)

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

    @overload
    def encode(
        self,
        recordings: Skeleton,
        *,
        pool: Pool = ...,
        batch_size: int = ...,
        precision: Precision | None = ...,
        token_share: float = ...,
        progress: bool = ...,
        window: int | None = ...,
        stride: int | None = ...,
        preprocessing: Preprocessing | Mapping[str, Any] | None = ...,
    ) -> FloatArray: ...

    @overload
    def encode(
        self,
        recordings: Sequence[Skeleton],
        *,
        pool: Pool = ...,
        batch_size: int = ...,
        precision: Precision | None = ...,
        token_share: float = ...,
        progress: bool = ...,
        window: int | None = ...,
        stride: int | None = ...,
        preprocessing: Preprocessing | Mapping[str, Any] | None = ...,
    ) -> FloatArray | list[FloatArray]: ...

    def encode(
        self,
        recordings: Skeleton | Sequence[Skeleton],
        *,
        pool: Pool = "clip",
        batch_size: int = 32,
        precision: Precision | None = None,
        token_share: float = 1.0,
        progress: bool = False,
        window: int | None = None,
        stride: int | None = None,
        preprocessing: Preprocessing | Mapping[str, Any] | None = None,
    ) -> FloatArray | list[FloatArray]:
        """Embed recordings of any length, layout and number of people.

        Args:
            recordings: One :class:`Skeleton`, or a sequence of them.
            pool: What one embedding stands for:
                ``"clip"`` [D], the mean over people, time and joints (published); ``"person"`` [M, D], row i is person
                i of the recording, all of them, whatever number the weights take for the other pools; ``"frame"``
                [T, D], one for each frame of the recording; ``"joint"`` [V, D], one for each joint of the model;
                ``"tokens"`` [M, T / 4, V, D], nothing pooled. Where nothing was tracked, there is NaN. Weights whose
                configuration has another ``pooling`` than the mean, or a readout, use these in place of the mean, and
                give what is ``config.embedding_dim`` long in place of D, except for the tokens.
            batch_size: Clips that are encoded at a time; more costs memory, not accuracy.
            precision: ``"bfloat16"`` computes matrix products and attention in bfloat16, and the rest in the type of
                the weights: faster where the processor has instructions for it, at an error of about a hundredth of the
                distance between clips. By default everything is in the type of the weights.
            token_share: Share of the tokens of each person that is looked at, those that move most. Below 1 it is
                faster and only approximate; it goes with the pools ``clip`` and ``person``.
            progress: Show a progress bar.
            window: Cut recordings into windows of so many of their frames, and embed each: any length takes constant
                memory. The last window is moved back to end with the recording; a shorter recording is one window.
            stride: Frames from the start of one window to that of the next, at most ``window``, which it is by default.
            preprocessing: Fields of :class:`mamp.Preprocessing` to change for this call, such as ``{"facing": True}``,
                ``{"height": 1.7}`` or ``{"missing": "fill"}``, against what the weights expect.

        Returns:
            float32. For one recording the array above. For several: a stacked array for ``clip`` and ``joint``, and a
            list of arrays for the other pools, whose sizes differ between recordings. With ``window``, an array has one
            more dimension in front, its windows, NaN for those without anybody, and several recordings give a list;
            ``frame`` stays [T, D], the mean of the windows that cover a frame.

        Raises:
            RecordingError: A recording holds nothing that can be encoded, or an option is not one of the above.
            LayoutError: A recording cannot be expressed in the model's joints.
            ConfigError: ``preprocessing`` names a field that does not exist, or gives it an impossible value.
        """
        options = EncodeOptions(pool, batch_size, precision, token_share, window, stride, preprocessing or {})
        if isinstance(recordings, Skeleton):
            return embed_recordings(self, [recordings], options, progress)[0]
        try:
            recordings = list(recordings)
        except TypeError:
            raise RecordingError(
                f"expected a mamp.Skeleton or several of them, found {type(recordings).__name__}. Read files with "
                "mamp.load(path)."
            ) from None
        results = embed_recordings(self, recordings, options, progress)
        if window is None and pool in ("clip", "joint"):
            joints = (self.config.grid[1],) if pool == "joint" else ()
            return np.stack(results) if results else np.zeros((0, *joints, self.config.embedding_dim), np.float32)
        return results

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str] = "openmocap",
        *,
        revision: str | None = None,
        cache_dir: str | PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> MAMPEncoder:
        """Load an encoder by name, in evaluation mode.

        Args:
            name_or_path: ``"openmocap"`` (inside the package, no network), another name of
                :func:`mamp.list_pretrained`, a folder written by ``save_pretrained`` or ``python -m mamp.train``, or a
                repository id on the Hugging Face Hub.
            revision: Branch, tag or commit on the Hub; a commit is the only thing that never changes.
            cache_dir: Where downloads are kept.
            token: Access token for a private repository; ``True`` uses the one saved on this machine.
            local_files_only: Never touch the network.
            device: Where to put the weights.
            dtype: Type to load the weights as; ``float32`` by default.

        Raises:
            WeightsError: The weights cannot be found, fetched, verified or loaded; the message says what to do.
        """
        from mamp.hub import load_encoder

        return load_encoder(
            cls,
            name_or_path,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
            device=device,
            dtype=dtype,
        )

    def save_pretrained(self, directory: str | PathLike[str], *, dtype: torch.dtype | None = None) -> None:
        """Write ``config.json``, ``model.safetensors`` and a model card that :meth:`from_pretrained` reads back.

        Args:
            directory: Created when it does not exist.
            dtype: Type to store the weights as; their own by default.
        """
        from mamp.hub import save_encoder

        save_encoder(self, directory, dtype=dtype)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "Upload MAMP encoder",
    ) -> str:
        """Upload what :meth:`save_pretrained` writes to the Hugging Face Hub; returns the address of the commit."""
        from mamp.hub import push_encoder

        return push_encoder(
            self, repo_id, private=private, token=token, revision=revision, commit_message=commit_message
        )


def resize_temp_embed(temp_embed: Tensor, num_steps: int) -> Tensor:
    """Resize temporal embeddings [1, t, 1, D] to another number of time steps, bicubic as published."""
    if temp_embed.shape[1] == num_steps:
        return temp_embed
    image = rearrange(temp_embed, "1 t 1 d -> 1 d t 1")
    image = F.interpolate(image, size=(num_steps, 1), mode="bicubic", align_corners=False)
    return rearrange(image, "1 d t 1 -> 1 t 1 d")
