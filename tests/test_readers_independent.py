"""Kinematics compared with readers that other people wrote: bvhio for BVH; ezc3d is in ``test_readers_c3d``."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from test_readers_mocap import human_bvh

from mamp.readers.bvh import forward_kinematics, parse_bvh_file

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that it imports
    import bvhio

ORDERS = {
    "ZXY": {},
    "ZYX": {"Zrotation Xrotation Yrotation": "Zrotation Yrotation Xrotation"},
    "XYZ": {"Zrotation Xrotation Yrotation": "Xrotation Yrotation Zrotation"},
    "rotations first": {
        "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation": "6 Zrotation Xrotation Yrotation Xposition "
        "Yposition Zposition"
    },
}


@pytest.mark.parametrize("changes", ORDERS.values(), ids=ORDERS)
def test_bvh(tmp_path: Path, changes: dict[str, str]):
    text = human_bvh(6, turn=(10, -20, 130))
    for old, new in changes.items():
        text = text.replace(old, new)
    path = tmp_path / "clip.bvh"
    path.write_text(text)
    motion = parse_bvh_file(path)
    ours = forward_kinematics(motion)
    root = bvhio.readAsHierarchy(str(path))
    names = [joint.name for joint in motion.joints]
    layout = [joint for joint, *_ in root.layout() if joint.Name in names]
    assert len(layout) == 16
    for frame in range(6):
        root.loadPose(frame)
        theirs = np.array([list(joint.PositionWorld) for joint in layout])
        found = ours[frame, [names.index(joint.Name) for joint in layout]]
        np.testing.assert_allclose(found, theirs, atol=1e-3, err_msg=f"frame {frame}, centimetres")
