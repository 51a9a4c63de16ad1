"""``Layout``: joint names, their tree, and the mapping to the joints of the model; layouts by name."""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.config import Preprocessing, suggest
from mamp.errors import ConfigError, LayoutError

logger = logging.getLogger(__name__)

Weights = Mapping[str, float]

MODEL = "ntu25"
# Not registered: joint names are matched one by one (:mod:`mamp.layouts.names`).
_MATCHED = ("bvh", "mixamo")

REGISTRY: dict[str, Layout] = {}
_lock = threading.Lock()


def between(a: str | Weights, b: str | Weights, share: float = 0.5) -> dict[str, float]:
    """Interpolate from ``a`` (``share`` 0) to ``b`` (``share`` 1), each a joint or weights over joints."""
    point: dict[str, float] = {}
    for end, part in ((a, 1.0 - share), (b, share)):
        for name, weight in ({end: 1.0} if isinstance(end, str) else end).items():
            point[name] = point.get(name, 0.0) + part * weight
    return point


def beyond(a: str | Weights, b: str | Weights, share: float) -> dict[str, float]:
    """Extrapolate the line from ``a`` past ``b``, by ``share`` of their distance."""
    return between(a, b, 1.0 + share)


@dataclass(frozen=True)
class Layout:
    """A skeleton layout.

    Attributes:
        name: Registered name.
        joints: Names of the V joints, in the order of the positions.
        parents: Index of the parent of each joint, -1 for the root.
        pairs: (left, right) joint names that are swapped by mirroring.
        mapping: Joint of the model -> joint, or weights over joints that sum to one (see :func:`between` and
            :func:`beyond`). Joints of the model without an entry are absent.
        body: Name of the layout whose joints ``mapping`` names: ``ntu25`` for people. The layout of another body (a
            hand, an animal, an object) has its own name here and no mapping. Weights take recordings of one body only.
        parts: Name of a part of the body -> its joints, each joint in one part; for masks by part. By default, the
            branches that leave the roots, each a part.
        center: Joint that stands for the place of the body; by default the first root.
        facing: (left, right) joint names that tell which way the body faces; by default all pairs.
        bones: Index of the joint from which the bone of each joint starts, for the bone stream; by default the parent,
            and the joint itself for roots.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    mapping: Mapping[str, str | Weights] = field(default_factory=dict, repr=False)
    body: str = MODEL
    parts: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    center: str = ""
    facing: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    bones: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "joints", tuple(map(str, self.joints)))
        object.__setattr__(self, "parents", tuple(map(int, self.parents)))
        object.__setattr__(self, "pairs", tuple((str(a), str(b)) for a, b in self.pairs))
        where = f"layout {self.name!r}"
        twice = {joint for joint, count in Counter(self.joints).items() if count > 1}
        if not self.joints or twice:
            raise LayoutError(f"{where}: expected joint names, each once; found {sorted(twice) or 'none'}.")
        if len(self.parents) != len(self.joints):
            raise LayoutError(f"{where}: {len(self.joints)} joints need as many parents, found {len(self.parents)}.")
        check_tree(where, self.parents)
        root = self.joints[self.parents.index(-1)]
        object.__setattr__(self, "center", self.center or root)
        object.__setattr__(self, "facing", tuple((a, b) for a, b in self.facing) or self.pairs)
        bones = tuple(self.bones) or tuple(joint if up < 0 else up for joint, up in enumerate(self.parents))
        object.__setattr__(self, "bones", bones)
        object.__setattr__(self, "parts", {name: tuple(joints) for name, joints in self.parts.items()})
        self._check_joint(where, "center", self.center)
        for part, pairs in (("pairs", self.pairs), ("facing", self.facing)):
            for name in chain(*pairs):
                self._check_joint(where, part, name)
        for part, joints in self.parts.items():
            for name in joints:
                self._check_joint(where, f"parts[{part!r}]", name)
        if self.parts and sorted(chain(*self.parts.values())) != sorted(self.joints):
            found = Counter(chain(*self.parts.values()))
            wrong = [joint for joint in self.joints if found[joint] != 1]
            raise LayoutError(f"{where}: expected every joint in one part; {', '.join(wrong)} are in none or several.")
        for target, source in self.mapping.items():
            weights = {source: 1.0} if isinstance(source, str) else source
            for name in weights:
                self._check_joint(where, f"mapping[{target!r}]", name)
            if abs(sum(weights.values()) - 1.0) > 1e-6:
                raise LayoutError(
                    f"{where}: the weights of mapping[{target!r}] add up to {sum(weights.values()):g}; expected 1, "
                    "so that the joint moves with the body."
                )

    def _check_joint(self, where: str, part: str, name: str) -> None:
        if name not in self.joints:
            raise LayoutError(
                f"{where}: {part} names the joint {name!r}, which is not one of {', '.join(self.joints)}."
            )

    def reordered(self, joints: Sequence[str]) -> Layout:
        """Return the layout with its joints in another order."""
        order = [self.joints.index(joint) for joint in joints]
        new_index = {old: new for new, old in enumerate(order)} | {-1: -1}
        parents = tuple(new_index[self.parents[old]] for old in order)
        bones = tuple(new_index[self.bones[old]] for old in order)
        return replace(self, joints=tuple(joints), parents=parents, bones=bones)

    @cached_property
    def part_of(self) -> tuple[int, ...]:
        """Number of the part of each joint."""
        if self.parts:
            names = [set(joints) for joints in self.parts.values()]
            return tuple(next(part for part, one in enumerate(names) if joint in one) for joint in self.joints)
        roots = {joint for joint, up in enumerate(self.parents) if up < 0}
        branches = [joint for joint, up in enumerate(self.parents) if up in roots] or [0]

        def branch(joint: int) -> int:
            while joint not in branches and joint not in roots:
                joint = self.parents[joint]
            return branches.index(joint) if joint in branches else 0  # roots go with the first branch

        return tuple(branch(joint) for joint in range(len(self.joints)))

    @property
    def is_body(self) -> bool:
        """Whether the joints are those of a body, rather than another layout of one."""
        return self.body == self.name

    def center_of(self, wanted: str) -> str:
        """The joint that clips are centred on: ``wanted``; of other bodies than a person's, the default is their own.

        Raises:
            ConfigError: The layout has no such joint.
        """
        if wanted == Preprocessing.center_joint and self.body != MODEL and wanted not in self.joints:
            return self.center
        if wanted not in self.joints:
            raise ConfigError(
                f"preprocessing.center_joint: expected a joint of layout {self.name!r} ({', '.join(self.joints)}), "
                f"found {wanted!r}. Name one of these, or set center='none' and height=None."
            )
        return wanted

    def conversion(self, target: Layout) -> NDArray[np.float32]:
        """Weights [V', V] of the joints of ``target`` over those of this layout; zeros if a joint is absent.

        Raises:
            LayoutError: There is no mapping to ``target``.
        """
        weights = np.zeros((len(target.joints), len(self.joints)), dtype=np.float32)
        if set(self.joints) == set(target.joints):
            weights[range(len(target.joints)), [self.joints.index(joint) for joint in target.joints]] = 1.0
            return weights
        if self.body != target.body:
            raise LayoutError(
                f"expected the body {target.body!r}, found layout {self.name!r} of the body {self.body!r}: weights "
                "take recordings of the body that they were trained on. Choose weights for this one, or train some."
            )
        if not set(self.mapping) & set(target.joints):
            raise LayoutError(
                f"layout {self.name!r} has no mapping to {target.name!r}. Register it with "
                "mamp.register_layout(..., mapping={joint of the model: joint of yours})."
            )
        for row, joint in enumerate(target.joints):
            source = self.mapping.get(joint, {})
            for name, weight in ({source: 1.0} if isinstance(source, str) else source).items():
                weights[row, self.joints.index(name)] = weight
        return weights

    def describe(self, target: Layout) -> dict[str, str]:
        """Describe how each joint of ``target`` is derived: taken, between, extrapolated or absent."""
        result = {}
        for joint, row in zip(target.joints, self.conversion(target), strict=True):
            used = [self.joints[i] for i in np.flatnonzero(row)]
            if not used:
                result[joint] = "absent"
            elif len(used) == 1:
                result[joint] = f"taken from {used[0]}"
            else:
                how = "extrapolated from" if (row < 0).any() else "between"
                result[joint] = f"{how} {', '.join(used[:-1])} and {used[-1]}"
        return result

    def absent(self, target: Layout) -> tuple[str, ...]:
        """Joints of ``target`` that cannot be derived from this layout."""
        rows = zip(target.joints, self.conversion(target), strict=True)
        return tuple(joint for joint, row in rows if not row.any())


def check_tree(where: str, parents: Sequence[int]) -> None:
    """Raise :class:`LayoutError` if a parent index is out of range, or the parents have a cycle."""
    sound = {-1}
    for joint in range(len(parents)):
        way: list[int] = []
        while joint not in sound and 0 <= joint < len(parents) and len(way) <= len(parents):
            way.append(joint)
            joint = parents[joint]
        if joint not in sound:
            raise LayoutError(
                f"{where}: parents must be -1 or an index below {len(parents)}, without a cycle; found {parents}."
            )
        sound.update(way)


def mirror_pairs(joints: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Find the (left, right) pairs among names such as ``hip_left``, ``LeftHip`` or ``lfemur``."""
    swaps = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("_L", "_R"), (".L", ".R"))
    starts = (("l", "r"), ("L", "R"), ("l_", "r_"))
    pairs, known = [], set(joints)
    for left in joints:
        others = [left.replace(a, b, 1) for a, b in swaps if a in left]
        others += [b + left[len(a) :] for a, b in starts if left.startswith(a)]
        right = next((name for name in others if name != left and name in known), None)
        if right is not None:
            pairs.append((left, right))
    return tuple(pairs)


