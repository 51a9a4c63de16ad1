"""Batched augmentation on the training device: crop, resize, rotation and more.

Given the same random numbers, results equal those of the published per-sample code. Each clip has its own row of
uniform numbers, one column per purpose, so its augmentation does not depend on the process or micro-batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from typing import TypeAlias

import numpy as np
import torch
from einops import rearrange
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from mamp.data.crops import (
    Bodies,
    Placement,
    between,
    facing_on_device,
    find_bodies,
    group_size,
    map_of_bones,
    map_of_joints,
    resize,
    to_device,
    turn_first,
)
from mamp.errors import ConfigError
from mamp.geometry import MIRROR, facing_angle, from_the_root, mirrored_joints, rotation_matrix, to_the_right
from mamp.layouts import Layout
from mamp.preprocessing import to_stream

COLUMNS = ("length", "start", "rot_x", "rot_y", "rot_z", "yaw", "mirror", "scale", "noise", "seed", "speed", "person")
WOBBLE_FRAMES = 12  # between two draws of the wobble

# First frames and lengths.
Crops: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of a training clip. The defaults are the published recipe; everything else is off.

    Attributes:
        crop_share: Range of the length of a random crop, as a share of the clip.
        crop_min: Minimum length of a crop in frames, unless the clip is shorter.
        window: Range of the length of a crop in frames; replaces ``crop_share`` for long recordings.
        rotation: Maximum angle about each axis in radians; one rotation per clip.
        center: Move the centre of the first person (``spine_mid``) in the first frame of the crop to the origin.
        facing: Rotate the crop about the vertical so that the first person faces the camera on average.
        view_rotation: Maximum angle about the vertical in radians.
        mirror: Probability of swapping left and right.
        scale: Range of a common factor on all coordinates (body size).
        speed: Range of a factor on the length of the crop; above one plays it faster.
        joint_dropout: Probability of losing a joint of a person for the whole crop; it takes the position of its
            parent, as in :func:`mamp.preprocessing.normalize`. Input only.
        person_dropout: Probability of losing all people but the first.
        noise: Maximum standard deviation of jitter in metres, drawn per clip. Input only.
        wobble: Maximum standard deviation of slow tracking errors in metres, which change bone lengths; drawn per joint
            every 12 frames of the resized crop, and interpolated linearly. Input only.
        proportions: Maximum relative change of the length of each bone over the whole crop, the same on the left and
            right: another body makes the same movement. Input and target.
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
    wobble: float = 0.0
    proportions: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_share
        if not 0 < low <= high <= 1:
            raise ConfigError(f"augment.crop_share: expected two shares in (0, 1], ascending; found {self.crop_share}.")
        if self.window is not None and not 1 <= self.window[0] <= self.window[1]:
            raise ConfigError(f"augment.window: expected two frame counts, ascending; found {self.window}.")
        if self.crop_min < 1:
            raise ConfigError(f"augment.crop_min: expected at least 1 frame, found {self.crop_min}.")
        if not 0 <= self.proportions < 1:
            raise ConfigError(f"augment.proportions: expected a share in [0, 1), found {self.proportions}.")
        for name in ("rotation", "view_rotation", "noise", "wobble"):
            if getattr(self, name) < 0:
                raise ConfigError(f"augment.{name}: expected zero or more, found {getattr(self, name)}.")
        for name in ("mirror", "joint_dropout", "person_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"augment.{name}: expected a probability in [0, 1], found {getattr(self, name)}.")
        for name in ("scale", "speed"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f"augment.{name}: expected two factors above zero, ascending; found {low}, {high}.")

    def crop(self, num_frames: ArrayLike, u_length: ArrayLike, u_start: ArrayLike, u_speed: ArrayLike = 0.5) -> Crops:
        """First frames and lengths of crops, as in the published feeder.

        Args:
            num_frames: [...] number of frames of each clip.
            u_length: [...] uniform numbers that determine the lengths, used in float64.
            u_start: [...] uniform numbers that determine the first frames.
            u_speed: [...] uniform numbers that determine the speed.
        """
        frames = np.asarray(num_frames)
        u_length, u_start, u_speed = (np.asarray(u, np.float64) for u in (u_length, u_start, u_speed))
        if self.window is not None:
            low, high = self.window
            length = low + np.floor(u_length * (high - low + 1))
        else:
            low_share, high_share = self.crop_share
            share = low_share + (high_share - low_share) * u_length
            length = np.maximum(np.floor(frames * share), self.crop_min)
        if self.speed != (1.0, 1.0):
            length = np.maximum(np.rint(length * (self.speed[0] + (self.speed[1] - self.speed[0]) * u_speed)), 1)
        length = np.minimum(length, frames)
        return np.floor(u_start * (frames - length + 1)).astype(np.int64), length.astype(np.int64)


@dataclass
class PackedBatch:
    """Crops of B clips as stored, concatenated. Only rows and confidence move to the training device.

    Attributes:
        rows: [F, V, 3] frames of all bodies.
        start: [B, M] first row of each body.
        length: [B] number of frames of each crop.
        present: [B, M] false for padding; the first person of a clip is always present.
        uniform: [B, len(COLUMNS)] uniform random numbers, by :data:`COLUMNS`.
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
        """Move rows and confidence to the training device."""
        confidence = None if self.confidence is None else self.confidence.to(device, non_blocking=True)
        return replace(self, rows=self.rows.to(device, non_blocking=True), confidence=confidence)

    def pin_memory(self) -> PackedBatch:
        """Copy to page-locked memory, for asynchronous transfer to a GPU."""
        return PackedBatch(*(None if t is None else t.pin_memory() for t in self.__dict__.values()))  # type: ignore[arg-type]


