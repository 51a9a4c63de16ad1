"""Skeleton layouts: what they map to, how they are found by names, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mamp import Layout, Skeleton, get_layout, list_layouts, register_layout
from mamp.errors import LayoutError, MAMPError
from mamp.layouts import MODEL_LAYOUT, between, beyond, find_layout
from mamp.layouts import layout as registry
from mamp.layouts.names import parse_names

NAMES = [name for name in list_layouts() if name != "bvh" and get_layout(name).body == "ntu25"]
SIDED = [joint for joint in MODEL_LAYOUT.joints if joint.endswith(("_left", "_right"))]

# Joint names as exported by common tools. Each joint stands at the start of the limb that it is named after.
MIXAMO = [
    "Hips", "Spine", "Spine1", "Spine2", "Neck", "Head", "HeadTop_End",
    "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand", "LeftHandThumb1", "LeftHandMiddle1",
    "RightShoulder", "RightArm", "RightForeArm", "RightHand", "RightHandThumb1", "RightHandMiddle1",
    "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase", "RightUpLeg", "RightLeg", "RightFoot", "RightToeBase",
]  # fmt: skip
CMU = [
    "Hips", "LHipJoint", "LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase",
    "RHipJoint", "RightUpLeg", "RightLeg", "RightFoot", "RightToeBase", "LowerBack", "Spine", "Spine1", "Neck", "Neck1",
    "Head", "LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand", "LeftFingerBase", "LeftHandIndex1", "LThumb",
    "RightShoulder", "RightArm", "RightForeArm", "RightHand", "RightFingerBase", "RightHandIndex1", "RThumb",
]  # fmt: skip
BANDAI = [
    "joint_Root", "Hips", "Spine", "Chest", "Neck", "Head",
    "Shoulder_L", "UpperArm_L", "LowerArm_L", "Hand_L", "Shoulder_R", "UpperArm_R", "LowerArm_R", "Hand_R",
    "UpperLeg_L", "LowerLeg_L", "Foot_L", "Toes_L", "UpperLeg_R", "LowerLeg_R", "Foot_R", "Toes_R",
]  # fmt: skip
DAZ = [
    "hip", "abdomen", "chest", "neck", "head", "lCollar", "lShldr", "lForeArm", "lHand",
    "rCollar", "rShldr", "rForeArm", "rHand", "lThigh", "lShin", "lFoot", "rThigh", "rShin", "rFoot",
]  # fmt: skip
UPPER = [
    "PELVIS", "SPINE1", "CHEST", "NECK", "HEAD", "LEFT_SHOULDER", "LEFT_ELBOW", "LEFT_WRIST", "RIGHT_SHOULDER",
    "RIGHT_ELBOW", "RIGHT_WRIST", "LEFT_HIP", "LEFT_KNEE", "LEFT_ANKLE", "RIGHT_HIP", "RIGHT_KNEE", "RIGHT_ANKLE",
]  # fmt: skip
STYLES: dict[str, tuple[list[str], dict[str, str]]] = {
    "mixamo": (
        ["mixamorig:" + name for name in MIXAMO],
        {
            "spine_base": "mixamorig:Hips", "shoulder_left": "mixamorig:LeftArm", "elbow_left": "mixamorig:LeftForeArm",
            "wrist_right": "mixamorig:RightHand", "hip_left": "mixamorig:LeftUpLeg", "knee_right": "mixamorig:RightLeg",
            "ankle_left": "mixamorig:LeftFoot", "foot_left": "mixamorig:LeftToeBase",
        },
    ),
    "cmu": (
        CMU,
        {
            "spine_base": "Hips", "shoulder_right": "RightArm", "elbow_right": "RightForeArm", "wrist_left": "LeftHand",
            "hip_right": "RightUpLeg", "knee_left": "LeftLeg", "ankle_right": "RightFoot", "foot_right": "RightToeBase",
            "thumb_left": "LThumb", "spine_shoulder": "Neck",
        },
    ),
    "bandai": (
        BANDAI,
        {
            "spine_base": "Hips", "shoulder_left": "UpperArm_L", "elbow_left": "LowerArm_L", "wrist_left": "Hand_L",
            "hip_right": "UpperLeg_R", "knee_right": "LowerLeg_R", "ankle_right": "Foot_R", "foot_right": "Toes_R",
        },
    ),
    "daz": (
        DAZ,
        {
            "spine_base": "hip", "shoulder_left": "lShldr", "elbow_left": "lForeArm", "wrist_right": "rHand",
            "hip_left": "lThigh", "knee_right": "rShin", "ankle_left": "lFoot",
        },
    ),
    "upper case": (
        UPPER,
        {
            "spine_base": "PELVIS", "shoulder_left": "LEFT_SHOULDER", "elbow_left": "LEFT_ELBOW",
            "hip_right": "RIGHT_HIP", "knee_left": "LEFT_KNEE", "ankle_left": "LEFT_ANKLE",
            "wrist_right": "RIGHT_WRIST",
        },
    ),
}  # fmt: skip


def split_name(name: str) -> tuple[str, str]:
    """Side, and what remains."""
    side, text, number = parse_names([name])[0]
    return side, text if number is None else f"{text}{number}"


@pytest.fixture
def own_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Registrations of a test vanish after it."""
    monkeypatch.setattr(registry, "REGISTRY", dict(registry.REGISTRY))
    yield


