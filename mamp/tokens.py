"""Which tokens of a body to look at, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamp.config import MAMPConfig


def most_moving(
    bodies: NDArray[np.float32], there: NDArray[np.bool_], config: MAMPConfig, share: float
) -> NDArray[np.bool_]:
    """Of the tokens ``there`` [N, L] of bodies [N, T, V, C], a share of each body's: those that move most.

    At least one; of tokens that move alike, the earlier ones. A body of zeros, which stands for nobody, keeps what it
    has.
    """
    order = np.argsort(np.where(there, -intensity(bodies, config), np.inf), axis=1, kind="stable")
    kept = np.maximum(1, (there.sum(axis=1) * share).astype(int))
    chosen = np.zeros_like(there)
    np.put_along_axis(chosen, order, np.arange(there.shape[1]) < kept[:, None], axis=1)
    nobody = ~np.asarray(bodies.any(axis=(1, 2, 3)))
    return np.where(nobody[:, None], there, chosen)


def intensity(bodies: NDArray[np.float32], config: MAMPConfig) -> NDArray[np.float32]:
    """As :func:`mamp.masking.motion_intensity`, in numpy: how much the tokens of bodies [N, T, V, C] move, [N, L]."""
    (t, v), u, p = config.grid, config.t_patch_size, config.patch_size
    patches = bodies.reshape(len(bodies), t, u, v, p, -1)
    change = np.zeros((len(bodies), t, v), np.float32)
    if t > 1:
        change[:, 1:] = np.abs(patches[:, 1:] - patches[:, :-1]).mean(axis=(2, 4, 5))
        change[:, 0] = change[:, 1]
    return change.reshape(len(bodies), t * v)
