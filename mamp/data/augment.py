"""Crop, resize, rotation and the other augmentations, for a whole batch at once on the training device.

Given the same random numbers they equal the published per-sample ones. Each clip draws one row of uniform numbers, one
column a purpose, so that a clip's augmentation does not depend on which process or micro-batch it falls into.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.nn import functional as F

from mamp.errors import ConfigError
from mamp.layouts import Layout
from mamp.preprocessing import lerp, resample_index

# Columns of the uniform numbers of a clip.
COLUMNS = ("length", "start", "rot_x", "rot_y", "rot_z", "yaw", "mirror", "scale", "noise", "noise_seed")


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training clip. The defaults are the published recipe; everything else is off.

    Attributes:
        crop_share: Range of the share of a clip that a random crop keeps.
        crop_min: A crop is never shorter than this number of frames, unless the clip is.
        window: Range of the crop's length in frames; replaces ``crop_share`` for long recordings.
        rotation: Largest angle about each axis, in radians, uniform on both sides; one rotation a clip.
        center: Put ``spine_mid`` of the first person in the first frame of the crop at the origin.
        facing: Turn the crop about the vertical so that the first person faces the camera on average.
        view_rotation: Largest angle about the vertical, in radians.
        mirror: Probability of swapping left and right.
        scale: Range of a common factor on all coordinates (body size).
        noise: Largest standard deviation of jitter added to the input, in metres; each clip draws its own. The target
            of the prediction stays clean.
    """

    crop_share: tuple[float, float] = (0.5, 1.0)
    crop_min: int = 64
    window: tuple[int, int] | None = None
    rotation: float = 0.3
    center: bool = False
    facing: bool = False
    view_rotation: float = 0.0
    mirror: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    noise: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_share
        if not 0 < low <= high <= 1:
            raise ConfigError(f"augment.crop_share: expected two shares in (0, 1], ascending; found {self.crop_share}.")
        if self.window is not None and not 1 <= self.window[0] <= self.window[1]:
            raise ConfigError(f"augment.window: expected two frame counts, ascending; found {self.window}.")
        if self.crop_min < 1 or not 0 <= self.mirror <= 1 or min(self.rotation, self.view_rotation, self.noise) < 0:
            raise ConfigError("augment: crop_min is at least 1, mirror a probability, angles and noise not negative.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(f"augment.scale: expected two factors above zero, ascending; found {self.scale}.")

    def crop(self, num_frames: int, u_length: float, u_start: float) -> tuple[int, int]:
        """First frame and length of the crop of a clip, given two uniform numbers (published feeder)."""
        if self.window is not None:
            low, high = self.window
            length = min(low + int(u_length * (high - low + 1)), num_frames)
        else:
            low_share, high_share = self.crop_share
            share = low_share + (high_share - low_share) * u_length
            length = min(max(math.floor(num_frames * share), self.crop_min), num_frames)
        return int(u_start * (num_frames - length + 1)), length


@dataclass
class PackedBatch:
    """Crops of B clips as they lie in the store, packed behind one another.

    Attributes:
        rows: [F, V, 3] frames of all bodies.
        start: [B, M] first row of each body.
        length: [B] frames of each crop.
        present: [B, M] false where a slot is filled up with zeros.
        uniform: [B, len(COLUMNS)] random numbers of each clip.
        clips: [B] index of each clip in the store.
    """

    rows: Tensor
    start: Tensor
    length: Tensor
    present: Tensor
    uniform: Tensor
    clips: Tensor

    def to(self, device: torch.device) -> PackedBatch:
        """Move to the training device."""
        return PackedBatch(*(t.to(device, non_blocking=True) for t in self.__dict__.values()))


def column(uniform: Tensor, name: str) -> Tensor:
    """One purpose's uniform numbers [B]."""
    return uniform[:, COLUMNS.index(name)]


def unpack(batch: PackedBatch, num_frames: int) -> Tensor:
    """Resize every crop to ``num_frames``: [B, M, T, V, C], zeros where nobody is present."""
    low, high, share = resample_index(torch.zeros_like(batch.length), batch.length, num_frames)
    low, high = (rearrange(i, "b t -> b 1 t") + rearrange(batch.start, "b m -> b m 1") for i in (low, high))
    x = lerp(batch.rows[low], batch.rows[high], rearrange(share, "b t -> b 1 t 1 1"))
    return x * rearrange(batch.present, "b m -> b m 1 1 1")


def rotation_matrix(angles: Tensor) -> Tensor:
    """``Rz Ry Rx`` [B, 3, 3] of angles [B, 3] in radians, with the published signs."""
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(1), angles.cos().unbind(1)
    zero, one = torch.zeros_like(sx), torch.ones_like(sx)

    def matrix(*entries: Tensor) -> Tensor:
        return rearrange(torch.stack(entries, dim=1), "b (i j) -> b i j", i=3)

    rx = matrix(one, zero, zero, zero, cx, sx, zero, -sx, cx)
    ry = matrix(cy, zero, -sy, zero, one, zero, sy, zero, cy)
    rz = matrix(cz, sz, zero, -sz, cz, zero, zero, zero, one)
    return rz @ ry @ rx


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate clips [B, M, T, V, 3] about the origin by one set of angles [B, 3] each."""
    return einsum(rotation_matrix(angles).to(x.dtype), x, "b i j, b m t v j -> b m t v i")


def facing_angle(x: Tensor, layout: Layout) -> Tensor:
    """Angle [B] about the vertical that turns the first person of each clip to the camera (negative z) on average."""

    def joint(name: str) -> Tensor:
        return x[:, 0, :, layout.joints.index(name)]

    right = joint("hip_right") - joint("hip_left") + joint("shoulder_right") - joint("shoulder_left")
    forward = torch.stack([right[..., 2], -right[..., 0]], dim=-1)  # x and z of (up cross right)
    fx, fz = F.normalize(forward, dim=-1).sum(dim=1).unbind(dim=-1)
    return torch.atan2(-fx, -fz)  # with the published sign of a rotation about y


def mirror(x: Tensor, layout: Layout, which: Tensor) -> Tensor:
    """Swap left and right of the clips where ``which`` [B] is true: negate x, and exchange paired joints."""
    order = list(range(len(layout.joints)))
    for left, right in layout.pairs:
        i, j = layout.joints.index(left), layout.joints.index(right)
        order[i], order[j] = order[j], order[i]
    flipped = x[..., order, :] * x.new_tensor([-1.0, 1.0, 1.0])
    return torch.where(rearrange(which, "b -> b 1 1 1 1"), flipped, x)


def augment(
    batch: PackedBatch, settings: Augmentation, layout: Layout, num_frames: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Make the training clips of a batch.

    Returns:
        The input [B, M, T, V, C], and the clips of the same shape from which the target is taken; they are the same
        tensor unless noise is added.
    """
    x = unpack(batch, num_frames)
    uniform = batch.uniform
    here = rearrange(batch.present, "b m -> b m 1 1 1")
    if settings.center:
        spine = layout.joints.index("spine_mid")
        x = (x - x[:, :1, :1, spine : spine + 1]) * here
    yaw = (column(uniform, "yaw") * 2 - 1) * settings.view_rotation
    if settings.facing:
        yaw = yaw + facing_angle(x, layout)
    if settings.facing or settings.view_rotation:
        x = rotate(x, torch.stack([torch.zeros_like(yaw), yaw, torch.zeros_like(yaw)], dim=1))
    if settings.mirror:
        x = mirror(x, layout, column(uniform, "mirror") < settings.mirror)
    if settings.scale != (1.0, 1.0):
        low, high = settings.scale
        x = x * rearrange(low + (high - low) * column(uniform, "scale"), "b -> b 1 1 1 1")
    if settings.rotation:
        angles = torch.stack([column(uniform, name) for name in ("rot_x", "rot_y", "rot_z")], dim=1)
        x = rotate(x, (angles * 2 - 1) * settings.rotation)
    if not settings.noise:
        return x, x
    std = rearrange(column(uniform, "noise") * settings.noise, "b -> b 1 1 1 1")
    return x + std * _clip_noise(x, column(uniform, "noise_seed")) * here, x


def _clip_noise(x: Tensor, seeds: Tensor) -> Tensor:
    """Standard normal noise like ``x``, each clip from its own seed [B]."""
    rows = []
    for seed in (seeds.double().cpu() * 2**31).long().tolist():
        generator = torch.Generator().manual_seed(seed)
        rows.append(torch.randn(x.shape[1:], generator=generator))
    return torch.stack(rows).to(x.device, x.dtype)
