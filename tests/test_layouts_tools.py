"""The layouts of pose tools: joint orders as their documentation gives them, and where the body's joints end up."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mamp import Skeleton, get_layout
from mamp.layouts import MODEL_LAYOUT, find_layout

# Index -> joint, from the documentation of each tool; every index that a mistake could swap.
ORDERS: dict[str, dict[int, str]] = {
    "azure32": {
        0: "pelvis", 1: "spine_navel", 2: "spine_chest", 3: "neck", 4: "clavicle_left", 5: "shoulder_left",
        7: "wrist_left", 8: "hand_left", 9: "handtip_left", 10: "thumb_left", 11: "clavicle_right", 14: "wrist_right",
        16: "handtip_right", 17: "thumb_right", 18: "hip_left", 21: "foot_left", 22: "hip_right", 25: "foot_right",
        26: "head", 27: "nose", 28: "eye_left", 29: "ear_left", 30: "eye_right", 31: "ear_right",
    },
    "coco17": {
        0: "nose", 1: "left_eye", 2: "right_eye", 3: "left_ear", 4: "right_ear", 5: "left_shoulder",
        6: "right_shoulder", 9: "left_wrist", 10: "right_wrist", 11: "left_hip", 15: "left_ankle", 16: "right_ankle",
    },
    "body25": {
        0: "Nose", 1: "Neck", 2: "RShoulder", 4: "RWrist", 5: "LShoulder", 7: "LWrist", 8: "MidHip", 9: "RHip",
        11: "RAnkle", 12: "LHip", 14: "LAnkle", 15: "REye", 16: "LEye", 17: "REar", 18: "LEar", 19: "LBigToe",
        20: "LSmallToe", 21: "LHeel", 22: "RBigToe", 23: "RSmallToe", 24: "RHeel",
    },
    "panoptic19": {
        0: "Neck", 1: "Nose", 2: "BodyCenter", 3: "lShoulder", 5: "lWrist", 6: "lHip", 8: "lAnkle", 9: "rShoulder",
        11: "rWrist", 12: "rHip", 14: "rAnkle", 15: "lEye", 16: "lEar", 17: "rEye", 18: "rEar",
    },
    "h36m17": {
        0: "root", 1: "right_hip", 2: "right_knee", 3: "right_foot", 4: "left_hip", 6: "left_foot", 7: "spine",
        8: "thorax", 9: "neck_base", 10: "head", 11: "left_shoulder", 13: "left_wrist", 14: "right_shoulder",
        16: "right_wrist",
    },
    "mediapipe33": {
        0: "nose", 1: "left_eye_inner", 3: "left_eye_outer", 4: "right_eye_inner", 7: "left_ear", 8: "right_ear",
        9: "mouth_left", 11: "left_shoulder", 12: "right_shoulder", 15: "left_wrist", 17: "left_pinky",
        19: "left_index", 21: "left_thumb", 22: "right_thumb", 23: "left_hip", 24: "right_hip", 27: "left_ankle",
        29: "left_heel", 31: "left_foot_index", 32: "right_foot_index",
    },
    "smpl24": {
        0: "pelvis", 1: "left_hip", 2: "right_hip", 3: "spine1", 4: "left_knee", 6: "spine2", 7: "left_ankle",
        9: "spine3", 10: "left_foot", 12: "neck", 13: "left_collar", 15: "head", 16: "left_shoulder",
        18: "left_elbow", 20: "left_wrist", 21: "right_wrist", 22: "left_hand", 23: "right_hand",
    },
}  # fmt: skip

# A person who stands facing the camera with the arms hanging, in metres; left at smaller x, as Kinect sees it.
STANDING: dict[str, tuple[float, float, float]] = {
    "pelvis": (0, 0, 0), "hip": (-0.09, -0.04, 0), "knee": (-0.1, -0.45, 0), "ankle": (-0.1, -0.85, 0),
    "toe": (-0.12, -0.9, -0.16), "shoulder": (-0.17, 0.46, 0), "elbow": (-0.2, 0.18, 0.01),
    "wrist": (-0.22, -0.07, -0.03),
    "knuckle": (-0.225, -0.16, -0.04), "ear": (-0.07, 0.66, 0), "thumb": (-0.2, -0.12, -0.05),
    "tip": (-0.23, -0.24, -0.05), "neck": (0, 0.49, 0), "skull": (0, 0.58, -0.03), "crown": (0, 0.72, 0),
}  # fmt: skip
# What each tool calls these points ({s} left or right); the rest of its joints are left untracked.
CALLED: dict[str, dict[str, str]] = {
    "azure32": {
        "pelvis": "pelvis", "neck": "neck", "hip_{s}": "hip", "knee_{s}": "knee", "ankle_{s}": "ankle",
        "shoulder_{s}": "shoulder", "elbow_{s}": "elbow", "wrist_{s}": "wrist", "ear_{s}": "ear",
        "handtip_{s}": "tip", "thumb_{s}": "thumb",
    },
    "coco17": {f"{{s}}_{part}": part for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist", "ear")},
    "mediapipe33": {
        **{f"{{s}}_{part}": part for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist", "ear", "thumb")},
        "{s}_pinky": "knuckle", "{s}_index": "knuckle", "{s}_foot_index": "toe",
    },
    "smpl24": {
        **{f"{{s}}_{part}": part for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")},
        "{s}_hand": "knuckle", "pelvis": "pelvis", "neck": "neck", "head": "skull",
    },
    "h36m17": {
        **{f"{{s}}_{part}": part for part in ("hip", "knee", "shoulder", "elbow", "wrist")},
        "{s}_foot": "ankle", "root": "pelvis", "thorax": "neck", "neck_base": "skull", "head": "crown",
    },
}  # fmt: skip


def standing(name: str) -> Skeleton:
    """The standing person as this tool sees it."""
    layout = get_layout(name)
    positions = np.full((1, 2, len(layout.joints), 3), np.nan, np.float32)
    for joint, point in CALLED[name].items():
        for side, mirror in (("left", 1.0), ("right", -1.0)):
            at = np.array(STANDING[point]) * [mirror if "{s}" in joint else 0.0, 1, 1]
            positions[:, :, layout.joints.index(joint.format(s=side))] = at
    return Skeleton(positions, name)


def model_joint(recording: Skeleton, joint: str) -> NDArray[np.float32]:
    return np.asarray(recording.to_layout("ntu25").positions[0, 0, MODEL_LAYOUT.joints.index(joint)])


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_the_tool(name: str) -> None:
    joints = get_layout(name).joints
    assert {index: joints[index] for index in ORDERS[name]} == ORDERS[name]
    assert len(joints) == int(name[-2:])


def test_smpl22_is_the_beginning_of_smpl24() -> None:
    assert get_layout("smpl24").joints[:22] == get_layout("smpl22").joints
    assert get_layout("smpl24").parents[:22] == get_layout("smpl22").parents


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.parametrize("part", ["shoulder", "elbow", "wrist", "hip", "knee", "ankle"])
def test_limbs_stand_where_the_tool_saw_them(name: str, part: str) -> None:
    for side, mirror in (("left", 1), ("right", -1)):
        expected = np.array(STANDING[part]) * [mirror, 1, 1]
        np.testing.assert_allclose(model_joint(standing(name), f"{part}_{side}"), expected, atol=1e-6)


@pytest.mark.parametrize("name", CALLED)
def test_derived_joints_are_near_the_body(name: str) -> None:
    """Within a few centimetres of the place of Kinect's joints on this body."""
    recording = standing(name)
    near = {"spine_base": (0, 0, 0), "spine_shoulder": (0, 0.48, 0), "neck": (0, 0.55, 0), "head": (0, 0.66, 0)}
    for joint, place in near.items():
        if name == "smpl24" and joint == "head":  # needs spine3, which this body leaves out
            continue
        assert np.linalg.norm(model_joint(recording, joint) - place) < 0.05, joint
    hand, tip = model_joint(recording, "hand_left"), model_joint(recording, "hand_tip_left")
    if name != "azure32":
        assert np.linalg.norm(hand - (-0.225, -0.145, -0.04)) < 0.03
    assert np.linalg.norm(tip - STANDING["tip"]) < 0.04