def list_layouts() -> list[str]:
    """Names of the registered layouts, and ``bvh`` for any layout whose joint names are matched one by one."""
    return sorted([*REGISTRY, "bvh"])


def get_layout(name: str) -> Layout:
    """Return a registered layout; :class:`LayoutError` suggests the nearest name if it is unknown."""
    if name in _MATCHED:
        raise LayoutError(
            f"layout {name!r} is matched by joint names: give the list of joint names instead of {name!r}."
        )
    if name not in REGISTRY:
        raise LayoutError(
            f"unknown layout {name!r}.{suggest(name, list_layouts())} Known: {', '.join(list_layouts())}. "
            "Register your own with mamp.register_layout."
        )
    return REGISTRY[name]


def register_layout(
    name: str,
    joints: Sequence[str],
    mapping: Mapping[str, str | Weights] | None = None,
    parents: Sequence[int] | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    *,
    body: str | None = None,
    parts: Mapping[str, Sequence[str]] | None = None,
    center: str = "",
    overwrite: bool = False,
) -> Layout:
    """Register a skeleton layout under a name.

    With a mapping, it is another layout of a known body: joints of the model without a mapping are logged as a warning,
    interpolated and extrapolated ones as information. Without one, it is a body of its own, to train weights for.

    Args:
        name: Name of the layout.
        joints: Joint names, in the order of your positions.
        mapping: Joint of the model (``mamp.get_layout("ntu25").joints``) -> your joint, or weights over your joints
            that sum to one, for example ``{"neck": {"head": 0.3, "chest": 0.7}}``. Joints without an entry are absent
            from every recording in this layout. None for a body of its own.
        parents: Index of the parent of each joint, -1 for the root; used for pictures and to fill untracked joints.
        pairs: (left, right) joint names that are swapped by mirroring; by default found by name.
        body: Name of the body whose joints the mapping names, ``ntu25`` by default.
        parts: Name of a part of the body -> its joints; by default the branches that leave the root.
        center: Joint that clips are centred on; the root by default.
        overwrite: Replace a layout of the same name.

    Returns:
        The layout; ``layout.describe(mamp.get_layout("ntu25"))`` lists how each joint of the model is derived.

    Raises:
        LayoutError: The name is taken, or the mapping is empty, names an unknown joint, or has weights that do not sum
            to one.
    """
    joints = tuple(joints)
    layout = Layout(
        name,
        joints,
        tuple(parents) if parents is not None else (-1,) + (0,) * (len(joints) - 1),
        tuple(pairs) if pairs is not None else mirror_pairs(joints),
        dict(mapping or {}),
        name if mapping is None else body or MODEL,
        parts or {},
        center,
    )
    if mapping is None:
        if body not in (None, name):
            raise LayoutError(f"layout {name!r}: a layout of the body {body!r} needs a mapping to its joints.")
        return register(layout, overwrite)
    model = get_layout(layout.body)
    check_mapping(layout, model)
    register(layout, overwrite)
    _report(layout, model)
    return layout


