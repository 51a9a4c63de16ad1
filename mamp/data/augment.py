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
from mamp.preprocessing import lerp, resample_index, to_stream

# Columns of the uniform numbers of a clip.
COLUMNS = ("length", "start", "rot_x", "rot_y", "rot_z", "yaw", "mirror", "scale", "noise", "seed", "speed", "person")


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
        speed: Range of a factor on the length of the crop: played faster above one, slower below.
        joint_dropout: Probability with which each joint of a person is lost for the whole crop; it then takes the place
            of the joint it hangs on, as in :func:`mamp.preprocessing.normalize`. The target keeps it.
        person_dropout: Probability with which all people but the first are lost.
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
    speed: tuple[float, float] = (1.0, 1.0)
    joint_dropout: float = 0.0
    person_dropout: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_share
        if not 0 < low <= high <= 1:
            raise ConfigError(f"augment.crop_share: expected two shares in (0, 1], ascending; found {self.crop_share}.")
        if self.window is not None and not 1 <= self.window[0] <= self.window[1]:
            raise ConfigError(f"augment.window: expected two frame counts, ascending; found {self.window}.")
        if self.crop_min < 1:
            raise ConfigError(f"augment.crop_min: expected at least 1 frame, found {self.crop_min}.")
        for name in ("rotation", "view_rotation", "noise"):
            if getattr(self, name) < 0:
                raise ConfigError(f"augment.{name}: expected zero or more, found {getattr(self, name)}.")
        for name in ("mirror", "joint_dropout", "person_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augment.{name}: expected a probability in [0, 1], found {getattr(self, name)}.")
        for name in ("scale", "speed"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f"augment.{name}: expected two factors above zero, ascending; found {low}, {high}.")

    def crop(self, num_frames: int, u_length: float, u_start: float, u_speed: float = 0.5) -> tuple[int, int]:
        """First frame and length of the crop of a clip, given uniform numbers (published feeder)."""
        if self.window is not None:
            low, high = self.window
            length = low + int(u_length * (high - low + 1))
        else:
            low_share, high_share = self.crop_share
            share = low_share + (high_share - low_share) * u_length
            length = max(math.floor(num_frames * share), self.crop_min)
        if self.speed != (1.0, 1.0):
            length = max(round(length * (self.speed[0] + (self.speed[1] - self.speed[0]) * u_speed)), 1)
        length = min(length, num_frames)
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
        confidence: [F, V] tracking confidence of the rows, if the store has it.
    """

    rows: Tensor
    start: Tensor
    length: Tensor
    present: Tensor
    uniform: Tensor
    clips: Tensor
    confidence: Tensor | None = None

    def to(self, device: torch.device) -> PackedBatch:
        """Move to the training device."""
        moved = (None if t is None else t.to(device, non_blocking=True) for t in self.__dict__.values())
        return PackedBatch(*moved)  # type: ignore[arg-type]

    def pin_memory(self) -> PackedBatch:
        """Copy to page-locked memory, from which a GPU reads without waiting."""
        return PackedBatch(*(None if t is None else t.pin_memory() for t in self.__dict__.values()))  # type: ignore[arg-type]


@dataclass
class TrainingClips:
    """What a training step takes.

    Attributes:
        x: [B, M, T, V, C] input.
        target: [B, M, T, V, C] clips from which the target is taken, without noise and dropout; may be ``x`` itself.
        confidence: [B, M, T, V] tracking confidence, if the store has it.
    """

    x: Tensor
    target: Tensor
    confidence: Tensor | None = None


def column(uniform: Tensor, name: str) -> Tensor:
    """One purpose's uniform numbers [B]."""
    return uniform[:, COLUMNS.index(name)]


def unpack(rows: Tensor, batch: PackedBatch, num_frames: int) -> Tensor:
    """Resize every crop of ``rows`` [F, V, ...] to ``num_frames``: [B, M, T, V, ...], zeros where nobody is present."""
    low, high, share = resample_index(torch.zeros_like(batch.length), batch.length, num_frames)
    low, high = (rearrange(i, "b t -> b 1 t") + rearrange(batch.start, "b m -> b m 1") for i in (low, high))
    share = rearrange(share, "b t -> b 1 t").reshape(share.shape[0], 1, num_frames, *[1] * (rows.ndim - 1))
    present = batch.present.reshape(*batch.present.shape, *[1] * rows.ndim)
    return lerp(rows[low], rows[high], share) * present


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


