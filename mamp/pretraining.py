"""Masked motion prediction (the objective of the paper): decoder, target and loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from mamp.config import MAMPConfig
from mamp.errors import ConfigError
from mamp.layouts.tables import NTU25_PARTS
from mamp.masking import (
    Mask,
    Masking,
    mask_tokens,
    motion_aware_key,
    motion_intensity,
    num_kept,
    parts_key,
    patchify,
    token_confidence,
    tube_key,
)
from mamp.pooling import reduce_present
from mamp.transformer import Backbone, Block, init_weights

Target = Literal["motion", "joints"]


@dataclass
class PretrainingOutput:
    """What one pre-training pass gives; N = B * M bodies, person fastest.

    Attributes:
        loss: Scalar; mean squared error over the masked tokens of all bodies.
        prediction: [N, L, t_patch_size * patch_size * C], predicted target of every token (zero where not decoded).
        mask: [N, L], 1 = masked.
        losses: The parts of the loss by name, before weighting.
    """

    loss: Tensor
    prediction: Tensor
    mask: Tensor
    losses: dict[str, Tensor]


def temporal_motion(x: Tensor, stride: int) -> Tensor:
    """Motion ``x[t + stride] - x[t]`` of clips [N, T, V, C], the paper's target; zero in the last ``stride`` frames."""
    motion = torch.zeros_like(x)
    motion[:, :-stride] = x[:, stride:] - x[:, :-stride]
    return motion


def normalize_target(target: Tensor) -> Tensor:
    """Scale each token to zero mean and unit (unbiased) variance over its values, the last axis."""
    mean = target.mean(dim=-1, keepdim=True)
    var = target.var(dim=-1, keepdim=True)
    return (target - mean) / (var + 1e-6).sqrt()