@dataclass
class TrainingClips:
    """Clips of a training step.

    Attributes:
        x: [B, M, T, V, C] input.
        target: [B, M, T, V, C] clips without noise and dropout, for the target; may be ``x`` itself.
        confidence: [B, M, T, V] tracking confidence, if the store has it.
    """

    x: Tensor
    target: Tensor
    confidence: Tensor | None = None


def column(uniform: Tensor, name: str) -> Tensor:
    """Uniform numbers [B] of one column."""
    return uniform[:, COLUMNS.index(name)]


def augment(
    batch: PackedBatch, settings: Augmentation, layout: Layout, num_frames: int, stream: str = "joint"
) -> TrainingClips:
    """Make training clips from a batch: crop, resize, transform, degrade, and select the stream."""
    bodies = find_bodies(batch.start, batch.length, batch.present, num_frames).to(batch.rows.device)
    target = resize(batch.rows, bodies, placement(batch, bodies, settings, layout))
    confidence = None if batch.confidence is None else resize(batch.confidence, bodies)
    x = target
    if settings.person_dropout or settings.joint_dropout or settings.noise or settings.wobble:
        x = target.clone()
        degrade(x, batch, settings, layout)
    if stream != "joint":
        for clips in (target,) if x is target else (x, target):
            for part in clips.split(group_size(clips.device, len(clips))):
                part.copy_(to_stream(part, stream, layout))
    return TrainingClips(x, target, confidence)


def placement(batch: PackedBatch, bodies: Bodies, settings: Augmentation, layout: Layout) -> Placement:
    """Combine centring, facing, view rotation, mirroring, scale and rotation, as configured."""
    uniform, clips, frames = batch.uniform.numpy(), bodies.shape[0], bodies.shape[2]
    u = dict(zip(COLUMNS, uniform.T, strict=True))
    joints, device = len(layout.joints), batch.rows.device
    rows, weight = bodies.rows[:clips], bodies.weight[:clips]  # of the first person

    origin = None
    if settings.center:
        spine = layout.joints.index(layout.center)
        origin = between(batch.rows.flatten(1), rows[:, 0], weight[:, 0])[:, 3 * spine : 3 * spine + 3]
    steps, turn = [], None
    if settings.facing or settings.view_rotation:
        angles = np.zeros((clips, 3), uniform.dtype)
        angles[:, 1] = (u["yaw"] * 2 - 1) * settings.view_rotation
        if settings.facing:
            right = between(to_the_right(batch.rows, layout), rows, weight)
            if device.type == "cpu":
                angles[:, 1] += facing_angle(right.numpy())
            else:
                turn = facing_on_device(right)
        steps.append(rotation_matrix(angles))
    # Several joints per product are faster, if they divide the clip evenly; mirroring needs all of them.
    together = next(number for number in (4, 5, 3, 2, 1) if frames * joints % number == 0)
    places = np.arange(joints if settings.mirror or settings.proportions else together)
    if settings.mirror:
        mirrored = u["mirror"][:, None] < settings.mirror
        steps.append(np.where(mirrored[..., None], MIRROR, np.eye(3, dtype=np.float32)))
        places = np.where(mirrored, mirrored_joints(layout), places)
    if settings.scale != (1.0, 1.0):
        smallest, largest = settings.scale
        factor = smallest + (largest - smallest) * u["scale"]
        steps.append(factor[:, None, None] * np.eye(3, dtype=np.float32))
    if settings.rotation:
        first = COLUMNS.index("rot_x")
        steps.append(rotation_matrix((uniform[:, first : first + 3] * 2 - 1) * settings.rotation))
    if settings.proportions and not steps:
        steps.append(np.broadcast_to(np.eye(3, dtype=np.float32), (clips, 3, 3)))
    if not steps:
        return Placement(origin)
    joint_map = map_of_joints(reduce(lambda before, step: step @ before, steps), places)
    if settings.proportions:
        joint_map = map_of_bones(bone_factors(batch, settings.proportions, layout), layout) @ joint_map
    matrix = to_device(torch.from_numpy(joint_map), device)
    if turn is not None:  # the angle stays where it is: nothing waits for a GPU
        matrix = turn_first(turn, matrix)
    return Placement(origin, matrix)


