"""Layouts of the model, depth cameras and motion capture; pose estimators are in ``estimators.py``."""

from __future__ import annotations

from mamp.layouts.layout import Weights, between, beyond, both_sides, tree

# Published bone stream: the parent of each joint, counted from the shoulders.
NTU25_BONES = (1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 22, 7, 24, 11)

# Kinect v2 (NTU RGB+D, PKU-MMD): the joints of the published models, in their order.
NTU25 = tree(
    "ntu25",
    """
    spine_base -, spine_mid spine_base
    neck spine_shoulder, head neck
    shoulder_left spine_shoulder, elbow_left shoulder_left, wrist_left elbow_left, hand_left wrist_left
    shoulder_right spine_shoulder, elbow_right shoulder_right, wrist_right elbow_right, hand_right wrist_right
    hip_left spine_base, knee_left hip_left, ankle_left knee_left, foot_left ankle_left
    hip_right spine_base, knee_right hip_right, ankle_right knee_right, foot_right ankle_right
    spine_shoulder spine_mid, hand_tip_left hand_left, thumb_left hand_left, hand_tip_right hand_right
    thumb_right hand_right
    """,
    parts={
        "trunk": ("spine_base", "spine_mid", "neck", "head", "spine_shoulder"),
        **{
            f"arm_{s}": tuple(f"{joint}_{s}" for joint in ("shoulder", "elbow", "wrist", "hand", "hand_tip", "thumb"))
            for s in ("left", "right")
        },
        **{f"leg_{s}": tuple(f"{joint}_{s}" for joint in ("hip", "knee", "ankle", "foot")) for s in ("left", "right")},
    },
    center="spine_mid",
    facing=(("hip_left", "hip_right"), ("shoulder_left", "shoulder_right")),
    bones=NTU25_BONES,
)

# Joints that all Kinects name like the model.
_KINECT_LIMBS: dict[str, str | Weights] = {
    f"{part}_{{s}}": f"{part}_{{s}}" for part in ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "foot")
}

# Kinect v1, in the order of its SDK (NW-UCLA; MSR-Action3D has the same joints in another order).
KINECT20 = tree(
    "kinect20",
    """
    hip_center -, spine hip_center, shoulder_center spine, head shoulder_center
    shoulder_left shoulder_center, elbow_left shoulder_left, wrist_left elbow_left, hand_left wrist_left
    shoulder_right shoulder_center, elbow_right shoulder_right, wrist_right elbow_right, hand_right wrist_right
    hip_left hip_center, knee_left hip_left, ankle_left knee_left, foot_left ankle_left
    hip_right hip_center, knee_right hip_right, ankle_right knee_right, foot_right ankle_right
    """,
    {
        "spine_base": "hip_center",
        "spine_mid": "spine",
        "spine_shoulder": "shoulder_center",
        "neck": between("shoulder_center", "head", 0.4),
        "head": "head",
        **both_sides(
            {
                **_KINECT_LIMBS,
                "hand_tip_{s}": beyond("wrist_{s}", "hand_{s}", 0.8),
                "thumb_{s}": "hand_{s}",
            }
        ),
    },
)

# Azure Kinect, in the order of its body tracking SDK (k4abt). The neck joint is the foot of the neck and the head joint
# its top; the middle of the head, where Kinect v2 has its head, is between the ears.
AZURE32 = tree(
    "azure32",
    """
    pelvis -, spine_navel pelvis, spine_chest spine_navel, neck spine_chest
    clavicle_left spine_chest, shoulder_left clavicle_left, elbow_left shoulder_left, wrist_left elbow_left
    hand_left wrist_left, handtip_left hand_left
    thumb_left wrist_left
    clavicle_right spine_chest, shoulder_right clavicle_right, elbow_right shoulder_right, wrist_right elbow_right
    hand_right wrist_right, handtip_right hand_right
    thumb_right wrist_right
    hip_left pelvis, knee_left hip_left, ankle_left knee_left, foot_left ankle_left
    hip_right pelvis, knee_right hip_right, ankle_right knee_right, foot_right ankle_right
    head neck, nose head
    eye_left head, ear_left head, eye_right head, ear_right head
    """,
    {
        "spine_base": "pelvis",
        "spine_mid": between("spine_navel", "spine_chest", 0.6),
        "spine_shoulder": "neck",
        "neck": between("neck", between("ear_left", "ear_right"), 0.4),
        "head": between("ear_left", "ear_right"),
        **both_sides(
            {
                **_KINECT_LIMBS,
                "hand_tip_{s}": "handtip_{s}",
                "thumb_{s}": "thumb_{s}",
            }
        ),
    },
)

# CMU and HDM05 motion capture (ASF/AMC). A joint stands at the END of the bone of its name: lfemur is the left knee.
CMU31 = tree(
    "cmu31",
    """
    root -, lhipjoint root, lfemur lhipjoint, ltibia lfemur, lfoot ltibia, ltoes lfoot
    rhipjoint root, rfemur rhipjoint, rtibia rfemur, rfoot rtibia, rtoes rfoot
    lowerback root, upperback lowerback, thorax upperback, lowerneck thorax, upperneck lowerneck, head upperneck
    lclavicle thorax, lhumerus lclavicle, lradius lhumerus, lwrist lradius, lhand lwrist, lfingers lhand
    lthumb lwrist
    rclavicle thorax, rhumerus rclavicle, rradius rhumerus, rwrist rradius, rhand rwrist, rfingers rhand
    rthumb rwrist
    """,
    {
        "spine_base": "root",
        "spine_mid": "upperback",
        "spine_shoulder": between("thorax", "lowerneck"),
        "neck": between("lowerneck", "upperneck"),
        "head": "head",
        **both_sides(
            {
                "shoulder_{s}": "{s1}clavicle",
                "elbow_{s}": "{s1}humerus",
                "wrist_{s}": between("{s1}radius", "{s1}wrist"),
                "hand_{s}": "{s1}hand",
                "hip_{s}": "{s1}hipjoint",
                "knee_{s}": "{s1}femur",
                "ankle_{s}": "{s1}tibia",
                "foot_{s}": "{s1}foot",
                "hand_tip_{s}": "{s1}fingers",
                "thumb_{s}": "{s1}thumb",
            }
        ),
    },
)