class MAMPForPretraining(Backbone):
    """Encoder of the visible tokens, light decoder, and the prediction of what is masked.

    Args:
        config: The encoder.
        decoder_dim_feat: Width of the decoder.
        decoder_depth: Blocks of the decoder (published: 3 for NTU-60, 5 elsewhere).
        mask_ratio: Share of the tokens that are masked (published: 0.9, which keeps 74 of 750).
        motion_aware_tau: Temperature of motion-aware masking; zero or less masks uniformly at random.
        masking: Rule of the mask; see :mod:`mamp.masking`. The paper's is ``"motion"``.
        motion_stride: Stride s of the motion target ``x[t + s] - x[t]``.
        target: ``"motion"`` (MAMP), or ``"joints"`` (masked reconstruction of coordinates, SkeletonMAE style).
        norm_target: Normalise the target of each token to zero mean and unit variance.
        joints_weight: Weight of a second objective beside motion: reconstruct the coordinates (not in the paper).
        decoded_tokens: Decode only that many of the masked tokens, drawn at random, beside the kept ones: cheaper, and
            close to the full loss but not equal to it, since decoded tokens attend to each other. ``None`` decodes
            all (published).
        agreement_weight: Weight of a third objective (not in the paper): the pooled visible tokens tell which of
            the other clips is another view of the same one. The clips of a batch come in pairs of views then, one
            behind the other; see :func:`agreement`.
        agreement_temperature: Temperature of that objective.
        drop_path_rate: Largest stochastic-depth rate of the encoder; the decoder takes the first rates (published: 0).
    """

    def __init__(
        self,
        config: MAMPConfig,
        decoder_dim_feat: int = 256,
        decoder_depth: int = 5,
        mask_ratio: float = 0.9,
        motion_aware_tau: float = 0.75,
        motion_stride: int = 1,
        target: Target = "motion",
        norm_target: bool = True,
        joints_weight: float = 0.0,
        decoded_tokens: int | None = None,
        agreement_weight: float = 0.0,
        agreement_temperature: float = 0.1,
        drop_path_rate: float = 0.0,
        masking: Masking = "motion",
    ) -> None:
        super().__init__(config, drop_path_rate)
        if masking not in get_args(Masking):
            raise ConfigError(f"masking: expected one of {', '.join(get_args(Masking))}; found {masking!r}.")
        if masking == "parts" and (config.num_joints, config.patch_size) != (len(NTU25_PARTS), 1):
            raise ConfigError("masking 'parts' knows the body parts of the 25 joints of ntu25, one joint a token.")
        if target not in ("motion", "joints"):
            raise ConfigError(f"target: expected 'motion' or 'joints', found {target!r}.")
        if not 1 <= motion_stride < config.num_frames:
            raise ConfigError(
                f"motion_stride: expected 1 to {config.num_frames - 1} (num_frames - 1), found {motion_stride!r}."
            )
        if decoder_dim_feat % config.num_heads:
            raise ConfigError(
                f"decoder_dim_feat: expected a multiple of num_heads ({config.num_heads}), found {decoder_dim_feat}."
            )
        if joints_weight and target == "joints":
            raise ConfigError("joints_weight: expected 0 when target is 'joints', which is that objective already.")
        num_kept(config.num_tokens, mask_ratio)
        if decoded_tokens is not None and decoded_tokens < 1:
            raise ConfigError(f"decoded_tokens: expected at least 1, or None for all, found {decoded_tokens!r}.")
        self.mask_ratio = mask_ratio
        self.masking: Masking = masking
        self.motion_aware_tau = motion_aware_tau
        self.motion_stride = motion_stride
        self.target: Target = target
        self.norm_target = norm_target
        self.joints_weight = joints_weight
        self.decoded_tokens = decoded_tokens
        self.agreement_weight = agreement_weight
        self.agreement_temperature = agreement_temperature

        t, v = config.grid
        rates = self.drop_path_rates(drop_path_rate)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim_feat))
        self.decoder_temp_embed = nn.Parameter(torch.zeros(1, t, 1, decoder_dim_feat))
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, 1, v, decoder_dim_feat))
        self.decoder_embed = nn.Linear(config.dim_feat, decoder_dim_feat)
        self.decoder_blocks = nn.ModuleList(
            Block(
                decoder_dim_feat,
                config.num_heads,
                config.mlp_ratio,
                config.qkv_bias,
                rates[min(i, len(rates) - 1)] if rates else 0.0,
            )
            for i in range(decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_dim_feat)
        self.decoder_pred = nn.Linear(decoder_dim_feat, config.patch_values)
        if joints_weight:
            self.decoder_pred_joints = nn.Linear(decoder_dim_feat, config.patch_values)
        if agreement_weight:
            self.agreement_head = Projection(config.pooled_dim)
        for name, module in self.named_children():
            if name.startswith("decoder"):
                module.apply(init_weights)
        for parameter in (self.mask_token, self.decoder_temp_embed, self.decoder_pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(
        self,
        x: Tensor,
        noise: Tensor | None = None,
        target_x: Tensor | None = None,
        decoded_noise: Tensor | None = None,
        confidence: Tensor | None = None,
    ) -> PretrainingOutput:
        """Mask, encode, decode, and compare.

        Args:
            x: Clips [B, M, T, V, C], metres.
            noise: [B * M, L], uniform in [0, 1): the only randomness of the mask. Drawn when not given.
            target_x: Clips of the same shape from which the target is taken, when ``x`` carries added noise that
                should not be predicted. ``x`` itself by default.
            decoded_noise: [B * M, masked tokens], uniform: which masked tokens are decoded when ``decoded_tokens`` is
                set. Drawn when not given.
            confidence: [B, M, T, V] tracking confidence in [0, 1], for ``masking="confidence"``.
        """
        self.check_input(x)
        cfg, batch = self.config, len(x)
        x = rearrange(x, "b m t v c -> (b m) t v c")
        target_x = x if target_x is None else rearrange(target_x, "b m t v c -> (b m) t v c")
        if noise is None:
            noise = torch.rand(x.shape[0], cfg.num_tokens, device=x.device)
        elif noise.shape != (x.shape[0], cfg.num_tokens):
            raise ConfigError(f"noise: expected shape {(x.shape[0], cfg.num_tokens)}, found {tuple(noise.shape)}.")

        mask = mask_tokens(self._mask_key(x, noise, confidence), self.mask_ratio)
        ids_hidden = self._decoded_ids(mask, decoded_noise)
        ids = torch.cat([mask.ids_keep, ids_hidden], dim=1)
        latent = self.encode_tokens(x, mask.ids_keep)
        h = self._decode(latent, ids)

        prediction = self.decoder_pred(h)
        losses: dict[str, Tensor] = {self.target: self._loss(prediction, target_x, self.target, ids_hidden)}
        loss = losses[self.target]
        if self.joints_weight:
            losses["joints"] = self._loss(self.decoder_pred_joints(h), target_x, "joints", ids_hidden)
            loss = loss + self.joints_weight * losses["joints"]
        if self.agreement_weight and batch > 1:  # one clip, of a picture, has no other to be told from
            bodies = reduce_present(latent, 1, cfg.pooling)
            clips = rearrange(bodies, "(b m) d -> b m d", b=batch).mean(dim=1)
            losses["agreement"] = agreement(self.agreement_head(clips), self.agreement_temperature)
            loss = loss + self.agreement_weight * losses["agreement"]
        in_token_order = prediction.new_zeros(x.shape[0], cfg.num_tokens, cfg.patch_values)
        in_token_order = in_token_order.scatter(1, repeat(ids, "n k -> n k c", c=cfg.patch_values), prediction)
        return PretrainingOutput(loss, in_token_order, mask.mask, losses)

    def _mask_key(self, x: Tensor, noise: Tensor, confidence: Tensor | None) -> Tensor:
        """Sort key [N, L] of the masking rule, for bodies [N, T, V, C]."""
        cfg = self.config
        if self.masking == "tube":
            return tube_key(noise, cfg.grid[0])
        if self.masking == "parts":
            return parts_key(noise, cfg.grid[0], torch.tensor(NTU25_PARTS, device=noise.device))
        if self.masking == "random" or self.motion_aware_tau <= 0:
            return noise
        intensity = motion_intensity(x, cfg.t_patch_size, cfg.patch_size)
        if self.masking == "confidence":
            if confidence is None:
                raise ConfigError("masking 'confidence' needs the tracking confidence of the clips; found none.")
            confidence = rearrange(confidence, "b m t v -> (b m) t v")
            intensity = intensity * token_confidence(confidence, cfg.t_patch_size, cfg.patch_size)
        return motion_aware_key(intensity, noise, self.motion_aware_tau)

    @property
    def num_kept(self) -> int:
        """Tokens of a body that the encoder sees, K."""
        return num_kept(self.config.num_tokens, self.mask_ratio)

    def _decoded_ids(self, mask: Mask, draw: Tensor | None) -> Tensor:
        """Indices [N, K] of the masked tokens that are decoded: all of them, or a random part."""
        kept = mask.ids_keep.shape[1]
        hidden = self.config.num_tokens - kept
        if self.decoded_tokens is None or self.decoded_tokens >= hidden:
            return mask.ids_shuffle[:, kept:]
        if draw is None:
            draw = torch.rand(mask.mask.shape[0], hidden, device=mask.mask.device)
        return mask.ids_shuffle[:, kept:].gather(1, draw.topk(self.decoded_tokens, dim=1).indices)

    def _decode(self, latent: Tensor, ids: Tensor) -> Tensor:
        """Decode kept tokens [N, K, D] beside mask tokens; ``ids`` [N, P] says which token each of the P rows is."""
        kept = self.decoder_embed(latent)
        hidden = repeat(self.mask_token, "1 1 d -> n p d", n=ids.shape[0], p=ids.shape[1] - latent.shape[1])
        position = rearrange(self.decoder_temp_embed + self.decoder_pos_embed, "1 t v d -> (t v) d")
        h = torch.cat([kept, hidden.to(kept.dtype)], dim=1) + position[ids]
        for block in self.decoder_blocks:
            h = block(h)
        return self.decoder_norm(h)

    def _loss(self, prediction: Tensor, x: Tensor, target: Target, ids_hidden: Tensor) -> Tensor:
        """Mean squared error over the hidden tokens, the last rows of ``prediction`` [N, P, C]."""
        cfg = self.config
        values = temporal_motion(x, self.motion_stride) if target == "motion" else x
        patches = patchify(values, cfg.t_patch_size, cfg.patch_size)
        patches = patches.gather(1, repeat(ids_hidden, "n k -> n k c", c=cfg.patch_values))
        if self.norm_target:
            patches = normalize_target(patches)
        error = prediction[:, prediction.shape[1] - ids_hidden.shape[1] :].to(patches.dtype) - patches
        return error.square().mean()


class Projection(nn.Sequential):
    """Two layers between the embedding of a clip and where :func:`agreement` compares: [B, D] -> [B, D / 2].

    What is thrown away there stays in the embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim // 2))
        self.apply(init_weights)


def agreement(z: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of telling the other view of a clip from all other clips, by cosine over temperature (InfoNCE).

    Args:
        z: [B, F]; rows 2 i and 2 i + 1 are views of one clip.
        temperature: Above zero.

    Raises:
        ConfigError: The clips are not pairs.
    """
    if len(z) % 2:
        raise ConfigError(f"agreement needs pairs of views; found a batch of {len(z)} clips.")
    z = nn.functional.normalize(z.float(), dim=-1)
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    other = torch.arange(len(z), device=z.device) ^ 1
    return nn.functional.cross_entropy(scores, other)