def check_mapping(layout: Layout, model: Layout) -> None:
    """Raise :class:`LayoutError` if a mapping is empty, or names what are no joints of the model."""
    where = f"layout {layout.name!r}"
    unknown = sorted(set(layout.mapping) - set(model.joints))
    if unknown:
        raise LayoutError(
            f"{where}: mapping names {', '.join(unknown)}, not joints of the model."
            f"{suggest(unknown[0], list(model.joints))} The model has: {', '.join(model.joints)}."
        )
    if not layout.mapping:
        raise LayoutError(f"{where}: the mapping is empty; say which of your joints are which of the model's.")


def register(layout: Layout, overwrite: bool = False) -> Layout:
    """Register a layout; :class:`LayoutError` if its name is taken."""
    with _lock:
        if layout.name in _MATCHED or (layout.name in REGISTRY and not overwrite):
            hint = "" if layout.name in _MATCHED else ", or pass overwrite=True"
            raise LayoutError(f"layout {layout.name!r} exists; choose another name{hint}.")
        REGISTRY[layout.name] = layout
    return layout


def body_of(layout: Layout) -> Layout:
    """The layout with the joints of the body: that of the weights for recordings in ``layout``."""
    return layout if layout.is_body else get_layout(layout.body)


def _report(layout: Layout, model: Layout) -> None:
    """Log how the joints of the model are derived from a new layout."""
    found = layout.describe(model)
    derived = [f"{joint} {how}" for joint, how in found.items() if how.startswith(("between", "extrapolated"))]
    if derived:
        logger.info("layout %r derives %d of the model's joints: %s.", layout.name, len(derived), "; ".join(derived))
    absent = layout.absent(model)
    if absent:
        logger.warning(
            "layout %r gives %d of the model's %d joints; absent from every recording in it: %s.",
            layout.name,
            len(found) - len(absent),
            len(found),
            ", ".join(absent),
        )


def tree(name: str, rows: str, mapping: dict[str, str | Weights] | None = None, **more: Any) -> Layout:
    """Build a layout from ``joint parent`` rows, separated by commas or line breaks; the parent of the root is ``-``.

    Pairs are the joints whose names differ only in the side. ``more`` are further fields of the layout.
    """
    joints, parent_names = zip(*(row.split() for row in re.split(",|\n", rows.strip())), strict=True)
    parents = tuple(-1 if parent == "-" else joints.index(parent) for parent in parent_names)
    return Layout(name, joints, parents, mirror_pairs(joints), mapping or {}, **more)


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
