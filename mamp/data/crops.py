"""Resize crops of any length to a common one and transform them; each frame is read and written once.

All rigid and affine augmentations of a clip are one matrix product (:class:`Placement`). On a CPU, bodies are processed
in groups that fit its cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mamp.geometry import from_the_root
from mamp.layouts import Layout

FloatArray = NDArray[np.floating]
GROUP = 16


def map_of_joints(matrix: FloatArray, places: NDArray[np.int64]) -> FloatArray:
    """Matrix [B, K * 3, K * 3] that transforms K joints at once, applied from the right.

    Much faster than products with 3 x 3 matrices.

    Args:
        matrix: [B, 3, 3] transformation of a point.
        places: [K] or [B, K] new index of each joint.
    """
    clips, joints = len(matrix), places.shape[-1]
    product = np.zeros((clips, joints, 3, joints, 3), np.float32)
    product[np.arange(clips)[:, None], np.arange(joints), :, places, :] = matrix.transpose(0, 2, 1)[:, None]
    return rearrange(product, "b v c w i -> b (v c) (w i)")


def map_of_bones(factors: FloatArray, layout: Layout) -> FloatArray:
    """Matrix [B, V * 3, V * 3], applied from the right, that scales the bone to each joint by ``factors`` [B, V].

    Factors of roots are ignored.
    """
    joints = len(layout.joints)
    product = np.zeros((len(factors), joints, joints), np.float32)  # a column holds the sources of a joint
    for root in (joint for joint, parent in enumerate(layout.parents) if parent < 0):
        product[:, root, root] = 1
    for joint in from_the_root(layout):
        parent = layout.parents[joint]
        product[:, :, joint] = product[:, :, parent]
        product[:, joint, joint] += factors[:, joint]
        product[:, parent, joint] -= factors[:, joint]
    return rearrange(np.einsum("bvw,ci->bvcwi", product, np.eye(3, dtype=np.float32)), "b v c w i -> b (v c) (w i)")


def facing_on_device(right: Tensor) -> Tensor:
    """As :func:`mamp.geometry.facing_angle`, where the clips are: [B, T, 3] -> [B]."""
    forward = torch.stack([right[..., 2], -right[..., 0]], dim=-1)
    fx, fz = F.normalize(forward, dim=-1).sum(dim=-2).unbind(dim=-1)
    return torch.atan2(-fx, -fz)


def turn_first(angle: Tensor, joint_map: Tensor) -> Tensor:
    """A map of joints [B, K * 3, N], for a product from the right, after a turn by ``angle`` [B] about the vertical."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [(cos, zero, sin), (zero, zero + 1, zero), (-sin, zero, cos)]  # transposed, with the published signs
    turn = rearrange([torch.stack(row) for row in rows], "i j b -> b i j")
    wide = rearrange(joint_map, "b (k j) n -> b j (k n)", j=3)
    return rearrange(turn @ wide, "b i (k n) -> b (k i) n", n=joint_map.shape[-1])


@dataclass
class Placement:
    """An affine map per clip, ``(x - origin) @ matrix``: origin [B, 3], matrix [B, K * 3, K * 3] of K joints."""

    origin: Tensor | None = None
    matrix: Tensor | None = None


@dataclass
class Bodies:
    """Source and destination of the frames of the N people present; the first person of each clip comes first.

    Attributes:
        clip: [N] index of the clip.
        slot: [N] index among the B * M slots.
        rows: [N, T, 2] int32, the two rows between which a frame is interpolated.
        weight: [N, T, 2] their weights.
        shape: B, M, T.
    """

    clip: Tensor
    slot: Tensor
    rows: Tensor
    weight: Tensor
    shape: tuple[int, int, int]

    def to(self, device: torch.device) -> Bodies:
        """Move to the training device."""
        if device.type == "cpu":
            return self
        clip, slot, rows, weight = (to_device(t, device) for t in (self.clip, self.slot, self.rows, self.weight))
        return Bodies(clip, slot, rows, weight, self.shape)


