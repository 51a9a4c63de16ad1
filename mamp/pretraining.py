"""Masked motion prediction, the objective of the paper: decoder, target and loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from mamp.config import MAMPConfig
from mamp.errors import ConfigError
from mamp.future import Extrapolation, displacement, future_key, mean_distance
from mamp.layouts import get_layout
from mamp.masking import (
    Mask,
    Masking,
    mask_tokens,
    motion_aware_key,
    motion_intensity,
    num_kept,
    parts_key,
    patchify,
    still_key,
    token_confidence,
    tube_key,
)
from mamp.transformer import Backbone, Block, init_weights, reduce_present

Target = Literal["motion", "joints", "displacement"]


@dataclass
class PretrainingOutput:
    """Output for N = B * M bodies, person fastest.

    Attributes:
        loss: Scalar, mean squared error over the masked tokens of all bodies.
        prediction: [N, L, t_patch_size * patch_size * C] predicted targets, zero where not decoded.
        mask: [N, L], 1 where masked.
        losses: Terms of the loss before weighting.
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
    """Normalise the last axis to zero mean and unit (unbiased) variance."""
    mean = target.mean(dim=-1, keepdim=True)
    var = target.var(dim=-1, keepdim=True)
    return (target - mean) / (var + 1e-6).sqrt()


@dataclass(frozen=True)
class Objective:
    """Masking and prediction targets.

    Attributes:
        target: ``motion`` (MAMP), ``joints``: masked reconstruction of coordinates, as in SkeletonMAE, or
            ``displacement``: forecasting, with the mean distance to the coming positions as the loss.
        mask_ratio: Share of masked tokens (published: 0.9, which keeps 74 of 750).
        mask_ratio_low: Lower limit of a mask ratio drawn at each step, such that the number of visible tokens is
            log-uniform. None always uses ``mask_ratio``.
        masking: ``motion`` (the paper's), ``random``, ``tube`` (over time), ``parts`` (of the body), ``future``,
            ``confidence`` (motion weighted by tracking confidence), ``learned`` (by the loss of an averaged teacher,
            which needs ``optim.ema``), or ``still`` (what moves least); see :mod:`mamp.masking`.
        motion_aware_tau: Temperature of motion-aware masking (published: 0.8 or 0.75); zero masks uniformly at random.
        motion_stride: Stride s of the motion target ``x[t + s] - x[t]``, in frames.
        norm_target: Normalise the target of each token to zero mean and unit variance.
        missing_parts: Share of the bodies of which one or two body parts, or a period of time, are always masked.
        joints_weight: Weight of predicting coordinates as a second target (not in the paper).
        decoder_dim_feat: Width of the decoder.
        decoder_depth: Number of decoder blocks (published: 3 for NTU RGB+D 60, 5 elsewhere).
        decoded_tokens: Decode only this many masked tokens, drawn at random. Cheaper, but an approximation of the loss,
            since decoded tokens attend to each other. None decodes all (published).
        agreement_weight: Weight of a contrastive objective (InfoNCE, not in the paper) between two views of each clip:
            the same crop and mirroring, augmented and masked independently; see :func:`agreement`.
        agreement_temperature: Temperature of the contrastive objective.
    """

    target: Target = "motion"
    mask_ratio: float = 0.9
    masking: Masking = "motion"
    motion_aware_tau: float = 0.75
    motion_stride: int = 1
    norm_target: bool = True
    joints_weight: float = 0.0
    decoder_dim_feat: int = 256
    decoder_depth: int = 5
    decoded_tokens: int | None = None
    agreement_weight: float = 0.0
    agreement_temperature: float = 0.1
    mask_ratio_low: float | None = None
    missing_parts: float = 0.0

    def __post_init__(self) -> None:
        for name, low in (("decoder_dim_feat", 1), ("decoder_depth", 0), ("joints_weight", 0), ("agreement_weight", 0)):
            if not low <= getattr(self, name) < math.inf:
                raise ConfigError(f"objective.{name}: expected at least {low}, found {getattr(self, name)}.")
        if not self.agreement_temperature > 0:
            raise ConfigError(f"objective.agreement_temperature: expected above 0, found {self.agreement_temperature}.")
        if self.masking not in get_args(Masking):
            raise ConfigError(f"masking: expected one of {', '.join(get_args(Masking))}; found {self.masking!r}.")
        if self.target not in get_args(Target):
            raise ConfigError(f"target: expected one of {', '.join(get_args(Target))}; found {self.target!r}.")
        if self.joints_weight and self.target == "joints":
            raise ConfigError("joints_weight: expected 0 when target is 'joints', which is that objective already.")
        if self.target == "displacement":
            fixed = {
                "masking": "future",
                "norm_target": False,
                "joints_weight": 0,
                "mask_ratio_low": None,
                "missing_parts": 0,
            }
            for name, value in fixed.items():
                if getattr(self, name) != value:
                    raise ConfigError(
                        f"objective.{name}: expected {value!r} with target 'displacement', found "
                        f"{getattr(self, name)!r}."
                    )
        if self.decoded_tokens is not None and self.decoded_tokens < 1:
            raise ConfigError(f"decoded_tokens: expected at least 1, or None for all, found {self.decoded_tokens!r}.")
        low_ratio = self.mask_ratio_low
        if low_ratio is not None and not 0 < low_ratio <= self.mask_ratio < 1:
            raise ConfigError(
                f"objective.mask_ratio_low: expected a share above 0, up to mask_ratio ({self.mask_ratio}), which is "
                f"below 1 then; found {low_ratio}."
            )
        if not 0 <= self.missing_parts <= 1:
            raise ConfigError(f"objective.missing_parts: expected a share in [0, 1], found {self.missing_parts}.")