def bone_factors(batch: PackedBatch, proportions: float, layout: Layout) -> NDArray[np.float32]:
    """Length factor [B, V] of the bone from the parent of each joint to it, the same on both sides."""
    draw = torch.stack([torch.rand(len(layout.joints), generator=g) for g in generators(batch, "bones")]).numpy()
    mirrored = mirrored_joints(layout)
    return np.asarray(1 + (draw + draw[:, mirrored] - 1) * proportions, np.float32)


def generators(batch: PackedBatch, purpose: str = "") -> list[torch.Generator]:
    """A generator per clip, seeded by its own draw."""
    offset = sum(purpose.encode())
    return [
        torch.Generator().manual_seed(int(u * 2**31) + offset) for u in column(batch.uniform, "seed").double().tolist()
    ]


def degrade(x: Tensor, batch: PackedBatch, settings: Augmentation, layout: Layout) -> None:
    """Drop people and joints of ``x`` and add noise in place, as a tracker would; each clip uses its own seed."""
    if settings.person_dropout:
        alone = column(batch.uniform, "person") < settings.person_dropout
        x[:, 1:].mul_(to_device(rearrange(~alone, "b -> b 1 1 1 1"), x.device))
    if not (settings.joint_dropout or settings.noise or settings.wobble):
        return
    own = generators(batch)
    clips, people, frames, joints, axes = x.shape
    if settings.joint_dropout:
        draw = torch.stack([torch.rand(people, joints, generator=generator) for generator in own])
        drop_joints(x, to_device(draw < settings.joint_dropout, x.device), layout)
    if settings.wobble:
        add_wobble(x, batch, settings.wobble)
    if settings.noise:
        std = rearrange(column(batch.uniform, "noise") * settings.noise, "b -> b 1") * batch.present
        std = to_device(rearrange(std, "b m -> b m 1 1 1"), x.device).to(x.dtype)
        group = min(group_size(x.device, clips), clips)
        jitter = torch.empty(group, people, frames, joints, axes)
        for first in range(0, clips, group):
            part = slice(first, first + group)
            drawn = jitter[: len(x[part])]
            for one, generator in zip(drawn, own[part], strict=True):
                one.normal_(generator=generator)
            x[part].add_(to_device(drawn, x.device).mul_(std[part]))


def add_wobble(x: Tensor, batch: PackedBatch, largest: float) -> None:
    """Add slow errors to the joints, with a magnitude drawn for each joint of each clip."""
    clips, people, frames, joints, axes = x.shape
    knots = -(-frames // WOBBLE_FRAMES) + 1
    drawn = torch.empty(clips, people * joints * axes, knots)
    for one, generator in zip(drawn, generators(batch, "wobble"), strict=True):
        size = torch.rand(people * joints, 1, generator=generator).repeat_interleave(axes, 0)
        one.normal_(generator=generator).mul_(size * largest)
    slow = F.interpolate(drawn, size=frames, mode="linear", align_corners=True)
    slow = rearrange(slow, "b (m v c) t -> b m t v c", m=people, v=joints)
    present = to_device(rearrange(batch.present, "b m -> b m 1 1 1"), x.device)
    x += to_device(slow, x.device) * present.to(x.dtype)


def drop_joints(x: Tensor, lost: Tensor, layout: Layout) -> None:
    """Move the joints in ``lost`` [B, M, V] to their parents; roots are never lost."""
    for joint in from_the_root(layout):
        gone = rearrange(lost[..., joint], "b m -> b m 1 1")
        x[..., joint, :] = torch.where(gone, x[..., layout.parents[joint], :], x[..., joint, :])