@pytest.mark.parametrize(
    "name, absent",
    [
        ("azure32", set()),
        ("mediapipe33", set()),
        ("body25", {"thumb"}),
        ("smpl22", {"thumb"}),
        ("smpl24", {"thumb"}),
        ("coco17", {"thumb", "foot"}),
        ("panoptic19", {"thumb", "foot"}),
        ("h36m17", {"thumb", "foot"}),
    ],
)
def test_what_cannot_be_had_is_absent(name: str, absent: set[str]) -> None:
    expected = {f"{part}_{side}" for part in absent for side in ("left", "right")}
    assert set(get_layout(name).absent(MODEL_LAYOUT)) == expected
    said = get_layout(name).describe(MODEL_LAYOUT)
    assert {joint for joint, how in said.items() if how == "absent"} == expected


def test_describe_more_than_two_joints() -> None:
    said = get_layout("coco17").describe(MODEL_LAYOUT)
    assert said["spine_mid"] == "between left_shoulder, right_shoulder, left_hip and right_hip"
    assert get_layout("mediapipe33").describe(MODEL_LAYOUT)["hand_tip_left"].startswith("extrapolated from left_wrist,")


# --- joint names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ORDERS)
def test_names_in_other_spellings(name: str) -> None:
    layout = get_layout(name)
    for spelled in (str.upper, lambda joint: joint.replace("_", " "), lambda joint: joint.title().replace("_", "")):
        found = find_layout([spelled(joint) for joint in layout.joints])
        assert (found.name, found.joints) == (name, layout.joints)


