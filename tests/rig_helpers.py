"""A made-up body under the joint names of many tools."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CENTRE = ("hips", "spine", "chest", "neck", "head")
SIDED = ("clavicle", "upper_arm", "forearm", "hand", "thigh", "shin", "foot", "toe")

# Slot, parent, offset in metres; the left side at larger x, facing z. Ends stand where a BVH file has End Sites.
_TREE: list[tuple[str, str | None, tuple[float, float, float]]] = [
    ("hips", None, (0, 0.96, 0)),
    ("spine", "hips", (0, 0.11, 0)),
    ("chest", "spine", (0, 0.17, 0)),
    ("neck", "chest", (0, 0.24, 0)),
    ("head", "neck", (0, 0.1, 0.01)),
    ("head_end", "head", (0, 0.19, 0)),
]
for _side, _sign in (("left", 1.0), ("right", -1.0)):
    _TREE += [
        (f"clavicle_{_side}", "chest", (0.03 * _sign, 0.19, 0)),
        (f"upper_arm_{_side}", f"clavicle_{_side}", (0.14 * _sign, 0, 0)),
        (f"forearm_{_side}", f"upper_arm_{_side}", (0.12 * _sign, -0.25, 0.0)),
        (f"hand_{_side}", f"forearm_{_side}", (0.1 * _sign, -0.2, 0.1)),
        (f"hand_end_{_side}", f"hand_{_side}", (0.02 * _sign, -0.08, 0.02)),
        (f"thigh_{_side}", "hips", (0.09 * _sign, -0.04, 0)),
        (f"shin_{_side}", f"thigh_{_side}", (0, -0.42, 0.02)),
        (f"foot_{_side}", f"shin_{_side}", (0, -0.42, -0.03)),
        (f"toe_{_side}", f"foot_{_side}", (0, -0.06, 0.13)),
        (f"toe_end_{_side}", f"toe_{_side}", (0, 0, 0.06)),
    ]
SLOTS = [slot for slot, _, _ in _TREE]
PARENTS = [-1 if parent is None else SLOTS.index(parent) for _, parent, _ in _TREE]


def body() -> NDArray[np.float64]:
    """The joints standing, [1, V, 3] in metres, y up."""
    positions = np.zeros((1, len(SLOTS), 3))
    for joint, (parent, (_, _, offset)) in enumerate(zip(PARENTS, _TREE, strict=True)):
        positions[0, joint] = np.array(offset) + (positions[0, parent] if parent >= 0 else 0)
    return positions


def rig(centre: str, pattern: str, sided: str, sides: str = "Left Right") -> list[str]:
    """Names of the joints, in the order of the slots.

    Args:
        centre: Names of the joints of the trunk.
        pattern: Of a joint with a side: ``{s}`` and ``{part}``.
        sided: Names of the parts.
        sides: How left and right are called.
    """
    names = dict(zip(CENTRE, centre.split("|"), strict=True))
    for side, mark in zip(("left", "right"), sides.split(), strict=True):
        parts = zip(SIDED, sided.split("|"), strict=True)
        names |= {f"{slot}_{side}": pattern.format(s=mark, part=part) for slot, part in parts}
    ends = {"head_end": "head"} | {f"{p}_end_{s}": f"{p}_{s}" for p in ("hand", "toe") for s in ("left", "right")}
    return [names[slot] if slot in names else f"{names[ends[slot]]}_end" for slot in SLOTS]


_HIK = ("{s}{part}", "Shoulder|Arm|ForeArm|Hand|UpLeg|Leg|Foot|ToeBase")
_UNREAL = "clavicle|upperarm|lowerarm|hand|thigh|calf|foot|ball"
_BIPED = "Clavicle|UpperArm|Forearm|Hand|Thigh|Calf|Foot|Toe0"
_RIGIFY = "shoulder|upper_arm|forearm|hand|thigh|shin|foot|toe"


def _prefixed(prefix: str) -> list[str]:
    return [prefix + name for name in rig("Hips|Spine|Spine1|Neck|Head", *_HIK)]


RIGS: dict[str, list[str]] = {
    "HumanIK": rig("Hips|Spine|Spine1|Neck|Head", *_HIK),
    "Mixamo": _prefixed("mixamorig:"),
    "Mixamo numbered": _prefixed("mixamorig4:"),
    "MotionBuilder": _prefixed("Character1_"),
    "Perception Neuron": _prefixed("Robot_"),
    "a namespace": _prefixed("actor|hero:"),
    "Blender armature": _prefixed("Armature_"),
    "OptiTrack Motive": rig(
        "Hip|Ab|Chest|Neck|Head", "{s}{part}", "Shoulder|UArm|FArm|Hand|Thigh|Shin|Foot|Toe", "L R"
    ),
    "OptiTrack Motive prefixed": rig(
        "Skeleton_001_Hip|Skeleton_001_Ab|Skeleton_001_Chest|Skeleton_001_Neck|Skeleton_001_Head",
        "Skeleton_001_{s}{part}", "Shoulder|UArm|FArm|Hand|Thigh|Shin|Foot|Toe", "L R",
    ),
    "Rokoko": rig("Hips|Spine1|Spine4|Neck|Head", "{s}{part}", "Shoulder|Arm|ForeArm|Hand|Thigh|Shin|Foot|Toe"),
    "Xsens BVH": rig("Hips|Chest|Chest4|Neck|Head", "{s}{part}", "Collar|Shoulder|Elbow|Wrist|Hip|Knee|Ankle|Toe"),
    "Xsens MVN": rig(
        "Pelvis|L5|T8|Neck|Head", "{s}{part}", "Shoulder|UpperArm|ForeArm|Hand|UpperLeg|LowerLeg|Foot|Toe"
    ),
    "Vicon": rig(
        "pelvis|lowerback|thorax|lowerneck|head", "{s}{part}", "clavicle|humerus|radius|hand|femur|tibia|foot|toes",
        "l r",
    ),
    "VRM": rig(
        "hips|spine|upperChest|neck|head", "{s}{part}",
        "Shoulder|UpperArm|LowerArm|Hand|UpperLeg|LowerLeg|Foot|Toes", "left right",
    ),
    "VRoid": rig(
        "J_Bip_C_Hips|J_Bip_C_Spine|J_Bip_C_UpperChest|J_Bip_C_Neck|J_Bip_C_Head", "J_Bip_{s}_{part}",
        "Shoulder|UpperArm|LowerArm|Hand|UpperLeg|LowerLeg|Foot|ToeBase", "L R",
    ),
    "Rigify": rig("spine|spine.001|spine.003|spine.004|spine.006", "{part}.{s}", _RIGIFY, "L R"),
    "Rigify deform bones": rig(
        "DEF-spine|DEF-spine.001|DEF-spine.003|DEF-spine.004|DEF-spine.006", "DEF-{part}.{s}", _RIGIFY, "L R"
    ),
    "Rigify in Unity": rig(
        "rig.spine|rig.spine.001|rig.spine.003|rig.spine.004|rig.spine.006", "rig.{part}.{s}", _RIGIFY, "L R"
    ),
    "3ds Max Biped": rig(
        "Bip01|Bip01 Spine|Bip01 Spine1|Bip01 Neck|Bip01 Head", "Bip01 {s} {part}", _BIPED, "L R"
    ),
    "Source engine": rig(
        "ValveBiped.Bip01_Pelvis|ValveBiped.Bip01_Spine|ValveBiped.Bip01_Spine4|ValveBiped.Bip01_Neck1|"
        "ValveBiped.Bip01_Head1",
        "ValveBiped.Bip01_{s}_{part}", _BIPED, "L R",
    ),
    "Character Creator": rig(
        "CC_Base_Hip|CC_Base_Waist|CC_Base_Spine02|CC_Base_NeckTwist01|CC_Base_Head", "CC_Base_{s}_{part}",
        "Clavicle|Upperarm|Forearm|Hand|Thigh|Calf|Foot|ToeBase", "L R",
    ),
    "Unreal mannequin": rig("pelvis|spine_01|spine_03|neck_01|head", "{part}_{s}", _UNREAL, "l r"),
    "Daz Genesis 3 and 8": rig(
        "hip|abdomenLower|chestLower|neckLower|head", "{s}{part}",
        "Collar|ShldrBend|ForearmBend|Hand|ThighBend|Shin|Foot|Toe", "l r",
    ),
    "Daz Genesis 9": rig(
        "hip|spine1|spine3|neck1|head", "{s}_{part}", "shoulder|upperarm|forearm|hand|thigh|shin|foot|toes", "l r"
    ),
    "Poser": rig("hip|abdomen|chest|neck|head", "{s}{part}", "Collar|Shldr|ForeArm|Hand|Thigh|Shin|Foot|Toe", "l r"),
    "MakeHuman": rig(
        "root|spine05|spine01|neck01|head", "{part}.{s}",
        "shoulder01|upperarm01|lowerarm01|wrist|upperleg01|lowerleg01|foot|toe1-1", "L R",
    ),
    "MakeHuman walk": rig(
        "Hips|Spine1|Spine3|Neck|Head", "{part}_{s}", "Clavicle|UpArm|LoArm|Hand|UpLeg|LoLeg|Foot|Toe", "L R"
    ),
    "Auto-Rig Pro": rig(
        "root.x|spine_01.x|spine_02.x|neck.x|head.x", "{part}.{s}",
        "shoulder|arm_stretch|forearm_stretch|hand|thigh_stretch|leg_stretch|foot|toes_01", "l r",
    ),
    "Advanced Skeleton": rig(
        "Root_M|Spine1_M|Chest_M|Neck_M|Head_M", "{part}_{s}", "Scapula|Shoulder|Elbow|Wrist|Hip|Knee|Ankle|Toes", "L R"
    ),
    "_jnt": rig(
        "root_jnt|spine_jnt|spine_1_jnt|neck_jnt|head_jnt", "{s}_{part}_jnt",
        "clavicle|upArm|lowArm|hand|upLeg|lowLeg|foot|toe", "L R",
    ),
    "DeepMotion": rig(
        "hips_JNT|spine_JNT|spine1_JNT|neck_JNT|head_JNT", "{s}_{part}_JNT",
        "shoulder|arm|forearm|hand|upleg|leg|foot|toebase", "l r",
    ),
    "_bind": rig(
        "pelvis_bind|spine_bind|chest_bind|neck_bind|head_bind", "{s}_{part}_bind",
        "clav|shoulder|elbow|wrist|hip|knee|ankle|ball", "l r",
    ),
    "Unity": rig(
        "Hip|Spine_Joint_01|Ribs_Joint_01|Neck_Joint_01|Head_Joint_01", "{s}_{part}_Joint_01",
        "Shoulder|Upper_Arm|Forearm|Wrist|Thigh|Knee|Ankle|Toe",
    ),
    "Second Life": rig(
        "mPelvis|mTorso|mChest|mNeck|mHead", "m{part}{s}", "Collar|Shoulder|Elbow|Wrist|Hip|Knee|Ankle|Toe"
    ),
    "SMPL": rig(
        "Pelvis|Spine1|Spine3|Neck|Head", "{s}_{part}", "Collar|Shoulder|Elbow|Wrist|Hip|Knee|Ankle|Foot", "L R"
    ),
    "SMPL in FBX": rig(
        "m_avg_Pelvis|m_avg_Spine1|m_avg_Spine3|m_avg_Neck|m_avg_Head", "m_avg_{s}_{part}",
        "Collar|Shoulder|Elbow|Wrist|Hip|Knee|Ankle|Foot", "L R",
    ),
    "MikuMikuDance": rig("センター|上半身|上半身2|首|頭", "{s}{part}", "肩|腕|ひじ|手首|足|ひざ|足首|つま先", "左 右"),
    "MikuMikuDance in English": rig(
        "center|upper body|upper body2|neck|head", "{part}_{s}", "shoulder|arm|elbow|wrist|leg|knee|ankle|toe", "L R"
    ),
}  # fmt: skip
