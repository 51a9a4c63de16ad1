"""Layouts of pose estimators and of the SMPL body models, in their own joint order.

Image keypoints have no pelvis and spine; these are placed between the midpoints of hips and shoulders, and the head
between the ears. If a layout ends at the wrist, hand and finger tips extend the forearm in a straight line. Joints that
nothing determines are absent: the thumb in such a layout, and the foot in one that ends at the ankle.
"""

from __future__ import annotations

from mamp.layouts.layout import Weights, between, beyond, both_sides, tree


def _trunk(hips: str | Weights, shoulders: str | Weights, head: str | Weights) -> dict[str, str | Weights]:
    """Spine and head of the model from the midpoints of hips, shoulders and head.

    The base of the spine lies above the hips, by 0 to 0.26 of the trunk in recordings of Kinect and motion capture.
    """
    base = between(hips, shoulders, 0.1)
    return {
        "spine_base": base,
        "spine_mid": between(base, shoulders),
        "spine_shoulder": shoulders,
        "neck": between(shoulders, head, 0.4),
        "head": head,
    }


def _limbs(pattern: str, parts: str = "shoulder elbow wrist hip knee ankle") -> dict[str, str | Weights]:
    """Limbs without hands and feet; ``pattern`` gives the name of a joint, with ``*`` for one of its ``parts``."""
    shoulder, elbow, wrist, hip, knee, ankle = (pattern.replace("*", part) for part in parts.split())
    return both_sides(
        {
            "shoulder_{s}": shoulder,
            "elbow_{s}": elbow,
            "wrist_{s}": wrist,
            "hand_{s}": beyond(elbow, wrist, 0.3),
            "hand_tip_{s}": beyond(elbow, wrist, 0.6),
            "hip_{s}": hip,
            "knee_{s}": knee,
            "ankle_{s}": ankle,
        }
    )


_CAPITALS = "Shoulder Elbow Wrist Hip Knee Ankle"

# COCO keypoints (MMPose, Detectron2, YOLO pose, MoveNet, ViTPose).
COCO17 = tree(
    "coco17",
    """
    nose -, left_eye nose
    right_eye nose, left_ear left_eye, right_ear right_eye, left_shoulder nose, right_shoulder nose
    left_elbow left_shoulder, right_elbow right_shoulder, left_wrist left_elbow, right_wrist right_elbow
    left_hip left_shoulder, right_hip right_shoulder, left_knee left_hip, right_knee right_hip, left_ankle left_knee
    right_ankle right_knee
    """,
    {
        **_trunk(
            between("left_hip", "right_hip"),
            between("left_shoulder", "right_shoulder"),
            between("left_ear", "right_ear"),
        ),
        **_limbs("{s}_*"),
    },
)

# OpenPose BODY_25, with OpenPose's names. Its neck is the middle of the shoulders.
BODY25 = tree(
    "body25",
    """
    Nose Neck
    Neck MidHip, RShoulder Neck, RElbow RShoulder, RWrist RElbow
    LShoulder Neck, LElbow LShoulder, LWrist LElbow
    MidHip -, RHip MidHip, RKnee RHip, RAnkle RKnee
    LHip MidHip, LKnee LHip, LAnkle LKnee
    REye Nose, LEye Nose, REar REye, LEar LEye, LBigToe LAnkle, LSmallToe LAnkle, LHeel LAnkle, RBigToe RAnkle
    RSmallToe RAnkle, RHeel RAnkle
    """,
    {
        **_trunk("MidHip", "Neck", between("LEar", "REar")),
        **_limbs("{S1}*", _CAPITALS),
        **both_sides({"foot_{s}": between("{S1}Ankle", between("{S1}BigToe", "{S1}SmallToe"), 0.75)}),
    },
)

# CMU Panoptic Studio, "coco19", with the names of its toolbox. The order is not that of OpenPose.
PANOPTIC19 = tree(
    "panoptic19",
    """
    Neck BodyCenter, Nose Neck
    BodyCenter -
    lShoulder Neck, lElbow lShoulder, lWrist lElbow
    lHip BodyCenter, lKnee lHip, lAnkle lKnee
    rShoulder Neck, rElbow rShoulder, rWrist rElbow
    rHip BodyCenter, rKnee rHip, rAnkle rKnee
    lEye Nose, lEar lEye
    rEye Nose, rEar rEye
    """,
    {
        **_trunk("BodyCenter", "Neck", between("lEar", "rEar")),
        **_limbs("{s1}*", _CAPITALS),
    },
)

