"""How the people of a clip stand to each other, as numbers that join the embedding of the clip.

Where each person is placed alone (``Preprocessing.apart``), their embeddings no longer say where the others are. This
does, by distances between parts of the two bodies, by how far they face each other, and by how both change. The numbers
are the same whoever comes first, wherever the people are, and whatever their size. Not part of the paper.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError
from mamp.geometry import body_height, to_the_right
from mamp.layouts import Layout

FloatArray = NDArray[np.float32]

_PARTS = {
    "trunk": ("spine_mid",),
    "head": ("head",),
    "hands": ("hand_left", "hand_right"),
    "feet": ("ankle_left", "ankle_right"),
}
_ACROSS = (("hands", "trunk"), ("hands", "head"), ("feet", "trunk"))  # of the one, and of the other
_SERIES = len(_PARTS) + 2 * len(_ACROSS) + 2  # the last two: facing
SIZE = 4 * _SERIES  # mean, minimum, maximum, change
_NEAR, _SPREAD, _MOST = 0.55, 0.25, 3.0  # in body heights; the last in spreads
_HEIGHT = 1.7  # metres, where none can be measured


def knows(layout: Layout) -> bool:
    """Whether a body has the joints that this needs."""
    return bool(layout.facing) and {joint for part in _PARTS.values() for joint in part} <= set(layout.joints)


def relation(positions: FloatArray, tracked: NDArray[np.bool_], layout: Layout) -> FloatArray:
    """Numbers [SIZE] of about unit size: the mean over all pairs of people; zeros for one person.

    Args:
        positions: [M, T, V, 3] in common coordinates, y up; without NaN.
        tracked: [M, T, V]; a pair is compared in the frames in which both are tracked.
        layout: Of the joints.

    Raises:
        LayoutError: The body lacks a joint that this needs.
    """
    if not knows(layout):
        raise LayoutError(
            f"layout {layout.name!r}: how people stand to each other is measured between their trunks, heads, "
            "hands and feet, which this body has not; expected apart to be off."
        )
    seen = np.asarray(tracked.any(axis=2))
    heights = [body_height(*person, layout) or _HEIGHT for person in zip(positions, tracked, strict=True)]
    found = [
        _pair(positions[[i, j]][:, both], (heights[i] + heights[j]) / 2, layout)
        for i, j in combinations(range(len(positions)), 2)
        if (both := seen[i] & seen[j]).any()
    ]
    return np.mean(found, axis=0, dtype=np.float32) if found else np.zeros(SIZE, np.float32)


def superpose(embedding: FloatArray, numbers: FloatArray) -> FloatArray:
    """Add ``numbers`` [SIZE] to an embedding [E] along orthogonal directions, cosines of different frequency.

    Embeddings keep their length; distances between clips grow by those between their numbers, and a linear classifier
    can tell the two apart. That of one person stays as it is.
    """
    length = len(embedding)
    frequency = np.linspace(1, length - 1, SIZE).round()[:, None]
    waves = np.cos(np.pi * frequency * (np.arange(length) + 0.5) / length) * np.sqrt(2 / length)
    return np.asarray(embedding + numbers @ waves.astype(np.float32), np.float32)


def _pair(two: FloatArray, height: float, layout: Layout) -> FloatArray:
    """Numbers [SIZE] of two people [2, T, V, 3]."""
    parts = {name: [layout.joints.index(joint) for joint in joints] for name, joints in _PARTS.items()}

    def distance(one: int, mine: str, theirs: str) -> FloatArray:
        between = two[one][:, parts[mine], None] - two[1 - one][:, None, parts[theirs]]
        nearest = np.linalg.norm(between, axis=-1).min(axis=(1, 2)) / height
        return np.asarray(((nearest - _NEAR) / _SPREAD).clip(-_MOST, _MOST), np.float32)

    right = to_the_right(two, layout)
    forward = np.stack([right[..., 2], -right[..., 0]], axis=-1)
    line = (two[1] - two[0])[:, parts["trunk"][0]][:, [0, 2]] * np.array([[[1]], [[-1]]], np.float32)  # to the other
    facing = 2 * (_unit(forward) * _unit(line)).sum(axis=-1)

    alike = [distance(0, part, part) for part in parts]
    across = [np.stack([distance(one, *which) for one in (0, 1)]) for which in _ACROSS]
    series = np.stack([*alike, *(f(pair, axis=0) for pair in (*across, facing) for f in (np.min, np.max))])
    quarter = -(-series.shape[1] // 4)
    change = series[:, -quarter:].mean(axis=1) - series[:, :quarter].mean(axis=1)
    return np.concatenate([series.mean(axis=1), series.min(axis=1), series.max(axis=1), change])


def _unit(vectors: FloatArray) -> FloatArray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-6), np.float32)
