"""Identify the joints of a rig by its kinematic tree and the shape of the body, where names do not suffice.

Legs and arms are the two pairs of similar branches; the remaining branch at the arms is the neck. Upper and lower limbs
are the two longest consecutive bones of each. Left and right follow from the direction of the feet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from itertools import combinations, zip_longest

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NOTHING = ""  # a role that is known to have no joint

_LOW = 0.75  # height over the trunk below which a neck is a joint of the chest
_SHORT = 0.02  # length over that of the trunk below which a bone has no direction
_ALIKE = 0.15  # relative difference of bone lengths up to which two branches are a pair
_LIMB = 0.4  # length over that of the longest pair below which branches are no limbs, but fingers or ears


class Rig:
    """A kinematic tree in some poses.

    Args:
        joints: Names of the V joints.
        parents: Index of the parent of each joint, -1 for the root.
        poses: [N, V, 3], NaN where not tracked.
        sides: ``left``, ``right`` or empty, by the names.
    """

    def __init__(
        self, joints: Sequence[str], parents: Sequence[int], poses: NDArray[np.floating], sides: Sequence[str]
    ) -> None:
        self.joints, self.parents, self.sides = list(joints), list(parents), list(sides)
        self.poses: Array = np.asarray(poses, dtype=np.float64)
        self.children: list[list[int]] = [[] for _ in joints]
        for joint, parent in enumerate(parents):
            if parent >= 0:
                self.children[parent].append(joint)
        bones = self.poses - np.where(np.array(self.parents)[:, None] >= 0, self.poses[:, self.parents], self.poses)
        lengths = [_median(bone) for bone in np.linalg.norm(bones, axis=-1).T]
        self.lengths = [length if length > 0 else 0.0 for length in lengths]
        """Length of the bone from the parent of each joint; 0 if unknown."""
        self.chains = self._longest_chains()
        """For each joint, the longest chain of descendants, itself first."""

    def at(self, joint: str | int) -> Array:
        """Positions of a joint, [N, 3]."""
        return self.poses[:, self.joints.index(joint) if isinstance(joint, str) else joint]

    def reach(self, joint: int) -> float:
        """Length of the longest chain, including the bone to the joint."""
        return sum(self.lengths[one] for one in self.chains[joint])

    def ancestors(self, joint: int) -> list[int]:
        """The joint and its ancestors, upwards."""
        way = [joint]
        while self.parents[way[-1]] >= 0:
            way.append(self.parents[way[-1]])
        return way

    def meeting(self, a: int, b: int) -> int | None:
        """The lowest common ancestor, which may be one of the two."""
        above = set(self.ancestors(b))
        return next((joint for joint in self.ancestors(a) if joint in above), None)

    def _longest_chains(self) -> list[list[int]]:
        order, reach = [], [0.0] * len(self.joints)
        stack = [joint for joint, parent in enumerate(self.parents) if parent < 0]
        while stack:
            order.append(stack.pop())
            stack += self.children[order[-1]]
        chains: list[list[int]] = [[] for _ in self.joints]
        for joint in reversed(order):
            best = max(self.children[joint], key=lambda child: reach[child], default=None)
            chains[joint] = [joint] + (chains[best] if best is not None else [])
            reach[joint] = self.lengths[joint] + (reach[best] if best is not None else 0.0)
        return chains


def refine_roles(rig: Rig, roles: dict[str, str], weak: Set[str]) -> None:
    """Correct roles found by names where they contradict the body.

    Args:
        rig: The joints.
        roles: Role -> joint; modified in place.
        weak: Joints that are the pelvis only if the legs have no common ancestor.
    """
    _drop_empty_ends(rig, roles)
    _find_hub(rig, roles, weak)
    _lift_neck(rig, roles)
    _find_head(rig, roles)


def _drop_empty_ends(rig: Rig, roles: dict[str, str]) -> None:
    """Remove ends that coincide with their start, such as an End Site of length zero."""
    least = _SHORT * _median(np.linalg.norm(_trunk(rig, roles)[1], axis=-1))
    for end, start in (("head_end", "head"), *((f"{s}_{a}", f"{s}_{b}") for s in ("left", "right") for a, b in _ENDS)):
        if end in roles and start in roles and _distance(rig, roles[end], roles[start]) <= least:
            del roles[end]
            if end == "head_end":
                roles[end] = NOTHING


_ENDS = (("toe", "ankle"), ("finger", "wrist"), ("thumb", "wrist"), ("hand_tip", "wrist"))


def _find_hub(rig: Rig, roles: dict[str, str], weak: Set[str]) -> None:
    """Use the common ancestor of the legs as pelvis if the names give none, or one of ``weak``."""
    hips = [rig.joints.index(roles[f"{side}_hip"]) for side in ("left", "right")]
    hub = rig.meeting(*hips)
    if hub is not None and hub not in hips and roles.get("pelvis") in (None, *weak):
        roles["pelvis"] = rig.joints[hub]


def _lift_neck(rig: Rig, roles: dict[str, str]) -> None:
    """Replace a neck that lies in the chest by the next joint of the neck, or the midpoint of the shoulders."""
    if "neck" not in roles or "spine_shoulder" in roles:
        return
    if _height(rig, roles, roles["neck"]) < _LOW:
        above = roles.get("neck_end")
        roles["neck"] = above if above is not None and _height(rig, roles, above) >= _LOW else NOTHING


def _find_head(rig: Rig, roles: dict[str, str]) -> None:
    """Find neck and head in the branch between the arms if the names give no head."""
    if {"head", "nose"} & set(roles) or {"left_ear", "right_ear"} <= set(roles):
        return
    shoulders = [rig.joints.index(roles[f"{side}_shoulder"]) for side in ("left", "right")]
    chest = rig.meeting(*shoulders)
    if chest is None:
        return
    arms = {joint for shoulder in shoulders for joint in rig.ancestors(shoulder)}
    legs = {joint for side in ("left", "right") for joint in rig.ancestors(rig.joints.index(roles[f"{side}_hip"]))}
    free = [child for child in rig.children[chest] if child not in arms | legs and not rig.sides[child]]
    if free:
        roles.update({key: name for key, name in _neck(rig, max(free, key=rig.reach)).items() if key not in roles})


def roles_by_tree(rig: Rig) -> dict[str, str] | None:
    """Role -> joint by the shape of the tree; ``None`` if it is not a body."""
    pairs = _limb_pairs(rig)
    if pairs is None:
        return None
    (hub, *legs), (chest, *arms) = pairs
    leg_chains = [_limb(rig, leg) for leg in legs]
    arm_chains = [_limb(rig, arm) for arm in arms]
    if None in leg_chains or None in arm_chains:
        return None
    branches = [child for child in rig.children[chest] if child not in arms and hub not in _below(rig, child)]
    branches = [child for child in branches if child not in rig.ancestors(hub)]
    neck = _neck(rig, max(branches, key=rig.reach)) if branches else {}
    roles = {"pelvis": rig.joints[hub], **neck}
    up = rig.at(chest) - rig.at(hub)
    if hub == chest and "head" in roles:
        up = rig.at(roles["head"]) - rig.at(hub)
    for chains, names in ((leg_chains, ("hip", "knee", "ankle", "toe")), (arm_chains, ("shoulder", "elbow", "wrist"))):
        first, second = (chain for chain in chains if chain is not None)
        if not _is_left(rig, first, second, up, leg_chains):
            first, second = second, first
        for side, chain in (("left", first), ("right", second)):
            roles |= {f"{side}_{name}": rig.joints[joint] for name, joint in zip(names, chain, strict=False)}
    return roles


def _limb_pairs(rig: Rig) -> list[tuple[int, int, int]] | None:
    """(common parent, one, other) of the legs, and of the arms."""
    found = []
    for joint, children in enumerate(rig.children):
        long = sorted((child for child in children if rig.reach(child) > 0), key=rig.reach, reverse=True)[:8]
        for a, b in combinations(long, 2):
            if len(rig.chains[a]) > 2 < len(rig.chains[b]) and _alike(rig, a, b):
                found.append((max(rig.reach(a), rig.reach(b)), joint, a, b))
    found.sort(key=lambda pair: -pair[0])
    pairs: list[tuple[int, int, int]] = []
    for longest, joint, a, b in found:
        if longest < _LIMB * found[0][0] or len(pairs) == 2:
            break
        apart = all(not {a, b} & _branch(rig, pair) and not {*pair[1:]} & _branch(rig, (joint, a, b)) for pair in pairs)
        if apart:
            pairs.append((joint, a, b))
    if len(pairs) < 2:
        return None
    first, second = pairs
    heads = [_rest(rig, one, other) for one, other in ((first, second), (second, first))]
    return [second, first] if heads[0] > heads[1] else [first, second]


def _alike(rig: Rig, a: int, b: int) -> bool:
    """Whether the longest chains of two joints have similar bone lengths."""
    bones = [[rig.lengths[joint] for joint in rig.chains[one] if rig.lengths[joint] > 0] for one in (a, b)]
    apart = sum(abs(one - other) for one, other in zip_longest(*bones, fillvalue=0.0))
    return apart <= _ALIKE * max(rig.reach(a), rig.reach(b))


def _branch(rig: Rig, pair: tuple[int, int, int]) -> set[int]:
    return _below(rig, pair[1]) | _below(rig, pair[2])


def _below(rig: Rig, joint: int) -> set[int]:
    found, stack = set(), [joint]
    while stack:
        found.add(one := stack.pop())
        stack += rig.children[one]
    return found


def _rest(rig: Rig, pair: tuple[int, int, int], other: tuple[int, int, int]) -> float:
    """Length of the longest branch at the parent of a pair that contains neither the pair nor the other one."""
    joint, *limbs = pair
    branches = [child for child in rig.children[joint] if child not in limbs and other[0] not in _below(rig, child)]
    return max((rig.reach(child) for child in branches if child not in rig.ancestors(other[0])), default=0.0)


def _limb(rig: Rig, joint: int) -> list[int] | None:
    """The three joints of the two longest consecutive bones of a limb, and the next one if any."""
    chain = [one for place, one in enumerate(rig.chains[joint]) if place == 0 or rig.lengths[one] > 0]
    if len(chain) < 3:
        return None
    start = max(range(len(chain) - 2), key=lambda i: rig.lengths[chain[i + 1]] + rig.lengths[chain[i + 2]])
    return chain[start : start + 4]


def _neck(rig: Rig, joint: int) -> dict[str, str]:
    """Neck, head and head end of the branch that starts at a joint."""
    chain = rig.chains[joint]
    head = next((one for one in chain if len(rig.children[one]) > 1), None)
    names = [one for one in chain if not rig.joints[one].rstrip("_").lower().endswith("_end")]
    if not names:
        return {}
    if head is None or head not in names:
        head = names[-1]
    found = {"head": rig.joints[head]}
    if head != joint:
        found["neck"] = rig.joints[joint]
    rest = chain[chain.index(head) + 1 :]
    if rest and rig.lengths[rest[0]] > 0 and len(rig.children[head]) == 1:
        found["head_end"] = rig.joints[rest[-1]]
    return found


def _is_left(rig: Rig, first: list[int], second: list[int], up: Array, legs: Sequence[list[int] | None]) -> bool:
    """Whether ``first`` is the left limb, by name or by the direction of the feet."""
    sides = [next((rig.sides[joint] for joint in chain if rig.sides[joint]), "") for chain in (first, second)]
    if set(sides) == {"left", "right"}:
        return sides[0] == "left"
    forward = np.zeros_like(up)
    for leg in legs:
        if leg is None:
            continue
        hip, knee, ankle = (rig.at(joint) for joint in leg[:3])
        forward += rig.at(leg[3]) - ankle if len(leg) > 3 else knee - (hip + ankle) / 2
    across = rig.at(first[0]) - rig.at(second[0])
    return _median((np.cross(up, forward) * across).sum(-1)) > 0


def _trunk(rig: Rig, roles: dict[str, str]) -> tuple[Array, Array]:
    """Midpoint of the hips, and the vector from there to that of the shoulders, [N, 3] each."""
    hips, shoulders = (
        (rig.at(roles[f"left_{part}"]) + rig.at(roles[f"right_{part}"])) / 2 for part in ("hip", "shoulder")
    )
    return hips, shoulders - hips


def _height(rig: Rig, roles: dict[str, str], joint: str) -> float:
    """Height of a joint along the trunk: 0 at the hips, 1 at the shoulders."""
    hips, trunk = _trunk(rig, roles)
    along = ((rig.at(joint) - hips) * trunk).sum(-1) / np.maximum((trunk**2).sum(-1), 1e-12)
    return _median(along)


def _distance(rig: Rig, a: str, b: str) -> float:
    return _median(np.linalg.norm(rig.at(a) - rig.at(b), axis=-1))


def _median(values: Array) -> float:
    """Median of the finite values; NaN, which compares false, if there are none."""
    seen = values[np.isfinite(values)]
    return float(np.median(seen)) if len(seen) else math.nan