# Human3.6M, the 17 joints of lifters to 3D (VideoPose3D, MotionBERT, MMPose): the right leg comes first, but the left
# arm. The thorax is the foot of the neck, neck_base is its top, at the height of the chin, the head joint is the crown,
# and what the data set calls a foot is the ankle.
H36M17 = tree(
    "h36m17",
    """
    root -, right_hip root, right_knee right_hip, right_foot right_knee
    left_hip root, left_knee left_hip, left_foot left_knee
    spine root, thorax spine, neck_base thorax, head neck_base
    left_shoulder thorax, left_elbow left_shoulder, left_wrist left_elbow
    right_shoulder thorax, right_elbow right_shoulder, right_wrist right_elbow
    """,
    {
        "spine_base": "root",
        "spine_mid": "spine",
        "spine_shoulder": "thorax",
        "neck": between("thorax", "neck_base", 0.6),
        "head": between("neck_base", "head", 0.7),
        **_limbs("{s}_*", "shoulder elbow wrist hip knee foot"),
    },
)

# MediaPipe Pose (BlazePose) landmarks. Index and little finger are the knuckles, the foot index is the tip of the foot.
_KNUCKLES = between("{s}_index", "{s}_pinky")
MEDIAPIPE33 = tree(
    "mediapipe33",
    """
    nose -, left_eye_inner nose, left_eye left_eye_inner, left_eye_outer left_eye
    right_eye_inner nose, right_eye right_eye_inner, right_eye_outer right_eye
    left_ear left_eye_outer, right_ear right_eye_outer, mouth_left nose, mouth_right nose, left_shoulder nose
    right_shoulder nose, left_elbow left_shoulder, right_elbow right_shoulder, left_wrist left_elbow
    right_wrist right_elbow, left_pinky left_wrist, right_pinky right_wrist, left_index left_wrist
    right_index right_wrist, left_thumb left_wrist, right_thumb right_wrist, left_hip left_shoulder
    right_hip right_shoulder, left_knee left_hip, right_knee right_hip, left_ankle left_knee, right_ankle right_knee
    left_heel left_ankle, right_heel right_ankle, left_foot_index left_ankle, right_foot_index right_ankle
    """,
    {
        **COCO17.mapping,
        **both_sides(
            {
                "hand_{s}": between("{s}_wrist", _KNUCKLES, 0.8),
                "hand_tip_{s}": beyond("{s}_wrist", _KNUCKLES, 0.8),
                "thumb_{s}": "{s}_thumb",
                "foot_{s}": between("{s}_ankle", "{s}_foot_index", 0.75),
            }
        ),
    },
)

# SMPL body models; SMPL-H and SMPL-X begin with the same 22 joints. The head joint is the top of the neck, so the
# middle of the head is past it. A hand joint, which only SMPL has, is at the knuckles.
_SMPL_TREE = """
    pelvis -, left_hip pelvis
    right_hip pelvis, spine1 pelvis, left_knee left_hip, right_knee right_hip, spine2 spine1, left_ankle left_knee
    right_ankle right_knee, spine3 spine2, left_foot left_ankle, right_foot right_ankle, neck spine3
    left_collar spine3, right_collar spine3, head neck, left_shoulder left_collar, right_shoulder right_collar
    left_elbow left_shoulder, right_elbow right_shoulder, left_wrist left_elbow, right_wrist right_elbow
    """
_SMPL_BODY: dict[str, str | Weights] = {
    "spine_base": "pelvis",
    "spine_mid": "spine2",
    "spine_shoulder": "neck",
    "neck": between("neck", "head"),
    "head": beyond("spine3", "head", 0.3),
    **_limbs("{s}_*"),
    **both_sides({"foot_{s}": "{s}_foot"}),
}
SMPL22 = tree("smpl22", _SMPL_TREE, _SMPL_BODY)
SMPL24 = tree(
    "smpl24",
    _SMPL_TREE + "left_hand left_wrist\n    right_hand right_wrist",
    {
        **_SMPL_BODY,
        **both_sides({"hand_{s}": "{s}_hand", "hand_tip_{s}": beyond("{s}_wrist", "{s}_hand", 0.9)}),
    },
)

ESTIMATORS = (COCO17, BODY25, PANOPTIC19, H36M17, MEDIAPIPE33, SMPL22, SMPL24)