def pose(layout: Layout, seed: int = 0) -> NDArray[np.float32]:
    """Any pose [1, 4, V, 3]."""
    return np.random.default_rng(seed).normal(size=(1, 4, len(layout.joints), 3)).astype(np.float32)


# --- every registered layout ----------------------------------------------------------------------------------------


def test_the_layouts_that_the_api_names() -> None:
    named = "ntu25 kinect20 azure32 coco17 body25 h36m17 smpl22 smpl24 mediapipe33 cmu31 panoptic19 bvh"
    assert set(named.split()) <= set(list_layouts())
    assert list_layouts() == sorted(set(list_layouts()))
    assert MODEL_LAYOUT is get_layout("ntu25") and len(MODEL_LAYOUT.joints) == 25


@pytest.mark.parametrize("name", NAMES)
def test_conversion_gives_the_body(name: str) -> None:
    layout = get_layout(name)
    assert layout.name == name
    weights = layout.conversion(MODEL_LAYOUT)
    assert weights.shape == (25, len(layout.joints)) and weights.dtype == np.float32
    total = weights.sum(axis=1)
    assert np.all((abs(total - 1) < 1e-6) | (abs(weights).sum(axis=1) == 0)), "weights of a joint add up to one"
    limbs = ("shoulder", "elbow", "hip", "knee")
    needed = ["spine_base", *(f"{part}_{side}" for part in limbs for side in ("left", "right"))]
    assert all(total[MODEL_LAYOUT.joints.index(joint)] == pytest.approx(1) for joint in needed)


