"""Match the joint names of rigs and motion capture exports with the joints of the model.

Tools have their own names (``LeftUpLeg``, ``lThigh``, ``UpperLeg_L``, ``mixamorig:LeftUpLeg``, ``左足``). Common parts
are removed (``Character1_``, ``_jnt``), the rest is split into side, words and number, and the words are looked up in
the tables of :mod:`mamp.layouts.rigs`. If the names are not understood, joints are identified by the kinematic tree and
the shape of the body (:mod:`mamp.layouts.topology`).
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError
from mamp.layouts import layout as registry
from mamp.layouts import rigs
from mamp.layouts.layout import Layout, Weights, between, beyond, check_tree
from mamp.layouts.topology import NOTHING, Rig, refine_roles, roles_by_tree

logger = logging.getLogger(__name__)

NEEDED = tuple(f"{s}_{r}" for r in ("shoulder", "elbow", "hip", "knee") for s in ("left", "right"))
MAX_RIG = 1000  # joints of the largest rig of which the shape is analysed
SHARED = 0.6  # share of the names from which a common first or last word is removed

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")
_TEXTS = {alias.rstrip("0123456789") for aliases in rigs.SIDE_ROLES.values() for alias in aliases}
_WEAK_PELVIS = {("", text) for text in rigs.WEAK_PELVIS}
# Never removed, even if all names of a file share them.
BODY_WORDS = frozenset(
    word
    for text in (
        "hips hip pelvis spine chest neck head body base end",
        "left right l r lt rt upper lower up low lo",
        "shoulder clavicle collar shldr arm fore humerus elbow radius wrist hand",
        "thumb index middle mid ring pinky finger",
        "leg thigh femur knee shin calf tibia ankle foot toe toes ball eye ear twist",
    )
    for word in text.split()
)


class Name(NamedTuple):
    """Parts of a joint name: side (``left``, ``right`` or empty), words in lower case, and trailing number."""

    side: str
    text: str
    number: int | None


def find_layout(
    joints: Sequence[str],
    parents: Sequence[int] | None = None,
    poses: NDArray[np.floating] | None = None,
) -> Layout:
    """Find the registered layout with these joint names, or match the names one by one (layout ``bvh``).

    The order of the joints, case and separators are ignored: ``SHOULDER_LEFT`` and ``ShoulderLeft`` are the same joint.
    The result has the registered names in the given order.

    Args:
        joints: Names of the V joints.
        parents: Index of the parent of each joint, -1 for the root.
        poses: [N, V, 3] positions in some frames, in any unit and axes. Together with ``parents``, they identify joints
            whose names are ambiguous.

    Raises:
        LayoutError: Too few names are understood.
    """
    joints = [str(joint) for joint in joints]
    keys = [_key(joint) for joint in joints]
    for layout in [one for one in registry.REGISTRY.values() if len(one.joints) == len(joints)]:
        registered = {_key(joint): joint for joint in layout.joints}
        if set(keys) == set(registered):
            return layout.reordered([registered[key] for key in keys])
    return match_names(joints, parents, poses)


def match_names(
    joints: Sequence[str], parents: Sequence[int] | None = None, poses: NDArray[np.floating] | None = None
) -> Layout:
    """Build a layout by matching joint names one by one; for the arguments see :func:`find_layout`.

    Raises:
        LayoutError: Shoulders, elbows, hips or knees are not recognised.
    """
    names = parse_names(joints)
    roles = _assign(joints, names)
    tree = tuple(parents) if parents is not None else (-1,) + (0,) * (len(joints) - 1)
    name = "bvh"
    missing = [role for role in NEEDED if role not in roles]
    check_tree("the joints", tree)
    weak = {joint for joint, one in zip(joints, names, strict=True) if one[:2] in _WEAK_PELVIS}
    small = parents is not None and len(tree) == len(joints) <= MAX_RIG
    rig = None if not small or poses is None else Rig(list(joints), tree, poses, [one.side for one in names])
    if missing and rig is not None and (found := roles_by_tree(rig)) is not None:
        roles, missing, name = found, [], "tree"
        logger.warning(
            "the joint names are not understood; the tree of the joints and the shape of the body say which is which: "
            "%s. Register the layout with mamp.register_layout if that is wrong.",
            ", ".join(f"{role} {joint}" for role, joint in roles.items()),
        )
    if missing:
        shown = ", ".join(joints[:60]) + (f" and {len(joints) - 60} more" if len(joints) > 60 else "")
        raise LayoutError(
            f"joint names not understood: no joint was recognised as {', '.join(missing)}. Found the names "
            f"{shown}. Name a registered layout, or register yours with mamp.register_layout."
        )
    if rig is not None:
        refine_roles(rig, roles, weak)
    return Layout(name, tuple(joints), tree, _pairs(joints, names), _mapping(roles))


def find_roles(joints: Sequence[str]) -> dict[str, str]:
    """Role (``head``, ``left_elbow``, ...) -> joint name, for the names that are understood."""
    return _assign(joints, parse_names(joints))


def parse_names(joints: Sequence[str]) -> list[Name]:
    """Split joint names into their parts, without common words."""
    split = [_words(joint) for joint in joints]
    ends = [["end"] if len(words) > 1 and words[-1] == "end" else [] for words in split]
    bodies = [words[: len(words) - len(end)] for words, end in zip(split, ends, strict=True)]
    if len(joints) > 3:
        bodies = _drop_shared(bodies, 0)
        bodies = _drop_shared(bodies, -1)
    names = [_name(words, end) for words, end in zip(bodies, ends, strict=True)]
    known = {name[1:] for name in names if not name.side}
    return [_side_by_other(name, known) for name in names]


def _side_by_other(name: Name, known: set[tuple[str, int | None]]) -> Name:
    """Infer the side from the first letter if the counterpart exists, as in lclavicle and rclavicle."""
    other = {"l": "r", "r": "l"}.get(name.text[:1])
    if name.side or other is None or (other + name.text[1:], name.number) not in known:
        return name
    return Name("left" if other == "r" else "right", name.text[1:], name.number)


def _words(joint: str) -> list[str]:
    """Words and numbers of a name in lower case, without its namespace."""
    text = joint
    if not text.isascii():
        for japanese, english in rigs.JAPANESE:
            text = text.replace(japanese, f" {english} ")
        text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"^mixamorig\d*", "", re.split(r"[:|]", text)[-1])
    return [word.lower() for word in _WORD.findall(text)]


def _drop_shared(split: list[list[str]], end: int) -> list[list[str]]:
    """Remove the first (``end`` 0) or last (-1) word of the names while most share it, unless it names a body part."""
    while True:
        counts = Counter(words[end] for words in split if len(words) > 1)
        word, count = counts.most_common(1)[0] if counts else ("", 0)
        if count < SHARED * len(split) or word in BODY_WORDS or (word.isdigit() and end == -1):
            return split
        split = [
            (words[1:] if end == 0 else words[:-1]) if len(words) > 1 and words[end] == word else words
            for words in split
        ]


def _name(words: list[str], end: list[str]) -> Name:
    words = list(words)
    while len(words) > 1 and words[0] in rigs.BEFORE | rigs.CENTRE_MARKS:
        if words[0] == "base" and words[1] not in rigs.SIDES and words[1] not in BODY_WORDS:
            break
        words.pop(0)
        while len(words) > 1 and words[0].isdigit():
            words.pop(0)
    side = next((mark for mark in rigs.SIDES if mark in words and (len(words) > 1 or len(mark) > 2)), None)
    if side is not None:
        words.remove(side)
    number = None
    while words and (words[-1].isdigit() or (len(words) > 1 and words[-1] in rigs.AFTER | rigs.CENTRE_MARKS)):
        last = words.pop()
        if last.isdigit():
            number = int(last[:9])
    text = "".join([*words, *end])
    if side is not None:
        return Name(rigs.SIDES[side], text, number)
    for mark in ("left", "right"):
        if text.startswith(mark):
            return Name(mark, text[len(mark) :], number)
        if text.endswith(mark):
            return Name(mark, text[: -len(mark)], number)
    for mark in ("left", "right"):
        if text[:1] == mark[0] and text[1:] in _TEXTS:
            return Name(mark, text[1:], number)
        if text[-1:] == mark[0] and text[:-1] in _TEXTS:
            return Name(mark, text[:-1], number)
    return Name("", text, number)


def _assign(joints: Sequence[str], names: Sequence[Name]) -> dict[str, str]:
    """Role -> joint: each role takes the first of its aliases that is not taken by an earlier role."""
    by_name: dict[Name, str] = {}
    for joint, name in sorted(zip(joints, names, strict=True), key=lambda pair: len(pair[0])):
        by_name.setdefault(name, joint)  # shortest first: UpLeg_L rather than __UpLeg_L
    found: dict[str, str] = {}
    for side, roles in (("", rigs.CENTRE_ROLES), ("left", rigs.SIDE_ROLES), ("right", rigs.SIDE_ROLES)):
        taken: set[str] = set()
        for role, aliases in roles.items():
            known = (_look_up(by_name, side, alias) for alias in aliases)
            free = next((joint for joint in known if joint is not None and joint not in taken), None)
            if free is not None:
                taken.add(free)
                found[f"{side}_{role}" if side else role] = free
    return found


def _look_up(by_name: dict[Name, str], side: str, alias: str) -> str | None:
    text = alias.rstrip("0123456789")
    numbers = (int(alias[len(text) :]),) if text != alias else (None, 1, 0)
    return next((by_name[name] for number in numbers if (name := Name(side, text, number)) in by_name), None)


def _pairs(joints: Sequence[str], names: Sequence[Name]) -> tuple[tuple[str, str], ...]:
    """(left, right) joints whose names differ only in the side."""
    right = {name[1:]: joint for joint, name in reversed(list(zip(joints, names, strict=True))) if name.side == "right"}
    pairs: dict[str, str] = {}
    for joint, name in zip(joints, names, strict=True):
        if name.side == "left" and name[1:] in right:
            pairs.setdefault(right[name[1:]], joint)
    return tuple((left, other) for other, left in pairs.items())


def _key(joint: str) -> str:
    """Letters and digits of a joint name. The Azure Kinect SDK spells navel in two ways."""
    return re.sub(r"[^a-z0-9]", "", joint.lower()).replace("naval", "navel")


def _mapping(role: dict[str, str]) -> dict[str, str | Weights]:
    """Mapping to the joints of the model, from role -> joint."""
    mapping = _trunk(role)
    for s in ("left", "right"):
        mapping |= _limbs({name.removeprefix(f"{s}_"): joint for name, joint in role.items() if name.startswith(s)}, s)
    return mapping


def _trunk(role: dict[str, str]) -> dict[str, str | Weights]:
    own = role.get("spine_shoulder")  # such files name their joints like the model
    neck = None if role.get("neck") == NOTHING else role.get("neck") or role.get("neck_end") or role.get("chest")
    top = own or neck or between(role["left_shoulder"], role["right_shoulder"])
    pelvis = role.get("pelvis") or between(between(role["left_hip"], role["right_hip"]), top, 0.1)
    head, share = _head(role, pelvis)
    trunk: dict[str, str | Weights] = {
        "spine_base": pelvis,
        "spine_mid": role.get("spine_mid") or between(pelvis, top),
        "spine_shoulder": top,
    }
    if head is not None:
        trunk["neck"] = role["neck"] if own and role.get("neck") else between(top, *share)
        trunk["head"] = head
    return trunk


def _head(role: dict[str, str], pelvis: str | Weights) -> tuple[str | Weights | None, tuple[str | Weights, float]]:
    """The head, and the position of the neck as a point and a share of the way to it."""
    if {"left_ear", "right_ear"} <= set(role):
        ears = between(role["left_ear"], role["right_ear"])
        return ears, (ears, 0.4)
    if "head" in role:
        head = role["head"]
        end = role.get("head_end")  # the head joint is the base of the head, except for Kinects
        if "spine_shoulder" in role and end is None:
            return head, (head, 0.4)
        return between(head, end) if end else beyond(pelvis, head, 0.12 if end is None else 0.16), (head, 0.5)
    eyes = between(role["left_eye"], role["right_eye"]) if {"left_eye", "right_eye"} <= set(role) else None
    face = role.get("nose") or eyes
    return face, (face or pelvis, 0.4)


def _limbs(role: dict[str, str], s: str) -> dict[str, str | Weights]:
    """Arm and leg of one side, from its roles."""
    limbs: dict[str, str | Weights] = {
        f"{joint}_{s}": role[joint] for joint in ("shoulder", "elbow", "hip", "knee", "ankle") if joint in role
    }
    if "toe" in role:
        limbs[f"foot_{s}"] = role["toe"]
    if "wrist" in role:
        elbow, wrist = role["elbow"], role["wrist"]
        limbs[f"wrist_{s}"] = wrist
        hand = role.get("hand")  # only in files with both, such as Kinect's
        limbs[f"hand_{s}"] = hand or role.get("finger") or beyond(elbow, wrist, 0.3)
        limbs[f"hand_tip_{s}"] = role.get("hand_tip") or (
            beyond(wrist, hand, 0.8) if hand else beyond(elbow, wrist, 0.6)
        )
        limbs[f"thumb_{s}"] = role.get("thumb") or hand or beyond(elbow, wrist, 0.3)
    return limbs