def test_azure_spells_its_navel_both_ways() -> None:
    joints = [joint.upper().replace("NAVEL", "NAVAL") for joint in get_layout("azure32").joints]
    assert "SPINE_NAVAL" in joints and find_layout(joints).name == "azure32"


def test_mixamo_without_a_colon() -> None:
    """As three.js and glTF exports write it; some have a number after the prefix."""
    bones = ["Hips", "Spine", "Spine1", "Spine2", "Neck", "Head", "HeadTop_End"]
    for side in ("Left", "Right"):
        bones += [side + bone for bone in ["Shoulder", "Arm", "ForeArm", "Hand", "HandThumb2", "HandMiddle1"]]
        bones += [side + bone for bone in ["UpLeg", "Leg", "Foot", "ToeBase", "Toe_End"]]
    plain = find_layout(["mixamorig:" + bone for bone in bones])
    for prefix in ("mixamorig", "mixamorig9", "mixamorig1:"):
        found = find_layout([prefix + bone for bone in bones])
        np.testing.assert_array_equal(found.conversion(MODEL_LAYOUT), plain.conversion(MODEL_LAYOUT))
        assert not found.absent(MODEL_LAYOUT)
    assert plain.describe(MODEL_LAYOUT)["head"] == "between mixamorig:Head and mixamorig:HeadTop_End"


def test_keypoint_names_without_pelvis_and_spine() -> None:
    """A subset of COCO's names: the middle of hips, shoulders and ears stand for the trunk."""
    names = [joint for joint in get_layout("coco17").joints if "eye" not in joint]
    said = find_layout(names).describe(MODEL_LAYOUT)
    assert said["spine_base"] == "between left_shoulder, right_shoulder, left_hip and right_hip"
    assert said["spine_shoulder"] == "between left_shoulder and right_shoulder"
    assert said["head"] == "between left_ear and right_ear"