@pytest.mark.parametrize("name", NAMES)
def test_conversion_moves_with_the_body(name: str) -> None:
    layout = get_layout(name)
    x, shift = pose(layout), np.array([1.5, -2.0, 0.3], np.float32)
    here, there = Skeleton(x, name).to_layout("ntu25"), Skeleton(x + shift, name).to_layout("ntu25")
    np.testing.assert_allclose(there.positions, here.positions + shift, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_left_stays_left(name: str) -> None:
    """Mirroring before the conversion is mirroring after it."""
    layout = get_layout(name)
    x = pose(layout)

    def mirrored(positions: NDArray[np.float32], of: Layout) -> NDArray[np.float32]:
        order = list(range(len(of.joints)))
        for left, right in of.pairs:
            i, j = of.joints.index(left), of.joints.index(right)
            order[i], order[j] = j, i
        return positions[:, :, order] * np.array([-1, 1, 1], np.float32)

    after = mirrored(Skeleton(x, name).to_layout("ntu25").positions, MODEL_LAYOUT)
    before = Skeleton(mirrored(x, layout), name).to_layout("ntu25").positions
    np.testing.assert_allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_left_joints_come_from_left_joints(name: str) -> None:
    layout = get_layout(name)
    if name == "ntu25":
        assert all(layout.describe(layout)[joint] == f"taken from {joint}" for joint in layout.joints)
        return
    lefts, rights = {left for left, _ in layout.pairs}, {right for _, right in layout.pairs}
    assert not lefts & rights
    weights = layout.conversion(MODEL_LAYOUT)
    for joint in SIDED:
        used = {layout.joints[i] for i in np.flatnonzero(weights[MODEL_LAYOUT.joints.index(joint)])}
        own, other = (lefts, rights) if joint.endswith("left") else (rights, lefts)
        assert not used & other, joint
        assert used & own or not used, joint


@pytest.mark.parametrize("name", NAMES)
def test_pairs_and_parents(name: str) -> None:
    layout = get_layout(name)
    assert all(left in layout.joints and right in layout.joints for left, right in layout.pairs)
    assert len({joint for pair in layout.pairs for joint in pair}) == 2 * len(layout.pairs)
    for left, right in layout.pairs:
        up = [layout.parents[layout.joints.index(joint)] for joint in (left, right)]
        parents = [layout.joints[i] if i >= 0 else None for i in up]
        assert parents[0] == parents[1] or tuple(parents) in layout.pairs, "a pair hangs on a pair, or on one joint"
    assert layout.parents.count(-1) >= 1


def test_pairs_of_the_model() -> None:
    expected = {(joint, joint.replace("left", "right")) for joint in SIDED if "left" in joint}
    assert set(MODEL_LAYOUT.pairs) == expected and len(expected) == 10


def test_describe() -> None:
    said = get_layout("kinect20").describe(MODEL_LAYOUT)
    assert list(said) == list(MODEL_LAYOUT.joints)
    assert said["head"] == "taken from head"
    assert said["neck"] == "between shoulder_center and head"
    assert said["hand_tip_left"] == "extrapolated from wrist_left and hand_left"
    part = Layout("part", ("a", "b"), (-1, 0), mapping={"head": "a"})
    assert part.describe(MODEL_LAYOUT)["neck"] == "absent"


def test_conversion_by_hand() -> None:
    x = pose(get_layout("kinect20"))
    joints = get_layout("kinect20").joints
    found = Skeleton(x, "kinect20").to_layout("ntu25").positions[:, :, MODEL_LAYOUT.joints.index("hand_tip_right")]
    wrist, hand = (x[:, :, joints.index(name)] for name in ("wrist_right", "hand_right"))
    np.testing.assert_allclose(found, hand + 0.8 * (hand - wrist), atol=1e-5)


def test_between_and_beyond() -> None:
    assert between("a", "b", 0.25) == {"a": 0.75, "b": 0.25}
    assert beyond("a", "b", 0.5) == {"a": -0.5, "b": 1.5}


def test_missing_joints_stay_missing_and_spoil_nothing_else() -> None:
    layout = get_layout("kinect20")
    x = pose(layout)
    x[0, 1, layout.joints.index("hand_left")] = np.nan
    found = Skeleton(x, layout).to_layout("ntu25").tracked[0, 1]
    missing = {MODEL_LAYOUT.joints[i] for i in np.flatnonzero(~found)}
    assert missing == {"hand_left", "hand_tip_left", "thumb_left"}


def test_confidence_follows_the_joints() -> None:
    layout = get_layout("kinect20")
    confidence = np.ones((1, 4, 20), np.float32)
    confidence[:, :, layout.joints.index("head")] = 0.5
    found = Skeleton(pose(layout), layout, confidence=confidence).to_layout("ntu25").confidence
    assert found is not None and found.shape == (1, 4, 25)
    by_name = dict(zip(MODEL_LAYOUT.joints, found[0, 0].tolist(), strict=True))
    assert by_name["head"] == pytest.approx(0.5) and by_name["neck"] == pytest.approx(0.6 + 0.4 * 0.5)
    assert by_name["knee_left"] == pytest.approx(1)


# --- finding a layout by joint names --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_found_in_any_order(name: str) -> None:
    layout = get_layout(name)
    order = np.random.default_rng(1).permutation(len(layout.joints))
    shuffled = [layout.joints[i] for i in order]
    found = find_layout(shuffled)
    assert found.name == name and found.joints == tuple(shuffled)
    for joint in layout.joints:
        parent, same = (of.parents[of.joints.index(joint)] for of in (layout, found))
        assert (parent, same) == (-1, -1) or layout.joints[parent] == found.joints[same]
    x = pose(layout)
    expected = Skeleton(x, name).to_layout("ntu25").positions
    np.testing.assert_allclose(Skeleton(x[:, :, order], shuffled).to_layout("ntu25").positions, expected, atol=1e-6)


@pytest.mark.parametrize("style", STYLES)
def test_names_of_common_tools(style: str) -> None:
    names, expected = STYLES[style]
    layout = find_layout(names)
    assert layout.name == "bvh" and layout.joints == tuple(names)
    said = layout.describe(MODEL_LAYOUT)
    assert {joint: said[joint] for joint in expected} == {j: f"taken from {name}" for j, name in expected.items()}
    absent = {joint for joint, how in said.items() if how == "absent"}
    assert absent <= {"foot_left", "foot_right"}, "everything but the toes can be had"
    assert absent == (set() if style in ("mixamo", "cmu", "bandai") else {"foot_left", "foot_right"})
    weights = layout.conversion(MODEL_LAYOUT)
    for joint in SIDED:
        side, other = ("left", "right") if joint.endswith("left") else ("right", "left")
        used = [layout.joints[i] for i in np.flatnonzero(weights[MODEL_LAYOUT.joints.index(joint)])]
        assert all(split_name(name)[0] == side != other for name in used), joint


@pytest.mark.parametrize("style", STYLES)
def test_pairs_of_common_tools(style: str) -> None:
    names, _ = STYLES[style]
    pairs = find_layout(names).pairs
    sided = [name for name in names if split_name(name)[0]]
    assert {name for pair in pairs for name in pair} == set(sided), "every joint with a side has its other one"
    assert all((split_name(a)[0], split_name(b)[0]) == ("left", "right") for a, b in pairs)
    assert all(split_name(a)[1] == split_name(b)[1] for a, b in pairs)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("LeftUpLeg", ("left", "upleg")),
        ("mixamorig:RightHand", ("right", "hand")),
        ("UpperLeg_L", ("left", "upperleg")),
        ("lThigh", ("left", "thigh")),
        ("rShldr", ("right", "shldr")),
        ("Bip01 R Calf", ("right", "calf")),
        ("RIGHT_KNEE", ("right", "knee")),
        ("left_elbow", ("left", "elbow")),
        ("Spine1", ("", "spine1")),
        ("LowerBack", ("", "lowerback")),
        ("Root", ("", "root")),
        ("Reference", ("", "reference")),
    ],
)
def test_split_name(name: str, expected: tuple[str, str]) -> None:
    assert split_name(name) == expected


