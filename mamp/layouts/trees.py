"""Write a layout table as text: one row a joint, with its parent."""

from __future__ import annotations

from mamp.layouts.layout import Layout, Weights


def tree(name: str, rows: str, mapping: dict[str, str | Weights] | None = None) -> Layout:
    """Build a layout from rows ``joint parent`` (``-`` for the root); pairs are the names that differ in the side."""
    joints, parent_names = zip(*(row.split() for row in rows.strip().splitlines()), strict=True)
    parents = tuple(-1 if parent == "-" else joints.index(parent) for parent in parent_names)
    return Layout(name, joints, parents, mirror_pairs(joints), mapping or {})


def mirror_pairs(joints: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Find the (left, right) pairs among names such as ``hip_left``, ``LeftHip`` or ``lfemur``."""
    swaps = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("_L", "_R"), (".L", ".R"))
    starts = (("l", "r"), ("L", "R"), ("l_", "r_"))
    pairs = []
    for left in joints:
        others = [left.replace(a, b, 1) for a, b in swaps if a in left]
        others += [b + left[len(a) :] for a, b in starts if left.startswith(a)]
        right = next((name for name in others if name != left and name in joints), None)
        if right is not None:
            pairs.append((left, right))
    return tuple(pairs)


def both_sides(rows: dict[str, str | Weights]) -> dict[str, str | Weights]:
    """Repeat rows for both sides: ``{s}`` is replaced by left and right, ``{s1}`` by l and r, ``{S1}`` by L and R."""
    result: dict[str, str | Weights] = {}
    for side in ("left", "right"):

        def put(text: str, side: str = side) -> str:
            return text.format(s=side, s1=side[0], S1=side[0].upper())

        for joint, source in rows.items():
            result[put(joint)] = (
                put(source) if isinstance(source, str) else {put(name): weight for name, weight in source.items()}
            )
    return result
