"""Which tokens of a body attend to which: ``MAMPConfig.attention``.

==============  ======================================================================================================
``joint``       every token to every token, the published attention: L^2 pairs
``factorised``  half of the heads to the same joint at all times, the other half to all joints at the same time, as the
                factorised dot-product attention of ViViT (Arnab et al., ICCV 2021): L (T + V) / 2 pairs of each head
``local``       every token to all joints at most ``attention_window`` steps away: L V (2 w + 1) pairs
==============  ======================================================================================================

All have the parameters of ``joint``, by the same names. A whole body is computed group by group, so that the cost is
that of the pairs. Of a body that lacks tokens (masked, or not tracked), all pairs of the K tokens that are there are
computed, and those that do not attend to each other masked: as costly as ``joint``, which for the tenth that
pre-training keeps is next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from mamp.config import Attending
from mamp.kernels import attention


@dataclass(frozen=True)
class Places:
    """Where the tokens of bodies are.

    Attributes:
        steps: Number of time steps, t.
        joints: Number of joints, v.
        ids: [N, K] indices ``t * V + v`` of the tokens; all in their order by default.
    """

    steps: int
    joints: int
    ids: Tensor | None = None


@dataclass(frozen=True)
class Pattern:
    """Who attends to whom.

    Attributes:
        kind: ``joint``, ``factorised`` or ``local``.
        window: Reach of ``local``, in time steps.
    """

    kind: Attending = "joint"
    window: int = 4

    def attend(self, q: Tensor, k: Tensor, v: Tensor, places: Places | None) -> Tensor:
        """Softmax attention of queries, keys and values [N, H, L, d] to [N, H, L, d]; of ``joint`` see the kernels."""
        assert places is not None
        if places.ids is not None:
            return attention(q, k, v, self.pairs(places, q.shape[1], q.device))
        return _factorised(q, k, v, places) if self.kind == "factorised" else _local(q, k, v, places, self.window)

    def pairs(self, places: Places, heads: int, device: torch.device) -> Tensor:
        """Whether a token attends to another: bool [N, H or 1, K, K], with N = 1 where all tokens are there."""
        ids = places.ids
        if ids is None:
            ids = torch.arange(places.steps * places.joints, device=device)[None]
        time, joint = ids // places.joints, ids % places.joints
        if self.kind == "joint":
            return torch.ones(1, 1, ids.shape[1], ids.shape[1], dtype=torch.bool, device=device)
        apart = (time[:, :, None] - time[:, None, :]).abs()
        if self.kind == "local":
            return (apart <= self.window)[:, None]
        same_joint = joint[:, :, None] == joint[:, None, :]
        return torch.stack([same_joint] * (heads // 2) + [apart == 0] * (heads - heads // 2), dim=1)


JOINT = Pattern()


def _factorised(q: Tensor, k: Tensor, v: Tensor, places: Places) -> Tensor:
    """The first half of the heads over time, the others over joints, of whole bodies."""
    half, sizes = q.shape[1] // 2, {"t": places.steps, "v": places.joints}
    over_time = (rearrange(x[:, :half], "n h (t v) d -> (n v) h t d", **sizes) for x in (q, k, v))
    over_joints = (rearrange(x[:, half:], "n h (t v) d -> (n t) h v d", **sizes) for x in (q, k, v))
    time, joints = (F.scaled_dot_product_attention(q, k, v) for q, k, v in (over_time, over_joints))
    return torch.cat(
        [
            rearrange(time, "(n v) h t d -> n h (t v) d", v=places.joints),
            rearrange(joints, "(n t) h v d -> n h (t v) d", t=places.steps),
        ],
        dim=1,
    )


def _local(q: Tensor, k: Tensor, v: Tensor, places: Places, window: int) -> Tensor:
    """Chunks of ``window`` steps, each with the steps of the chunk before and after it, of whole bodies."""
    steps, joints, size = places.steps, places.joints, max(window, 1)
    chunks = -(-steps // size)
    missing = chunks * size - steps
    q, k, v = (rearrange(x, "n h (t v) d -> n h t v d", v=joints) for x in (q, k, v))
    q = rearrange(F.pad(q, (0, 0, 0, 0, 0, missing)), "n h (c t) v d -> (n c) h (t v) d", c=chunks)
    k, v = (_with_neighbours(F.pad(x, (0, 0, 0, 0, size, missing + size)), size) for x in (k, v))

    first = torch.arange(chunks, device=q.device)[:, None] * size
    of_query = first + torch.arange(size, device=q.device)  # [c, t]
    of_key = first - size + torch.arange(3 * size, device=q.device)
    near = (of_query[:, :, None] - of_key[:, None, :]).abs() <= window
    near &= ((of_key >= 0) & (of_key < steps))[:, None, :] | (of_query >= steps)[:, :, None]  # padding sees anything
    near = repeat(near, "c t s -> (n c) 1 (t v) (s w)", n=len(q) // chunks, v=joints, w=joints)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=near)
    y = rearrange(y, "(n c) h (t v) d -> n h (c t) v d", c=chunks, v=joints)[:, :, :steps]
    return rearrange(y, "n h t v d -> n h (t v) d")


def _with_neighbours(x: Tensor, size: int) -> Tensor:
    """Chunks of ``size`` steps with one before and one after: [N, H, T, V, d] -> [(N c), H, 3 size * V, d]."""
    return rearrange(x.unfold(2, 3 * size, size), "n h c v d t -> (n c) h (t v) d")
