"""Joint names of many tools: each rig is the same body, and nameless ones are told by their shape."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from rig_helpers import PARENTS, RIGS, SLOTS, body

from mamp.errors import LayoutError
from mamp.layouts import MODEL_LAYOUT, Layout, find_layout
from mamp.readers import load
from mamp.skeleton import Skeleton

EXPECTED = {
    "shoulder": "upper_arm", "elbow": "forearm", "wrist": "hand", "hip": "thigh", "knee": "shin", "ankle": "foot",
    "foot": "toe",
}  # fmt: skip


def model(layout: Layout, poses: np.ndarray) -> np.ndarray:
    return Skeleton(poses, layout).to_layout(MODEL_LAYOUT).positions[0, 0]


def check(layout: Layout, names: list[str]) -> None:
    """Limbs start where they should, and the whole body is that of the best-known names."""
    said = layout.describe(MODEL_LAYOUT)
    for side in ("left", "right"):
        for joint, slot in EXPECTED.items():
            assert said[f"{joint}_{side}"] == f"taken from {names[SLOTS.index(f'{slot}_{side}')]}"
    reference = model(find_layout(RIGS["HumanIK"], PARENTS, body()), body())
    np.testing.assert_allclose(model(layout, body()), reference, atol=1e-6)


@pytest.mark.parametrize("tool", RIGS)
def test_every_rig_is_the_same_body(tool: str) -> None:
    names = RIGS[tool]
    layout = find_layout(names, PARENTS, body())
    assert layout.name == "bvh" and layout.joints == tuple(names)
    check(layout, names)
    assert len(layout.pairs) == 10


@pytest.mark.parametrize("tool", [tool for tool in RIGS if "Rigify" not in tool])
def test_names_alone_suffice(tool: str) -> None:
    names = RIGS[tool]
    said = find_layout(names).describe(MODEL_LAYOUT)
    whole = find_layout(names, PARENTS, body()).describe(MODEL_LAYOUT)
    assert {joint: how for joint, how in said.items() if how != whole[joint]} == {}


def test_a_joint_by_its_own_name_first() -> None:
    sides = ("left", "right")
    names = ["spine_base", "spine_mid", "spine_shoulder", "neck", "head"]
    parts = ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "foot")
    names += [f"{part}_{side}" for side in sides for part in parts]
    said = find_layout(names).describe(MODEL_LAYOUT)
    assert {joint: said[joint] for joint in names} == {joint: f"taken from {joint}" for joint in names}
    renamed = ["hips" if name == "spine_base" else name for name in names if name != "spine_shoulder"]
    said = find_layout(renamed).describe(MODEL_LAYOUT)
    assert said["ankle_left"] == "taken from ankle_left" and said["wrist_right"] == "taken from wrist_right"
    assert said["spine_shoulder"] == "taken from neck" and said["spine_mid"] == "taken from spine_mid"


@pytest.mark.parametrize("turned", [0, 1, 2])
def test_nameless_rigs_are_told_by_their_shape(turned: int, caplog: pytest.LogCaptureFixture) -> None:
    order = np.random.default_rng(turned).permutation(len(SLOTS))
    parents = [int(np.flatnonzero(order == PARENTS[i])[0]) if PARENTS[i] >= 0 else -1 for i in order]
    names = [f"bone{number}" + "_end" * ("end" in SLOTS[i]) for number, i in enumerate(order)]
    poses = np.roll(body()[:, order], turned, axis=-1)  # any axis may be up
    with caplog.at_level(logging.WARNING):
        layout = find_layout(names, parents, poses)
    assert layout.name == "tree" and "the tree of the joints and the shape of the body say" in caplog.text
    reference = np.roll(model(find_layout(RIGS["HumanIK"], PARENTS, body()), body()), turned, axis=-1)
    np.testing.assert_allclose(model(layout, poses), reference, atol=1e-6)


def test_what_is_no_body_is_not_made_one() -> None:
    names = [f"bone{number}" for number in range(6)]
    chain = np.cumsum(np.ones((1, 6, 3)), axis=1)
    with pytest.raises(ValueError, match="joint names not understood"):
        find_layout(names, [-1, 0, 1, 2, 3, 4], chain)


def test_a_neck_in_the_chest_is_none() -> None:
    """As in the BVH files of CMU's data: Neck at the place of the last spine joint, Neck1 where the neck begins."""
    names, parents, poses = list(RIGS["HumanIK"]), list(PARENTS), body()
    neck, chest = names.index("Neck"), names.index("Spine1")
    names[neck] = "Neck1"
    low_names = [*names, "Neck"]
    low_parents = [*parents, chest]
    low_parents[neck] = len(names)
    low = np.concatenate([poses, poses[:, [chest]]], axis=1)
    reference = model(find_layout(RIGS["HumanIK"], parents, poses), poses)
    np.testing.assert_allclose(model(find_layout(low_names, low_parents, low), low), reference, atol=1e-6)
    low_names[neck] = "NeckEffector"
    said = find_layout(low_names, low_parents, low).describe(MODEL_LAYOUT)
    assert said["spine_shoulder"] == "between LeftArm and RightArm"


def test_ends_without_length_say_nothing() -> None:
    names, poses = RIGS["HumanIK"], body()
    head, end = names.index("Head"), names.index("Head_end")
    toe = [names.index(f"{side}ToeBase") for side in ("Left", "Right")]
    whole = model(find_layout(names, PARENTS, poses), poses)
    poses[:, end] = poses[:, head]
    poses[:, [names.index(f"{side}ToeBase_end") for side in ("Left", "Right")]] = poses[:, toe]
    found = model(find_layout(names, PARENTS, poses), poses)
    assert np.linalg.norm(found - whole, axis=-1).max() < 0.03
    flat = [name.replace("ToeBase_end", "Site").replace("ToeBase", "Foot_end") for name in names]
    poses[:, toe] = poses[:, [names.index(f"{side}Foot") for side in ("Left", "Right")]]
    assert find_layout(flat, PARENTS, poses).describe(MODEL_LAYOUT)["foot_left"] == "absent"


def test_nameless_arrays_with_parents(tmp_path: Path) -> None:
    joints = [f"bone{number}" for number in range(len(SLOTS))]
    np.savez(tmp_path / "a.npz", positions=body(), joints=joints, parents=PARENTS, fps=30)
    assert load(tmp_path / "a.npz").layout.name == "tree"
    for parents in ([1, 0, *PARENTS[2:]], [99, *PARENTS[1:]], [-5, *PARENTS[1:]]):
        np.savez(tmp_path / "b.npz", positions=body(), joints=joints, parents=parents)
        with pytest.raises(LayoutError, match="parents must be -1 or an index below 26, without a cycle"):
            load(tmp_path / "b.npz")


def test_joints_that_are_never_seen_spoil_nothing() -> None:
    """No frame is whole: hands and one toe are never tracked."""
    names, poses = RIGS["HumanIK"], np.repeat(body(), 3, axis=0)
    whole = find_layout(names, PARENTS, poses).describe(MODEL_LAYOUT)
    for joint in ("LeftHand_end", "RightHand_end", "LeftToeBase_end"):
        poses[:, names.index(joint)] = np.nan
    assert find_layout(names, PARENTS, poses).describe(MODEL_LAYOUT) == whole
    assert find_layout(names, PARENTS, poses * np.nan).describe(MODEL_LAYOUT) == whole
