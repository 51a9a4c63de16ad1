"""Which tokens of a clip were tracked."""

from __future__ import annotations

import torch
from einops import reduce
from torch import Tensor

from mamp.config import MAMPConfig
from mamp.layouts.tables import NTU25_BONES
from mamp.preprocessing import NormalizedClip, lerp, middle_crop, resample_index


def token_presence(clip: NormalizedClip, config: MAMPConfig) -> Tensor:
    """Which tokens of the clip that the model takes were tracked, after crop and resize.

    A token is there when any of the positions that it is made of was tracked; the others of its positions are
    interpolated. A person who is tracked only in frames that no token looks at (cut off, or skipped when a long clip is
    made shorter) has all tokens.

    Returns:
        [M, L], true where the token is there.
    """
    if clip.tracked.all() or config.preprocessing.missing == "fill":
        return torch.ones(len(clip.positions), config.num_tokens, dtype=torch.bool)
    start, length = middle_crop(clip.positions.shape[1], config.preprocessing.crop)
    low, high, share = resample_index(torch.tensor(start), torch.tensor(length), config.num_frames)
    tracked = torch.from_numpy(clip.tracked).float()
    tracked = _to_stream(lerp(tracked[:, low], tracked[:, high], share[:, None]), config.preprocessing.stream)
    tokens = reduce(tracked, "m (t u) (v p) -> m (t v)", "mean", u=config.t_patch_size, p=config.patch_size)
    there = tokens > 1e-6
    return there | ~there.any(dim=1, keepdim=True)


def _to_stream(tracked: Tensor, stream: str) -> Tensor:
    """A bone needs both its joints, a motion both its frames: [M, T, V] -> [M, T, V]."""
    if stream.startswith("bone"):
        tracked = torch.minimum(tracked, tracked[..., NTU25_BONES])
    if stream.endswith("motion"):
        tracked = torch.minimum(tracked, torch.cat([tracked[:, 1:], tracked[:, -1:]], dim=1))
    return tracked


def equal_counts(presence: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Put bodies that have as many tokens together, so that each group is encoded as it would be alone.

    Args:
        presence: [N, L], true where a token is there.

    Returns:
        For each number K of tokens that occurs: rows [n] of the bodies that have it, and ids [n, K] of their tokens.
    """
    counts = presence.sum(dim=1)
    groups = []
    for count in counts.unique().tolist():
        rows = (counts == count).nonzero()[:, 0]
        groups.append((rows, presence[rows].nonzero()[:, 1].view(len(rows), count)))
    return groups
