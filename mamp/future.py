"""Masking the future, for forecasting: the mask, the target, and a linear forecast that the decoder corrects."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor, nn

RIDGE = 1e-6  # square metres


def future_key(noise: Tensor, steps: int) -> Tensor:
    """Sort key of masking the future, [N, L] from ``noise`` [N, L]: earlier steps first, joints in random order."""
    u = rearrange(noise, "n (t v) -> n t v", t=steps)
    step = rearrange(torch.arange(steps, device=u.device), "t -> t 1")
    return rearrange(step + u / 2, "n t v -> n (t v)")


def displacement(x: Tensor, past: int) -> Tensor:
    """Displacement of clips [N, T, V, C] from the last of their first ``past`` frames."""
    return x - x[:, past - 1 : past]


class Extrapolation(nn.Linear):
    """A linear forecast: weights over past frames, the same for all joints and coordinates.

    It therefore turns with the body. ``forward`` maps clips [N, T, V, C], of which it sees ``past`` frames, to
    displacements [N, T, V, C] from the last pose seen, zero in the past. Without a fit it repeats that pose.
    """

    def __init__(self, past: int, future: int) -> None:
        super().__init__(past, future, bias=False)
        nn.init.zeros_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Displacements; see the class."""
        seen = displacement(x[:, : self.in_features], self.in_features)
        with torch.autocast(x.device.type, enabled=False):  # half precision has too few digits for small motions
            coming = super().forward(rearrange(seen.to(self.weight.dtype), "n t v c -> n v c t"))
        return torch.cat([torch.zeros_like(seen), rearrange(coming, "n v c t -> n t v c")], dim=1)

    @torch.no_grad()
    def fit(self, clips: Iterable[Tensor]) -> None:
        """Fit the weights by least squares to clips [N, T, V, C], a batch at a time."""
        past, future = self.in_features, self.out_features
        squares, products, count = torch.zeros(past, past).double(), torch.zeros(past, future).double(), 0
        for x in clips:
            rows = rearrange(displacement(x, past).double().cpu(), "n t v c -> (n v c) t")
            squares += rows[:, :past].T @ rows[:, :past]
            products += rows[:, :past].T @ rows[:, past:]
            count += len(rows)
        squares += RIDGE * count * torch.eye(past).double()
        self.weight.copy_(torch.linalg.solve(squares, products).T)


def mean_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance of points [..., 3 n], a few points a row."""
    error = rearrange(prediction - target, "... (n c) -> ... n c", c=3)
    return (error.square().sum(dim=-1) + 1e-8).sqrt().mean()
