"""The affine maps of augmentation: rotations, the view of the camera, the mirror; small matrices, one a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mamp.layouts import Layout

FloatArray = NDArray[np.floating]

# A rotation about an axis is what it leaves alone, plus cosine times the rest, plus sine times the turn; published
# signs. [axis, 3, 3] each.
AXIS = np.stack([np.diag(row) for row in np.eye(3, dtype=np.float32)])
REST = np.eye(3, dtype=np.float32) - AXIS
TURN = np.array(
    [
        [[0, 0, 0], [0, 0, 1], [0, -1, 0]],
        [[0, 0, -1], [0, 0, 0], [1, 0, 0]],
        [[0, 1, 0], [-1, 0, 0], [0, 0, 0]],
    ],
    np.float32,
)
MIRROR = np.diag(np.array([-1, 1, 1], np.float32))


def rotation_matrix(angles: FloatArray) -> FloatArray:
    """``Rz Ry Rx`` [B, 3, 3] of angles [B, 3] in radians, with the published signs."""
    angles = angles[..., None, None]
    about = AXIS + np.cos(angles) * REST + np.sin(angles) * TURN
    return about[:, 2] @ about[:, 1] @ about[:, 0]


def to_the_right(positions: Tensor, layout: Layout) -> Tensor:
    """Vector [..., 3] from the left hip and shoulder of a person [..., V, 3] to the right ones."""
    left_hip, right_hip, left_shoulder, right_shoulder = (
        positions[..., layout.joints.index(name), :]
        for name in ("hip_left", "hip_right", "shoulder_left", "shoulder_right")
    )
    return right_hip - left_hip + right_shoulder - left_shoulder


def facing_angle(right: Tensor) -> Tensor:
    """Angle [B] about the vertical that turns people to the camera (negative z) on average.

    Args:
        right: [B, T, 3] where their right is, see :func:`to_the_right`.
    """
    forward = torch.stack([right[..., 2], -right[..., 0]], dim=-1)  # x and z of (up cross right)
    fx, fz = F.normalize(forward, dim=-1).sum(dim=1).unbind(dim=-1)
    return torch.atan2(-fx, -fz)  # with the published sign of a rotation about y


def mirrored_joints(layout: Layout) -> list[int]:
    """For each joint the one that is in its place after left and right are swapped."""
    order = list(range(len(layout.joints)))
    for left, right in layout.pairs:
        i, j = layout.joints.index(left), layout.joints.index(right)
        order[i], order[j] = order[j], order[i]
    return order


def map_of_joints(matrix: FloatArray, places: NDArray[np.int64]) -> FloatArray:
    """One matrix that maps several joints at once, [B, K * 3, K * 3], for a product from the right.

    A product with 3 by 3 matrices leaves a processor idle: wider ones run at several times the rate.

    Args:
        matrix: [B, 3, 3] what happens to a point.
        places: [K] or [B, K] for each of the K joints, where it goes.
    """
    clips, joints = len(matrix), places.shape[-1]
    product = np.zeros((clips, joints, 3, joints, 3), np.float32)
    product[np.arange(clips)[:, None], np.arange(joints), :, places, :] = matrix.transpose(0, 2, 1)[:, None]
    return rearrange(product, "b v c w i -> b (v c) (w i)")


def map_of_bones(factors: FloatArray, layout: Layout) -> FloatArray:
    """One matrix [B, V * 3, V * 3], for a product from the right, that makes bones longer or shorter.

    Args:
        factors: [B, V] of the bone that ends at each joint; of a root it does not matter.
        layout: Says which bone hangs on which.
    """
    joints = len(layout.joints)
    product = np.zeros((len(factors), joints, joints), np.float32)  # column: where a joint comes from
    for root in (joint for joint, parent in enumerate(layout.parents) if parent < 0):
        product[:, root, root] = 1
    for joint in from_the_root(layout):
        parent = layout.parents[joint]
        product[:, :, joint] = product[:, :, parent]
        product[:, joint, joint] += factors[:, joint]
        product[:, parent, joint] -= factors[:, joint]
    return rearrange(np.einsum("bvw,ci->bvcwi", product, np.eye(3, dtype=np.float32)), "b v c w i -> b (v c) (w i)")


def from_the_root(layout: Layout) -> list[int]:
    """Joints with a parent, each after its parent."""
    order = [joint for joint, parent in enumerate(layout.parents) if parent < 0]
    for joint in order:
        order += [child for child, parent in enumerate(layout.parents) if parent == joint]
    return [joint for joint in order if layout.parents[joint] >= 0]


@dataclass
class Placement:
    """An affine map for each clip: ``(x - origin) @ matrix``.

    Attributes:
        origin: [B, 3]
        matrix: [B, K * 3, K * 3], of K joints at once.
    """

    origin: Tensor | None = None
    matrix: Tensor | None = None