class MAMPForPretraining(Backbone):
    """Pre-training model: encoder of the visible tokens, light decoder, and prediction heads.

    Args:
        config: The encoder.
        objective: Masking, targets and decoder.
        drop_path_rate: Maximum stochastic-depth rate of the encoder; the decoder uses the first rates (published: 0).
        changes: Fields of the objective, such as ``mask_ratio=0.8``.

    Raises:
        ConfigError: The objective does not fit the encoder.
    """

    def __init__(
        self, config: MAMPConfig, objective: Objective | None = None, *, drop_path_rate: float = 0.0, **changes: Any
    ) -> None:
        super().__init__(config, drop_path_rate)
        self.objective = objective = replace(objective or Objective(), **changes)
        self.num_tokens, self.patch_values = config.num_tokens, config.patch_values
        by_part = objective.masking == "parts" or objective.missing_parts
        if by_part:
            what = "masking 'parts'" if objective.masking == "parts" else "missing_parts"
            layout = get_layout(config.preprocessing.layout)
            if (config.num_joints, config.patch_size) != (len(layout.joints), 1):
                raise ConfigError(
                    f"{what} knows the body parts of the {len(layout.joints)} joints of {layout.name}, one joint a "
                    "token."
                )
            if objective.missing_parts and max(layout.part_of) == 0:
                raise ConfigError(f"missing_parts: expected a body of two parts or more; {layout.name} is one part.")
        if not 1 <= objective.motion_stride < config.num_frames:
            raise ConfigError(
                f"motion_stride: expected 1 to {config.num_frames - 1} (num_frames - 1), found "
                f"{objective.motion_stride!r}."
            )
        decoder_dim_feat = objective.decoder_dim_feat
        if decoder_dim_feat % config.num_heads:
            raise ConfigError(
                f"decoder_dim_feat: expected a multiple of num_heads ({config.num_heads}), found {decoder_dim_feat}."
            )
        if num_kept(config.num_tokens, objective.mask_ratio) == config.num_tokens:
            raise ConfigError(
                f"mask_ratio: expected a share that masks at least one of {config.num_tokens} tokens, found "
                f"{objective.mask_ratio}: nothing would be left to predict."
            )

        t, v = config.grid
        if objective.target == "displacement" and (self.num_kept % v or not self.num_kept):
            raise ConfigError(
                f"mask_ratio: expected a share of whole time steps of {v} tokens with target 'displacement', found "
                f"{objective.mask_ratio}, which leaves {self.num_kept} of {self.num_tokens} tokens."
            )
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
            for i in range(objective.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(decoder_dim_feat)
        self.decoder_pred = nn.Linear(decoder_dim_feat, config.patch_values)
        if objective.joints_weight:
            self.decoder_pred_joints = nn.Linear(decoder_dim_feat, config.patch_values)
        if objective.agreement_weight:
            self.agreement_head = Projection(config.pooled_dim)
        for name, module in self.named_children():
            if name.startswith("decoder"):
                module.apply(init_weights)
        for parameter in (self.mask_token, self.decoder_temp_embed, self.decoder_pos_embed):
            nn.init.trunc_normal_(parameter, std=0.02)
        if objective.target == "displacement":
            nn.init.zeros_(self.decoder_pred.weight)
            self.decoder_past = Extrapolation(self.past_frames, config.num_frames - self.past_frames)

    def forward(
        self,
        x: Tensor,
        noise: Tensor | None = None,
        target_x: Tensor | None = None,
        decoded_noise: Tensor | None = None,
        confidence: Tensor | None = None,
        mask_ratio: float | None = None,
        missing: Tensor | None = None,
        importance: Tensor | None = None,
    ) -> PretrainingOutput:
        """Mask, encode, decode, and compute the loss.

        Args:
            x: Clips [B, M, T, V, C] in metres.
            noise: [B * M, L] uniform numbers, the only randomness of the mask; drawn by default.
            target_x: Clips of the same shape for the target, without the noise added to ``x``.
            decoded_noise: [B * M, L'] uniform numbers that choose among L' or fewer masked tokens if
                ``decoded_tokens`` is set; drawn by default.
            confidence: [B, M, T, V] tracking confidence in [0, 1], for ``masking="confidence"``.
            mask_ratio: Replaces that of the objective.
            missing: [B * M, L], true for tokens to mask first.
            importance: [B * M, L] importance of the tokens for ``masking="learned"``, from :meth:`importance` of a
                teacher; by default from this model.
        """
        self.check_input(x)
        cfg, goal, batch = self.config, self.objective, len(x)
        x = rearrange(x, "b m t v c -> (b m) t v c")
        target_x = x if target_x is None else rearrange(target_x, "b m t v c -> (b m) t v c")
        if noise is None:
            noise = torch.rand(x.shape[0], self.num_tokens, device=x.device)
        elif noise.shape != (x.shape[0], self.num_tokens):
            raise ConfigError(f"noise: expected shape {(x.shape[0], self.num_tokens)}, found {tuple(noise.shape)}.")

        if goal.masking == "learned" and importance is None:
            importance = self._importance(x, target_x, noise)
        key = self._mask_key(x, noise, confidence, importance)
        if missing is not None:
            key = key.masked_fill(missing, torch.inf)
        mask = mask_tokens(key, goal.mask_ratio if mask_ratio is None else mask_ratio)
        ids_hidden = self._decoded_ids(mask, decoded_noise)
        ids = torch.cat([mask.ids_keep, ids_hidden], dim=1)
        latent = self.encode_tokens(x, mask.ids_keep)
        h = self._decode(latent, ids)

        prediction = self.decoder_pred(h)
        if goal.target == "displacement":
            coming = patchify(self.decoder_past(x), cfg.t_patch_size, cfg.patch_size)
            prediction = prediction + coming.gather(1, repeat(ids, "n k -> n k c", c=self.patch_values))
        losses: dict[str, Tensor] = {goal.target: self._loss(prediction, target_x, goal.target, ids_hidden)}
        loss = losses[goal.target]
        if goal.joints_weight:
            losses["joints"] = self._loss(self.decoder_pred_joints(h), target_x, "joints", ids_hidden)
            loss = loss + goal.joints_weight * losses["joints"]
        if goal.agreement_weight and batch > 1:  # a single clip, of a picture, has no negatives
            bodies = reduce_present(latent, 1, cfg.pooling)
            clips = rearrange(bodies, "(b m) d -> b m d", b=batch).mean(dim=1)
            losses["agreement"] = agreement(self.agreement_head(clips), goal.agreement_temperature)
            loss = loss + goal.agreement_weight * losses["agreement"]
        in_token_order = prediction.new_zeros(x.shape[0], self.num_tokens, self.patch_values)
        in_token_order = in_token_order.scatter(1, repeat(ids, "n k -> n k c", c=self.patch_values), prediction)
        return PretrainingOutput(loss, in_token_order, mask.mask, losses)

    def importance(self, x: Tensor, target_x: Tensor, noise: Tensor) -> Tensor:
        """Loss [B * M, L] of each token of clips [B, M, T, V, C] when masked at random, for ``masking="learned"``.

        Visible tokens have no loss, and take the mean of the others of their body. No gradient.
        """
        self.check_input(x)
        x, target_x = (rearrange(clips, "b m t v c -> (b m) t v c") for clips in (x, target_x))
        return self._importance(x, target_x, noise)

    @torch.no_grad()
    def _importance(self, x: Tensor, target_x: Tensor, noise: Tensor) -> Tensor:
        mask = mask_tokens(noise, self.objective.mask_ratio)
        hidden = mask.ids_shuffle[:, mask.ids_keep.shape[1] :]
        prediction = self.decoder_pred(self._decode(self.encode_tokens(x, mask.ids_keep), mask.ids_shuffle))
        losses = self._errors(prediction, target_x, self.objective.target, hidden).mean(dim=-1)
        every = losses.mean(dim=1, keepdim=True).expand(-1, self.num_tokens)
        return every.scatter(1, hidden, losses)

    def _mask_key(self, x: Tensor, noise: Tensor, confidence: Tensor | None, importance: Tensor | None) -> Tensor:
        """Sort key [N, L] of the masking rule, for bodies [N, T, V, C]."""
        cfg, goal = self.config, self.objective
        if goal.masking == "future":
            return future_key(noise, cfg.grid[0])
        if goal.masking == "tube":
            return tube_key(noise, cfg.grid[0])
        if goal.masking == "parts":
            return parts_key(
                noise, cfg.grid[0], torch.tensor(get_layout(cfg.preprocessing.layout).part_of, device=noise.device)
            )
        if goal.masking == "random" or goal.motion_aware_tau <= 0:
            return noise
        if goal.masking == "learned" and importance is not None:
            return motion_aware_key(importance.to(noise.dtype), noise, goal.motion_aware_tau)
        intensity = motion_intensity(x, cfg.t_patch_size, cfg.patch_size)
        if goal.masking == "confidence":
            if confidence is None:
                raise ConfigError("masking 'confidence' needs the tracking confidence of the clips; found none.")
            confidence = rearrange(confidence, "b m t v -> (b m) t v")
            intensity = intensity * token_confidence(confidence, cfg.t_patch_size, cfg.patch_size)
        if goal.masking == "still":
            return still_key(intensity, noise, goal.motion_aware_tau)
        return motion_aware_key(intensity, noise, goal.motion_aware_tau)

    @property
    def num_kept(self) -> int:
        """Number of visible tokens of a body, K."""
        return num_kept(self.num_tokens, self.objective.mask_ratio)

    @property
    def past_frames(self) -> int:
        """Number of visible frames when the future is masked."""
        return self.num_kept // self.config.grid[1] * self.config.t_patch_size

    def _decoded_ids(self, mask: Mask, draw: Tensor | None) -> Tensor:
        """Indices [N, P] of the masked tokens to decode: all, or a random subset."""
        kept = mask.ids_keep.shape[1]
        hidden = self.num_tokens - kept
        wanted = self.objective.decoded_tokens
        if wanted is None or wanted >= hidden:
            return mask.ids_shuffle[:, kept:]
        if draw is None:
            draw = torch.rand(mask.mask.shape[0], hidden, device=mask.mask.device)
        return mask.ids_shuffle[:, kept:].gather(1, draw[:, :hidden].topk(wanted, dim=1).indices)

    def _decode(self, latent: Tensor, ids: Tensor) -> Tensor:
        """Decode visible tokens [N, K, D] together with mask tokens; ``ids`` [N, P] are the tokens of the P rows."""
        kept = self.decoder_embed(latent)
        hidden = repeat(self.mask_token, "1 1 d -> n p d", n=ids.shape[0], p=ids.shape[1] - latent.shape[1])
        position = rearrange(self.decoder_temp_embed + self.decoder_pos_embed, "1 t v d -> (t v) d")
        h = torch.cat([kept, hidden.to(kept.dtype)], dim=1) + F.embedding(ids, position)
        for block in self.decoder_blocks:
            h = block(h)
        return self.decoder_norm(h)

    def target_of(self, x: Tensor, target: Target) -> Tensor:
        """Values [N, T, V, C] of a target of clips [N, T, V, C], before normalisation."""
        if target == "displacement":
            return displacement(x, self.past_frames)
        return temporal_motion(x, self.objective.motion_stride) if target == "motion" else x

    def _loss(self, prediction: Tensor, x: Tensor, target: Target, ids_hidden: Tensor) -> Tensor:
        """Mean squared error over the hidden tokens, the last rows of ``prediction`` [N, P, C]; or mean distance."""
        if target == "displacement":
            return mean_distance(*self._hidden(prediction, x, target, ids_hidden))
        return self._errors(prediction, x, target, ids_hidden).mean()

    def _errors(self, prediction: Tensor, x: Tensor, target: Target, ids_hidden: Tensor) -> Tensor:
        """Squared errors [N, K, C] of the K hidden tokens, the last rows of ``prediction`` [N, P, C]."""
        predicted, patches = self._hidden(prediction, x, target, ids_hidden)
        if self.objective.norm_target:
            patches = normalize_target(patches)
        return (predicted - patches).square()

    def _hidden(self, prediction: Tensor, x: Tensor, target: Target, ids_hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Predicted and true values [N, K, C] of the hidden tokens, before normalisation."""
        cfg = self.config
        patches = patchify(self.target_of(x, target), cfg.t_patch_size, cfg.patch_size)
        patches = patches.gather(1, repeat(ids_hidden, "n k -> n k c", c=self.patch_values))
        return prediction[:, prediction.shape[1] - ids_hidden.shape[1] :].to(patches.dtype), patches


class Projection(nn.Sequential):
    """Projection head of :func:`agreement`, [B, D] -> [B, D / 2]; what it discards remains in the embedding."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim // 2))
        self.apply(init_weights)


def agreement(z: Tensor, temperature: float) -> Tensor:
    """InfoNCE loss of ``z`` [B, F], in which rows 2 i and 2 i + 1 are views of the same clip."""
    if len(z) % 2:
        raise ConfigError(f"agreement needs pairs of views; found a batch of {len(z)} clips.")
    z = nn.functional.normalize(z.float(), dim=-1)
    scores = (z @ z.T / temperature).fill_diagonal_(-torch.inf)
    other = torch.arange(len(z), device=z.device) ^ 1
    return nn.functional.cross_entropy(scores, other)
