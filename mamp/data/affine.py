"""What augmentation does to all joints of a clip at once, as one matrix product a clip."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from mamp.geometry import from_the_root
from mamp.layouts import Layout

FloatArray = NDArray[np.floating]


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


@dataclass
class Placement:
    """An affine map for each clip: ``(x - origin) @ matrix``.

    Attributes:
        origin: [B, 3]
        matrix: [B, K * 3, K * 3], of K joints at once.
    """

    origin: Tensor | None = None
    matrix: Tensor | None = None
