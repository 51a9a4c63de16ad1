"""Layouts of body models and motion capture suits."""

from __future__ import annotations

from mamp.layouts.layout import Weights, between, beyond
from mamp.layouts.trees import both_sides, tree

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

BODIES = (MMM21, XSENS23)