def test_parents_of_matched_names() -> None:
    names, _ = STYLES["daz"]
    tree = [-1, 0, 1, 2, 3, 2, 5, 6, 7, 2, 9, 10, 11, 0, 13, 14, 0, 16, 17]
    assert find_layout(names, tree).parents == tuple(tree)


def test_names_that_are_no_body() -> None:
    with pytest.raises(
        LayoutError, match=r"joint names not understood: .*left_shoulder.*left_knee.*Found the names a, b"
    ) as e:
        find_layout(["a", "b"])
    assert isinstance(e.value, MAMPError) and "register_layout" in str(e.value)
    half = [name for name in MIXAMO if "Leg" not in name]
    with pytest.raises(LayoutError, match=r"recognised as left_hip, right_hip, left_knee, right_knee\."):
        find_layout(half)


def test_unknown_name() -> None:
    with pytest.raises(LayoutError, match=r"unknown layout 'kinect25'\. Did you mean 'kinect20'.*Known: .*ntu25"):
        get_layout("kinect25")
    for name in ("bvh", "mixamo"):
        with pytest.raises(LayoutError, match=f"'{name}' is matched by joint names: give the list of joint names"):
            get_layout(name)


# --- registering ----------------------------------------------------------------------------------------------------

MINE: dict[str, Any] = {
    "joints": ["root", "l_hip", "r_hip", "top"],
    "mapping": {"spine_base": "root", "hip_left": "l_hip", "hip_right": "r_hip", "neck": {"root": 0.3, "top": 0.7}},
}


