"""The pose of a body, as numbers that a readout takes beside the pooled tokens.

Tokens are trained to tell movement, and say little of how somebody stands or sits. Where each joint is relative to the
trunk, on average over the clip and how far it strays, says that. Not part of the paper.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from mamp.config import MAMPConfig


def pose_numbers(x: Tensor, known: Tensor, centre: int) -> Tensor:
    """Mean and standard deviation over time of each joint relative to another: [N, 2 * V * C]; NaN if never known.

    Args:
        x: [N, T, V, C] bodies.
        known: [N, T, V], true where a joint counts.
        centre: The joint that positions are relative to; it counts throughout.
    """
    from_centre, weight = x - x[:, :, centre : centre + 1], known[..., None].to(x.dtype)
    count = weight.sum(1, keepdim=True)
    mean = (from_centre * weight).sum(1, keepdim=True) / count
    spread = (((from_centre - mean).square() * weight).sum(1, keepdim=True) / count).sqrt()
    return rearrange([mean, spread], "two n 1 v c -> n (two v c)")


class PoseReadout(nn.Module):
    """The part of a readout that takes poses; what is not known of a body counts as the average over the fitted clips.

    Its weights are fitted (:mod:`mamp.train.readout`), never trained.

    Args:
        config: Architecture, with ``readout_pose``.
        centre: The joint that positions are relative to.
    """

    weight: Tensor
    mean: Tensor

    def __init__(self, config: MAMPConfig, centre: int) -> None:
        super().__init__()
        assert config.readout_dim is not None
        self.grid, self.centre = config.grid, centre
        self.register_buffer("weight", torch.zeros(config.readout_dim, config.pose_dim))
        self.register_buffer("mean", torch.zeros(config.pose_dim))

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """What poses add to the embeddings [N, E] of bodies [N, T, V, C] with the tokens ``there`` [N, L], float32."""
        return self._read(self.numbers(x.float(), there))

    def numbers(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """The pose [N, 2 * V * C] of bodies, NaN for joints without a token."""
        return pose_numbers(x, self._known(x, there), self.centre)

    def steps(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """The same for each step of tokens over time: [N, t, E]. A moment has a pose, but nothing strays in it."""
        t, known = self.grid[0], self._known(x, there)
        numbers = pose_numbers(
            rearrange(x.float(), "n (t u) v c -> (n t) u v c", t=t),
            rearrange(known, "n (t u) v -> (n t) u v", t=t),
            self.centre,
        )
        mean, _ = numbers.chunk(2, dim=-1)
        added = self._read(torch.cat([mean, torch.full_like(mean, torch.nan)], dim=-1))
        return rearrange(added, "(n t) e -> n t e", t=t)

    def _known(self, x: Tensor, there: Tensor | None) -> Tensor:
        """[N, T, V]: the frames and joints of the tokens ``there`` [N, L]."""
        if there is None:
            return torch.ones_like(x[..., 0], dtype=torch.bool)
        t, v = self.grid
        u, p = x.shape[1] // t, x.shape[2] // v
        return repeat(there, "n (t v) -> n (t u) (v p)", t=t, v=v, u=u, p=p)

    def _read(self, numbers: Tensor) -> Tensor:
        around = torch.where(numbers.isnan(), 0.0, numbers - self.mean.float())
        with torch.autocast(around.device.type, enabled=False):
            return F.linear(around, self.weight.float())
