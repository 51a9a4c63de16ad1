"""Match joint names that no registered layout has, as BVH and FBX exports use them.

Each tool names joints its own way (``LeftUpLeg``, ``lThigh``, ``UpperLeg_L``, ``mixamorig:LeftUpLeg``). A name is split
into its side and the rest, and the rest is looked up in a table of roles. A joint stands at the START of the limb that
it is named after: the forearm joint is the elbow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mamp.errors import LayoutError
from mamp.layouts import registry
from mamp.layouts.layout import Layout, Weights, between, beyond, mirror_pairs

# Role -> names without side, separators and case; first come, first served.
CENTRE_ROLES: dict[str, tuple[str, ...]] = {
    "pelvis": ("hips", "hip", "pelvis", "waist", "spinebase", "hipcenter", "midhip", "root", "reference"),
    "spine": ("spine1", "spinemid", "abdomen", "spine", "lowerback", "torso"),
    "chest": ("chest", "spine3", "spine2", "thorax", "upperback", "upperchest"),
    "neck": ("neck", "lowerneck", "spineshoulder", "shouldercenter", "neck1"),
    "head": ("head", "skull"),
    "head_end": ("headend", "headtip", "headtop", "headtopend", "headnub"),
}
SIDE_ROLES: dict[str, tuple[str, ...]] = {
    "shoulder": ("arm", "upperarm", "uparm", "shldr", "humerus", "shoulder"),
    "elbow": ("forearm", "lowerarm", "lowarm", "elbow", "radius"),
    "wrist": ("hand", "wrist"),
    "finger": ("handmiddle1", "mid1", "middle1", "middleproximal", "handindex1", "index1", "fingerbase", "fingers"),
    "thumb": ("handthumb2", "thumb2", "thumb", "handthumb1", "thumb1"),
    "hip": ("upleg", "upperleg", "thigh", "femur", "hip"),
    "knee": ("leg", "lowerleg", "lowleg", "shin", "calf", "tibia", "knee"),
    "ankle": ("foot", "ankle"),
    "ear": ("ear",),
    "toe": ("toebase", "toes", "toe", "ball", "footend", "footnub"),
}


def find_layout(joints: Sequence[str], parents: Sequence[int] | None = None) -> Layout:
    """Find the layout with these joint names in any order, or match the names one by one (layout ``bvh``).

    Case and separators do not count: ``SHOULDER_LEFT``, ``shoulder left`` and ``ShoulderLeft`` are the same joint. The
    layout found has the names as registered, in the order given.

    Raises:
        LayoutError: Too few of the names are understood.
    """
    joints = [str(joint) for joint in joints]
    keys = [_key(joint) for joint in joints]
    for layout in [one for one in registry.REGISTRY.values() if len(one.joints) == len(joints)]:
        registered = {_key(joint): joint for joint in layout.joints}
        if set(keys) == set(registered):
            return layout.reordered([registered[key] for key in keys])
    return match_names(joints, parents)


def _key(joint: str) -> str:
    """What identifies a joint name: letters and digits. The Azure Kinect SDK spells its navel both ways."""
    return re.sub(r"[^a-z0-9]", "", joint.lower()).replace("naval", "navel")


def split_name(name: str) -> tuple[str, str]:
    """Split a joint name into side (``left``, ``right`` or ``""``) and what remains, in lower case."""
    name = re.sub(r"^mixamorig\d*", "", name.rsplit(":", 1)[-1])
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", name)
    words = [word.lower() for word in words]
    if words and words[0] in ("j", "joint", "bip", "b", "bn", "cc", "base") and len(words) > 1:
        words = words[1:]
        while words and words[0].isdigit():
            words = words[1:]
    for side, marks in (("left", ("left", "l")), ("right", ("right", "r"))):
        for mark in marks:
            if mark in words:
                words.remove(mark)
                return side, "".join(words)
    text = "".join(words)
    for side in ("left", "right"):
        if text.startswith(side):
            return side, text[len(side) :]
        if text.endswith(side):
            return side, text[: -len(side)]
    known = {name for names in SIDE_ROLES.values() for name in names}
    for side in ("left", "right"):
        if text[:1] == side[0] and text[1:] in known:
            return side, text[1:]
    return "", text


def find_roles(names: Sequence[str]) -> dict[str, str]:
    """Return role -> joint name for the names that are understood; side roles are ``left_elbow`` and so on."""
    by_key: dict[tuple[str, str], str] = {}
    for name in names:
        by_key.setdefault(split_name(name), name)
    found = {}
    for side, roles in (("", CENTRE_ROLES), ("left", SIDE_ROLES), ("right", SIDE_ROLES)):
        for role, aliases in roles.items():
            match = next((by_key[side, alias] for alias in aliases if (side, alias) in by_key), None)
            if match is not None:
                found[f"{side}_{role}" if side else role] = match
    return found


def match_names(names: Sequence[str], parents: Sequence[int] | None = None) -> Layout:
    """Build the layout of joints with these names.

    Raises:
        LayoutError: Too little of a body is recognised: shoulders, elbows, hips and knees of both sides.
    """
    roles = find_roles(names)
    needed = [f"{s}_{r}" for r in ("shoulder", "elbow", "hip", "knee") for s in ("left", "right")]
    missing = [role for role in needed if role not in roles]
    if missing:
        raise LayoutError(
            f"joint names not understood: no joint was recognised as {', '.join(missing)}. Found the names "
            f"{', '.join(names)}. Name a registered layout, or register yours with mamp.register_layout."
        )
    tree = tuple(parents) if parents is not None else (-1,) + (0,) * (len(names) - 1)
    return Layout("bvh", tuple(names), tree, mirror_pairs(tuple(names)), _mapping(roles))


def _mapping(role: dict[str, str]) -> dict[str, str | Weights]:
    """Joints of the model from the joints that play each role."""
    top = role.get("neck") or role.get("chest") or between(role["left_shoulder"], role["right_shoulder"])
    pelvis = role.get("pelvis") or between(between(role["left_hip"], role["right_hip"]), top, 0.1)
    mapping: dict[str, str | Weights] = {
        "spine_base": pelvis,
        "spine_mid": between(pelvis, top),
        "spine_shoulder": top,
    }
    ears = between(role["left_ear"], role["right_ear"]) if {"left_ear", "right_ear"} <= set(role) else None
    if ears:
        mapping["neck"], mapping["head"] = between(top, ears, 0.4), ears
    elif "head" in role:
        mapping["neck"] = between(top, role["head"])
        end = role.get("head_end")
        mapping["head"] = between(role["head"], end) if end else beyond(pelvis, role["head"], 0.12)
    for s in ("left", "right"):
        mapping[f"shoulder_{s}"] = role[f"{s}_shoulder"]
        mapping[f"elbow_{s}"] = role[f"{s}_elbow"]
        mapping[f"hip_{s}"] = role[f"{s}_hip"]
        mapping[f"knee_{s}"] = role[f"{s}_knee"]
        if f"{s}_ankle" in role:
            mapping[f"ankle_{s}"] = role[f"{s}_ankle"]
        if f"{s}_toe" in role:
            mapping[f"foot_{s}"] = role[f"{s}_toe"]
        if f"{s}_wrist" in role:
            elbow, wrist = role[f"{s}_elbow"], role[f"{s}_wrist"]
            mapping[f"wrist_{s}"] = wrist
            mapping[f"hand_{s}"] = role.get(f"{s}_finger") or beyond(elbow, wrist, 0.3)
            mapping[f"hand_tip_{s}"] = beyond(elbow, wrist, 0.6)
            mapping[f"thumb_{s}"] = role.get(f"{s}_thumb") or beyond(elbow, wrist, 0.3)
    return mapping