def drop_joints(x: Tensor, lost: Tensor, layout: Layout) -> Tensor:
    """Put lost joints, ``lost`` [B, M, V], where their parents are; a joint without a parent is never lost."""
    x = x.clone()
    for joint in _from_the_root(layout):
        parent = layout.parents[joint]
        gone = rearrange(lost[..., joint], "b m -> b m 1 1")
        x[..., joint, :] = torch.where(gone, x[..., parent, :], x[..., joint, :])
    return x


def augment(
    batch: PackedBatch, settings: Augmentation, layout: Layout, num_frames: int, stream: str = "joint"
) -> TrainingClips:
    """Make the training clips of a batch: crop and resize, place, mirror, scale, rotate, degrade, choose the stream."""
    x = unpack(batch.rows, batch, num_frames)
    confidence = None if batch.confidence is None else unpack(batch.confidence, batch, num_frames)
    x = _place(x, batch, settings, layout)
    if settings.mirror:
        x = mirror(x, layout, column(batch.uniform, "mirror") < settings.mirror)
    if settings.scale != (1.0, 1.0):
        low, high = settings.scale
        x = x * rearrange(low + (high - low) * column(batch.uniform, "scale"), "b -> b 1 1 1 1")
    if settings.rotation:
        angles = torch.stack([column(batch.uniform, name) for name in ("rot_x", "rot_y", "rot_z")], dim=1)
        x = rotate(x, (angles * 2 - 1) * settings.rotation)
    target = x
    x = _degrade(x, batch, settings, layout)
    if stream == "joint":
        return TrainingClips(x, target, confidence)
    changed = x is not target
    x = to_stream(x, stream)
    return TrainingClips(x, to_stream(target, stream) if changed else x, confidence)


def _place(x: Tensor, batch: PackedBatch, settings: Augmentation, layout: Layout) -> Tensor:
    """Centre the crop, turn it to the camera, and to a random view, as asked for."""
    if settings.center:
        spine = layout.joints.index("spine_mid")
        x = (x - x[:, :1, :1, spine : spine + 1]) * rearrange(batch.present, "b m -> b m 1 1 1")
    if settings.facing or settings.view_rotation:
        yaw = (column(batch.uniform, "yaw") * 2 - 1) * settings.view_rotation
        yaw = yaw + facing_angle(x, layout) if settings.facing else yaw
        x = rotate(x, torch.stack([torch.zeros_like(yaw), yaw, torch.zeros_like(yaw)], dim=1))
    return x


def _degrade(x: Tensor, batch: PackedBatch, settings: Augmentation, layout: Layout) -> Tensor:
    """Lose people and joints, and add jitter, as a tracker would; each clip draws from its own seed."""
    if settings.person_dropout:
        alone = column(batch.uniform, "person") < settings.person_dropout
        x = torch.cat([x[:, :1], x[:, 1:] * rearrange(~alone, "b -> b 1 1 1 1")], dim=1)
    if not (settings.joint_dropout or settings.noise):
        return x
    generators = [
        torch.Generator().manual_seed(int(u * 2**31)) for u in column(batch.uniform, "seed").double().tolist()
    ]
    people, joints = x.shape[1], x.shape[3]
    if settings.joint_dropout:
        draw = torch.stack([torch.rand(people, joints, generator=generator) for generator in generators])
        x = drop_joints(x, (draw < settings.joint_dropout).to(x.device), layout)
    if settings.noise:
        jitter = torch.stack([torch.randn(x.shape[1:], generator=generator) for generator in generators])
        std = rearrange(column(batch.uniform, "noise") * settings.noise, "b -> b 1 1 1 1")
        x = x + std * jitter.to(x.device, x.dtype) * rearrange(batch.present, "b m -> b m 1 1 1")
    return x


def _from_the_root(layout: Layout) -> list[int]:
    """Joints with a parent, each after its parent."""
    order = [joint for joint, parent in enumerate(layout.parents) if parent < 0]
    for joint in order:
        order += [child for child, parent in enumerate(layout.parents) if parent == joint]
    return [joint for joint in order if layout.parents[joint] >= 0]