# Kinect v1 tracked by NITE (SBU Kinect Interaction): the neck is midway between the shoulders, the torso between neck
# and hips, the hand near the wrist, the foot at the ankle.
SBU15 = tree(
    "sbu15",
    """
    head neck, neck torso, torso -
    left_shoulder neck, left_elbow left_shoulder, left_hand left_elbow
    right_shoulder neck, right_elbow right_shoulder, right_hand right_elbow
    left_hip torso, left_knee left_hip, left_foot left_knee
    right_hip torso, right_knee right_hip, right_foot right_knee
    """,
    {
        "spine_base": between("left_hip", "right_hip"),
        "spine_mid": "torso",
        "spine_shoulder": "neck",
        "neck": between("neck", "head", 0.4),
        "head": "head",
        **both_sides(
            {
                "shoulder_{s}": "{s}_shoulder",
                "elbow_{s}": "{s}_elbow",
                "wrist_{s}": between("{s}_elbow", "{s}_hand", 0.85),
                "hand_{s}": "{s}_hand",
                "hip_{s}": "{s}_hip",
                "knee_{s}": "{s}_knee",
                "ankle_{s}": "{s}_foot",
                "foot_{s}": "{s}_foot",
                "hand_tip_{s}": beyond("{s}_elbow", "{s}_hand", 0.25),
                "thumb_{s}": "{s}_hand",
            }
        ),
    },
)

_ENDS = both_sides(
    {
        "hand_{s}": beyond("{S1}E", "{S1}W", 0.3),
        "hand_tip_{s}": beyond("{S1}E", "{S1}W", 0.6),
    }
)

# Master Motor Map (KIT-ML): pelvis, thorax, lower and upper neck; S shoulder, E elbow, W wrist, H hip, K knee, A ankle,
# F tip of the foot.
MMM21 = tree(
    "mmm21",
    """
    root -, BP root, BT BP, BLN BT, BUN BLN
    LS BT, LE LS, LW LE
    RS BT, RE RS, RW RE
    LH root, LK LH, LA LK, LMrot LA, LF LMrot
    RH root, RK RH, RA RK, RMrot RA, RF RMrot
    """,
    {
        "spine_base": "root",
        "spine_mid": between("root", "BLN"),
        "spine_shoulder": between("LS", "RS"),
        "neck": "BLN",
        "head": beyond("BLN", "BUN", 0.5),
        **both_sides(
            {
                "shoulder_{s}": "{S1}S",
                "elbow_{s}": "{S1}E",
                "wrist_{s}": "{S1}W",
                "hip_{s}": "{S1}H",
                "knee_{s}": "{S1}K",
                "ankle_{s}": "{S1}A",
                "foot_{s}": between("{S1}A", "{S1}F", 0.75),
            }
        ),
        **_ENDS,
    },
)


def _xsens_limbs(side: str) -> dict[str, str | Weights]:
    elbow, wrist, end = f"{side}ForeArm", f"{side}Hand", side.lower()
    return {
        f"shoulder_{end}": f"{side}UpperArm",
        f"elbow_{end}": elbow,
        f"wrist_{end}": wrist,
        f"hand_{end}": beyond(elbow, wrist, 0.3),
        f"hand_tip_{end}": beyond(elbow, wrist, 0.6),
        f"hip_{end}": f"{side}UpperLeg",
        f"knee_{end}": f"{side}LowerLeg",
        f"ankle_{end}": f"{side}Foot",
        f"foot_{end}": f"{side}Toe",
    }


# Xsens MVN: the origin of a segment is the joint at its beginning. The right side comes first.
XSENS23 = tree(
    "xsens23",
    """
    Pelvis -, L5 Pelvis, L3 L5, T12 L3, T8 T12, Neck T8, Head Neck
    RightShoulder T8, RightUpperArm RightShoulder, RightForeArm RightUpperArm, RightHand RightForeArm
    LeftShoulder T8, LeftUpperArm LeftShoulder, LeftForeArm LeftUpperArm, LeftHand LeftForeArm
    RightUpperLeg Pelvis, RightLowerLeg RightUpperLeg, RightFoot RightLowerLeg, RightToe RightFoot
    LeftUpperLeg Pelvis, LeftLowerLeg LeftUpperLeg, LeftFoot LeftLowerLeg, LeftToe LeftFoot
    """,
    {
        "spine_base": "Pelvis",
        "spine_mid": "T12",
        "spine_shoulder": between("LeftUpperArm", "RightUpperArm"),
        "neck": "Neck",
        "head": beyond("Neck", "Head", 0.7),
        **_xsens_limbs("Left"),
        **_xsens_limbs("Right"),
    },
)

TABLES = (NTU25, KINECT20, AZURE32, CMU31, SBU15)
SUITS = (MMM21, XSENS23)
