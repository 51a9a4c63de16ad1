"""Distillation: a small encoder learns to give the tokens and embeddings that a larger one, its teacher, gives.

The teacher sees every token of a clip as it is, the small encoder those that a mask leaves visible, with the tracking
errors of the augmentation, so that it also learns to do without what is missing and to see past errors. An encoder may
be its own teacher, to learn no more than that. Not part of the paper; see Hinton, Vinyals and Dean, "Distilling the
Knowledge in a Neural Network" (2015), and for features as targets Romero et al., "FitNets" (ICLR 2015).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from mamp.config import MAMPConfig
from mamp.errors import ConfigError
from mamp.masking import mask_tokens, motion_intensity, num_kept, still_key
from mamp.pretraining import Objective, PretrainingOutput
from mamp.transformer import Network, init_weights, reduce_present


class Distillation(Network):
    """An encoder with a readout, and the map from its tokens to those of a teacher.

    Args:
        config: The small encoder; ``readout_dim`` is the length of the teacher's embeddings.
        objective: Which tokens the small encoder sees: ``mask_ratio``, ``mask_ratio_low``, ``missing_parts``, and
            ``masking``, of which ``still`` keeps those that move most, any other a random choice. The rest is not used.
        teacher: The larger encoder. It is not trained, and no part of ``state_dict()``.

    Raises:
        ConfigError: The two do not fit each other.
    """

    teacher: Network

    def __init__(self, config: MAMPConfig, objective: Objective, teacher: Network) -> None:
        super().__init__(config)
        self.objective, self.num_tokens = objective, config.num_tokens
        theirs = teacher.config
        if config.readout_dim is None or config.readout_dim != theirs.readout_dim:
            raise ConfigError(
                f"encoder.readout_dim: expected that of the teacher, {theirs.readout_dim} (if None, "
                f"first fit it one by mamp readout), found {config.readout_dim}."
            )
        same = ("readout_pose", "dim_in", "num_frames", "num_joints", "patch_size", "preprocessing")
        differ = [name for name in same if getattr(config, name) != getattr(theirs, name)]
        if replace(config.preprocessing, apart=False) == replace(theirs.preprocessing, apart=False):
            differ = [name for name in differ if name != "preprocessing"]  # training does not place people apart
        if differ:
            raise ConfigError(
                f"encoder: expected {', '.join(differ)} as the teacher has it: "
                f"{', '.join(repr(getattr(theirs, name)) for name in differ)}."
            )
        if config.t_patch_size % theirs.t_patch_size:
            raise ConfigError(
                f"encoder.t_patch_size: expected a multiple of that of the teacher ({theirs.t_patch_size}), found "
                f"{config.t_patch_size}."
            )
        self.steps = config.t_patch_size // theirs.t_patch_size  # of the teacher, in one of ours
        self.to_tokens = nn.Linear(config.dim_feat, self.steps * theirs.dim_feat)
        if config.dim_feat == theirs.dim_feat:  # as if started from the teacher
            nn.init.zeros_(self.to_tokens.bias)
            self.to_tokens.weight.data.copy_(torch.eye(config.dim_feat).repeat(self.steps, 1))
        else:
            self.to_tokens.apply(init_weights)
        if self.pose is not None and teacher.pose is not None:  # fitted to clips, not to tokens: the same for both
            self.pose.load_state_dict(teacher.pose.state_dict())
        object.__setattr__(self, "teacher", teacher.requires_grad_(False).eval())  # not a part: not saved, not trained

    @property
    def num_kept(self) -> int:
        """Number of visible tokens of a body, K."""
        return num_kept(self.num_tokens, self.objective.mask_ratio)

    def _apply(self, *args: Any, **kwargs: Any) -> Distillation:
        self.teacher._apply(*args, **kwargs)
        super()._apply(*args, **kwargs)
        return self

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        noise: Tensor | None = None,
        target_x: Tensor | None = None,
        mask_ratio: float | None = None,
        missing: Tensor | None = None,
        **others: object,
    ) -> PretrainingOutput:
        """Encode the visible tokens, and compare tokens and embedding with those of the teacher.

        Args:
            x: Clips [B, M, T, V, C] in metres.
            noise: [B * M, L] uniform numbers that choose the visible tokens; drawn by default.
            target_x: Clips of the same shape for the teacher, without the noise added to ``x``.
            mask_ratio: Replaces that of the objective.
            missing: [B * M, L], true for tokens to mask first.
            others: Further arguments of :meth:`mamp.pretraining.MAMPForPretraining.forward`, without effect.

        Returns:
            The sum of the two errors; ``prediction`` has the tokens of the teacher as they are predicted.
        """
        self.check_input(x)
        x = rearrange(x, "b m t v c -> (b m) t v c")
        target_x = x if target_x is None else rearrange(target_x, "b m t v c -> (b m) t v c")
        if noise is None:
            noise = torch.rand(len(x), self.num_tokens, device=x.device)
        key = noise
        if self.objective.masking == "still":
            intensity = motion_intensity(x, self.config.t_patch_size, self.config.patch_size)
            key = still_key(intensity, noise, self.objective.motion_aware_tau)
        if missing is not None:
            key = key.masked_fill(missing, torch.inf)
        mask = mask_tokens(key, self.objective.mask_ratio if mask_ratio is None else mask_ratio)

        tokens, embeddings = self.taught(target_x)
        seen = self.encode_tokens(x, mask.ids_keep)
        predicted = self.to_tokens(seen).float()
        tokens = tokens.gather(1, repeat(mask.ids_keep, "n k -> n k d", d=tokens.shape[-1]))
        losses = {
            "tokens": F.mse_loss(predicted, tokens),
            "embeddings": F.mse_loss(self.embed(self, seen), embeddings),
        }
        everywhere = predicted.new_zeros(len(x), self.num_tokens, predicted.shape[-1])
        everywhere = everywhere.scatter(1, repeat(mask.ids_keep, "n k -> n k d", d=predicted.shape[-1]), predicted)
        return PretrainingOutput(losses["tokens"] + losses["embeddings"], everywhere, mask.mask, losses)

    @torch.no_grad()
    def taught(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [N, L, steps * D] of the teacher, each normalised, one row a token of ours; and embeddings [N, E]."""
        tokens = self.teacher.encode_tokens(x)
        t, v = self.config.grid
        normal = F.layer_norm(tokens.float(), tokens.shape[-1:])
        rows = rearrange(normal, "n (t steps v) d -> n (t v) (steps d)", t=t, steps=self.steps, v=v)
        return rows, self.embed(self.teacher, tokens)

    @staticmethod
    def embed(network: Network, tokens: Tensor) -> Tensor:
        """Embeddings [N, E] of tokens [N, K, D], in float32, without what poses add to them."""
        pooled = reduce_present(tokens.float(), 1, network.config.pooling)
        assert network.readout is not None
        with torch.autocast(tokens.device.type, enabled=False):
            return network.readout(pooled)