def find_bodies(start: Tensor, length: Tensor, present: Tensor, num_frames: int) -> Bodies:
    """Bodies of a :class:`mamp.data.augment.PackedBatch`, on the CPU.

    Equals :func:`mamp.geometry.resample_index`, but NumPy is faster for small arrays.
    """
    clips, people = present.shape
    person, clip = present.numpy().T.nonzero()
    slot = clip * people + person
    first, frames = start.numpy().ravel()[slot, None], length.numpy()[clip, None]
    source = frames.astype(np.float32) / np.float32(num_frames) * (np.arange(num_frames, dtype=np.float32) + 0.5) - 0.5
    np.maximum(source, 0, out=source)
    low = source.astype(np.int32)
    rows = np.empty((*source.shape, 2), np.int32)
    np.add(low, first, out=rows[..., 0], casting="same_kind")
    np.minimum(rows[..., 0] + 1, first + frames - 1, out=rows[..., 1], casting="same_kind")
    weight = np.empty((*source.shape, 2), np.float32)
    np.subtract(source, low, out=weight[..., 1], casting="same_kind")
    np.subtract(1, weight[..., 1], out=weight[..., 0])
    tensor = torch.from_numpy
    return Bodies(tensor(clip), tensor(slot), tensor(rows), tensor(weight), (clips, people, num_frames))


def between(rows: Tensor, where: Tensor, weight: Tensor) -> Tensor:
    """Linear interpolation: weighted sums [..., W] of two ``rows`` [F, W] each, with index and weight [..., 2]."""
    found = F.embedding_bag(where.flatten(0, -2), rows, mode="sum", per_sample_weights=weight.flatten(0, -2))
    return found.view(*where.shape[:-1], rows.shape[1])


def resize(rows: Tensor, bodies: Bodies, placement: Placement | None = None) -> Tensor:
    """Resize and place the crops in ``rows`` [F, V, ...]; returns [B, M, T, V, ...], zeros where nobody is present."""
    placement = placement or Placement()
    (clips, people, frames), flat = bodies.shape, rows.flatten(1)
    x = rows.new_empty(clips, people, frames, *rows.shape[1:])
    x[:, 1:].zero_()
    group = group_size(rows.device, len(bodies.clip))
    first_people = x[:, 0].flatten(2)
    for first in range(0, clips, group):
        part = slice(first, min(first + group, clips))
        _resize_group(flat, bodies, part, placement, first_people[part])
    others = rows.new_empty(group, *first_people.shape[1:])
    for first in range(clips, len(bodies.clip), group):
        part = slice(first, first + group)
        slot = bodies.slot[part]
        out = others[: len(slot)]
        _resize_group(flat, bodies, part, placement, out)
        x.view(clips * people, frames, -1).index_copy_(0, slot, out)
    return x


def _resize_group(rows: Tensor, bodies: Bodies, part: slice, placement: Placement, out: Tensor) -> None:
    """Resize and place some bodies of ``rows`` [F, V * C] into ``out`` [N, T, V * C]."""
    resized = between(rows, bodies.rows[part], bodies.weight[part])
    clip = bodies.clip[part]
    if placement.origin is not None:
        resized.sub_(placement.origin[clip].repeat(1, out.shape[2] // 3)[:, None])
    if placement.matrix is None:
        out.copy_(resized)
        return
    matrix = placement.matrix.index_select(0, clip)
    wide = (len(out), -1, matrix.shape[-1])
    if out.device.type == "cpu":  # for matrices this small NumPy is faster
        np.matmul(resized.view(wide).numpy(), matrix.numpy(), out=out.view(wide).numpy())
    else:
        torch.bmm(resized.view(wide), matrix, out=out.view(wide))


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Move to a device, asynchronously to a GPU."""
    if device.type == "cuda":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def group_size(device: torch.device, everything: int) -> int:
    """Number of bodies or clips processed at a time."""
    return GROUP if device.type == "cpu" else max(everything, 1)
