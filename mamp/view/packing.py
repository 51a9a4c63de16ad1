"""Arrays of a page: positions in tenths of a millimetre and small numbers, deflated in one block and spelled as base64.

``viewer/src/data.ts`` reads them.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

UNIT = 1e-4  # metres
_ORDERS = (1, 2, 3)
_SAMPLE = 200_000


class Block:
    """Collects arrays as bytes; each is described by where it begins and how long it is."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, array: NDArray[Any] | bytes) -> dict[str, int]:
        """Append an array."""
        data = array if isinstance(array, bytes) else np.ascontiguousarray(array).tobytes()
        where = {"at": self._size, "bytes": len(data)}
        self._parts.append(data)
        self._size += len(data)
        return where

    def add_positions(self, positions: NDArray[np.float32], parents: Sequence[int]) -> dict[str, int]:
        """Append positions [M, T, V, C] in metres; NaN takes the value before it."""
        codes, order = encode_positions(positions, parents)
        planes = max(1, -(-int(codes.max(initial=0)).bit_length() // 8))
        planed = np.stack([(codes >> (8 * plane)).astype(np.uint8) for plane in range(planes)])
        return {**self.add(planed), "order": order, "planes": planes}

    def add_bits(self, values: NDArray[np.bool_]) -> dict[str, int]:
        """Append truth values, eight a byte."""
        return self.add(np.packbits(values.ravel()))

    def text(self) -> str:
        """All arrays, deflated and in base64."""
        return base64.b64encode(zlib.compress(b"".join(self._parts), 9)).decode("ascii")


def encode_positions(positions: NDArray[np.float32], parents: Sequence[int]) -> tuple[NDArray[np.int64], int]:
    """Positions [M, T, V, C] as whole numbers [M, V, C, T] near zero, and how often they were differenced over time.

    In tenths of a millimetre, from the parent of each joint; zigzag, so that 0, -1, 1, -2 are 0, 1, 2, 3. The number of
    differences is the one that leaves the smallest numbers: two or three for smooth motion, one where there is noise.
    """
    steps = rearrange(np.round(hold_last(positions).astype(np.float64) / UNIT).astype(np.int64), "m t v c -> m v c t")
    child = np.asarray(parents) >= 0
    steps[:, child] -= steps[:, np.asarray(parents)[child]]
    found = {order: _zigzag(_differences(steps, order)) for order in _ORDERS}
    order = min(_ORDERS, key=lambda one: _bits(found[one]))
    return found[order], order


def _bits(codes: NDArray[np.int64]) -> float:
    """About how many bits the numbers take, of a sample."""
    return float(np.log2(1.0 + codes.ravel()[:: codes.size // _SAMPLE + 1]).sum())


def hold_last(positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Replace NaN in [M, T, V, C] by the last known position of the joint, or the first one before that; else zero."""
    known = np.isfinite(positions).all(axis=-1)
    if known.all():
        return positions
    frames = np.arange(positions.shape[1])[None, :, None]
    last = np.maximum.accumulate(np.where(known, frames, -1), axis=1)
    last = np.where(last < 0, known.argmax(axis=1)[:, None, :], last)
    held = np.take_along_axis(positions, last[..., None], axis=1)
    return np.where(np.isfinite(held), held, np.float32(0))


def _differences(steps: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    for _ in range(order):
        steps = np.diff(steps, axis=-1, prepend=0)
    return steps


def _zigzag(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(values < 0, -2 * values - 1, 2 * values)


def share_of(values: NDArray[np.floating], top: float) -> NDArray[np.uint8]:
    """Values as bytes: 0 to 254 for 0 to ``top``, 255 for NaN."""
    with np.errstate(invalid="ignore"):
        scaled = np.round(np.clip(values / max(top, 1e-12), 0, 1) * 254)
    return np.where(np.isfinite(values), scaled, 255).astype(np.uint8)