@pytest.mark.usefixtures("own_names")
def test_register() -> None:
    layout = register_layout("mine", **MINE, parents=[-1, 0, 0, 0])
    assert "mine" in list_layouts() and get_layout("mine") is layout
    assert layout.pairs == (("l_hip", "r_hip"),)
    x = pose(layout)
    found = Skeleton(x, "mine").to_layout("ntu25").positions
    neck = found[:, :, MODEL_LAYOUT.joints.index("neck")]
    np.testing.assert_allclose(neck, 0.3 * x[:, :, 0] + 0.7 * x[:, :, 3], atol=1e-6)
    assert np.isnan(found[:, :, MODEL_LAYOUT.joints.index("head")]).all()


@pytest.mark.usefixtures("own_names")
def test_name_taken() -> None:
    first = register_layout("mine", **MINE)
    for name in ("mine", "ntu25"):
        with pytest.raises(LayoutError, match=f"layout '{name}' exists; choose another name, or pass overwrite=True"):
            register_layout(name, **MINE)
    for name in ("bvh", "mixamo"):  # they stand for names that are matched, and cannot be replaced
        with pytest.raises(LayoutError, match=rf"layout '{name}' exists; choose another name\."):
            register_layout(name, **MINE, overwrite=True)
    assert get_layout("mine") is first
    assert register_layout("mine", **MINE, overwrite=True) is get_layout("mine") is not first


@pytest.mark.usefixtures("own_names")
@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"mapping": {"hip_lefd": "l_hip"}},
            r"mapping names hip_lefd, not joints of the model. Did you mean 'hip_left'",
        ),
        ({"mapping": {"neck": "nose"}}, r"mapping\['neck'\] names the joint 'nose', which is not one of root, l_hip"),
        ({"mapping": {"neck": {"root": 0.3, "top": 0.3}}}, r"mapping\['neck'\] add up to 0.6; expected 1"),
        ({"mapping": {"neck": {}}}, r"mapping\['neck'\] add up to 0; expected 1"),
        ({"mapping": {}}, r"the mapping is empty"),
        ({"joints": ["root", "root", "l_hip", "r_hip", "top"]}, r"each once; found \['root'\]"),
        ({"joints": [], "mapping": {"neck": "top"}}, r"expected joint names, each once; found none"),
        ({"parents": [-1, 0]}, r"4 joints need as many parents, found 2"),
        ({"parents": [-1, 0, 0, 9]}, r"parents must be -1 or an index below 4, without a cycle"),
        ({"parents": [1, 0, 0, 0]}, r"without a cycle"),
        ({"parents": [-2, 0, 0, 0]}, r"parents must be -1 or an index"),
        ({"pairs": [("l_hip", "hip")]}, r"pairs names the joint 'hip'"),
    ],
)
def test_register_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        register_layout("mine", **{**MINE, **changes})
    assert "mine" not in list_layouts()


@pytest.mark.usefixtures("own_names")
def test_registering_says_what_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="mamp.layouts"):
        register_layout("mine", **MINE)
    derived, absent = caplog.records
    assert (derived.levelname, absent.levelname) == ("INFO", "WARNING")
    assert "derives 1 of the model's joints: neck between root and top." in derived.getMessage()
    assert (
        "gives 4 of the model's 25 joints; absent from every recording in it: spine_mid, head," in absent.getMessage()
    )


@pytest.mark.usefixtures("own_names")
def test_registering_a_whole_body_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    joints = [f"my_{joint}" for joint in MODEL_LAYOUT.joints]
    with caplog.at_level(logging.INFO, logger="mamp.layouts"):
        register_layout("whole", joints, dict(zip(MODEL_LAYOUT.joints, joints, strict=True)))
    assert not caplog.records and "whole" in registry.REGISTRY


def test_no_way_between_two_layouts() -> None:
    with pytest.raises(LayoutError, match=r"layout 'ntu25' has no mapping to 'kinect20'. Register it"):
        MODEL_LAYOUT.conversion(get_layout("kinect20"))
