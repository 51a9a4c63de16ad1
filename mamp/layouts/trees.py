"""Layout tables as text: each joint with its parent."""

from __future__ import annotations

import re

from mamp.layouts.layout import Layout, Weights, mirror_pairs


def tree(name: str, rows: str, mapping: dict[str, str | Weights] | None = None) -> Layout:
    """Build a layout from ``joint parent`` rows, separated by commas or line breaks; the parent of the root is ``-``.

    Pairs are the joints whose names differ only in the side.
    """
    joints, parent_names = zip(*(row.split() for row in re.split(",|\n", rows.strip())), strict=True)
    parents = tuple(-1 if parent == "-" else joints.index(parent) for parent in parent_names)
    return Layout(name, joints, parents, mirror_pairs(joints), mapping or {})


def both_sides(rows: dict[str, str | Weights]) -> dict[str, str | Weights]:
    """Repeat rows for both sides: ``{s}`` becomes left and right, ``{s1}`` l and r, ``{S1}`` L and R."""
    result: dict[str, str | Weights] = {}
    for side in ("left", "right"):

        def put(text: str, side: str = side) -> str:
            return text.format(s=side, s1=side[0], S1=side[0].upper())

        for joint, source in rows.items():
            result[put(joint)] = (
                put(source) if isinstance(source, str) else {put(name): weight for name, weight in source.items()}
            )
    return result
