"""Joint names used by rigging and motion capture tools: the aliases of each role, and words without meaning.

:mod:`mamp.layouts.names` splits a name into side, words and number, and looks the words up here. A joint is at the
START of the limb that it is named after: the forearm joint is the elbow.

The order of roles and aliases matters, since a role only takes joints that earlier roles have left: ``foot`` is the
ankle of a rig without an ``ankle``, and the foot of one that has one.
"""

from __future__ import annotations

# Role -> names in lower case without side and separators. A number at the end is part of the name; without one, the
# joints numbered 1 and 0 are taken after the joint without a number.
CENTRE_ROLES: dict[str, tuple[str, ...]] = {
    "pelvis": (
        "hips", "hip", "pelvis", "spinebase", "hipcenter", "centerhip", "midhip", "lowerbody", "waist", "root",
        "reference", "cog", "center", "",
    ),
    "spine_mid": ("spinemid",),
    "spine_shoulder": ("spineshoulder", "shouldercenter", "centershoulder"),
    "chest": (
        "upperchest", "chestupper", "chest", "chest4", "spine5", "spine4", "spine3", "spine2", "t8", "thorax", "ribs",
        "upperback", "upperbody2",
    ),
    "neck": ("neck", "necklower", "lowerneck", "neck0", "necktwist1", "neckbase"),
    "neck_end": ("neck1", "neck2", "neck3", "neckupper", "upperneck", "necktwist2"),
    "head": ("head", "skull", "cranium"),
    "head_end": ("headend", "headtip", "headtop", "headtopend", "headnub", "headsite"),
    "nose": ("nose",),
}  # fmt: skip
SIDE_ROLES: dict[str, tuple[str, ...]] = {
    "shoulder": ("upperarm", "arm", "uparm", "uarm", "shldr", "humerus", "shoulder", "shoulderjoint"),
    "elbow": ("elbow", "forearm", "lowerarm", "lowarm", "loarm", "farm", "radius"),
    "wrist": ("wrist", "hand", "palm"),
    "hand": ("hand", "palm"),
    "hand_tip": ("handtip", "fingertip"),
    "finger": (
        "handmiddle1", "mid1", "middle1", "middleproximal", "fmiddle1", "fingermiddle1", "handindex1", "index1",
        "findex1", "indexproximal", "fingerbase", "fingers", "finger2",
    ),
    "thumb": (
        "handthumb2", "thumb2", "thumbproximal", "fingerthumb2", "thumb", "handthumb1", "thumb1", "finger0",
    ),
    "knee": ("knee", "lowerleg", "lowleg", "loleg", "shin", "calf", "tibia", "crus", "leg"),
    "hip": ("upleg", "upperleg", "uleg", "thigh", "femur", "hip", "hipjoint", "leg"),
    "ankle": ("ankle", "foot"),
    "toe": ("foot", "toebase", "toes", "toe", "bigtoe", "ball", "footend", "footnub"),
    "ear": ("ear",),
    "eye": ("eye",),
}  # fmt: skip

SIDES = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
# Words before a name, and after it, that many tools add and that say nothing of the joint.
BEFORE = frozenset(
    "j joint bip biped valve b bn bone cc rl base def org rig mixamorig character skeleton armature sk jnt".split()  # noqa: SIM905
)
AFTER = frozenset("j joint jt jnt bone bind skin bend stretch main deform".split())  # noqa: SIM905
CENTRE_MARKS = frozenset(["c", "m", "x", "ctr", "cn"])  # J_Bip_C_Hips, Spine1_M, root.x
# Can name a joint on the floor, unless it is the common parent of the legs.
WEAK_PELVIS = frozenset(["root", "reference", "cog", "center", ""])

# MikuMikuDance: what its names are in English, in the order in which they are replaced.
JAPANESE = (
    ("左", "left"), ("右", "right"), ("つま先", "toe"), ("爪先", "toe"), ("足首", "ankle"), ("手首", "wrist"),
    ("ひじ", "elbow"), ("肘", "elbow"), ("ひざ", "knee"), ("膝", "knee"), ("親指", "thumb"), ("人差指", "index"),
    ("人指", "index"), ("中指", "middle"), ("薬指", "ring"), ("小指", "pinky"), ("捩", "twist"), ("捻", "twist"),
    ("肩", "clavicle"), ("ひげ", "beard"), ("腕", "upper arm"), ("足", "upper leg"), ("手", "hand"),
    ("首", "neck"), ("頭", "head"), ("上半身", "upper body"), ("下半身", "lower body"), ("センター", "center"),
    ("グルーブ", "groove"), ("全ての親", "mother"), ("腰", "waist"), ("両", "both"), ("目", "eye"), ("耳", "ear"),
    ("先", "end"), ("親", "parent"),
)  # fmt: skip
