"""BVH and ASF/AMC: kinematics worked out by hand, and real files against each other."""

from __future__ import annotations

import logging
import re
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from mamp.errors import LayoutError, MissingFileError, ReadError
from mamp.layouts import Layout, find_layout, get_layout
from mamp.readers import amc, asf, bvh, load
from mamp.readers.markersets import place_joints
from mamp.skeleton import Skeleton

CMU31 = get_layout("cmu31")

CHAIN = """HIERARCHY
ROOT hip {
  OFFSET 9 9 9
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT mid
  {
    OFFSET 0 10 0
    CHANNELS 3 Xrotation Zrotation Yrotation
    JOINT top
    {
      OFFSET 0 0 5
      CHANNELS 2 Yposition Zrotation
      End Site
      {
        OFFSET 2 0 0
      }
    }
  }
}
MOTION
Frames: 4
Frame Time: 0.0333333
1 2 3 0 0 0 0 0 0 0 0
1 2 3 90 0 0 90 0 0 0 0
1 2 3 90 90 0 0 0 0 1 90
0 0 0 0 0 0 90 90 0 0 0
"""


def test_bvh_kinematics_by_hand(tmp_path):
    path = tmp_path / "chain.bvh"
    path.write_text(CHAIN)
    motion = bvh.parse_bvh_file(path)
    assert [joint.name for joint in motion.joints] == ["hip", "mid", "top", "top_end"]
    assert [joint.parent for joint in motion.joints] == [-1, 0, 1, 2]
    wanted = [
        # At rest; the position channels of the root take the place of its offset.
        [[1, 2, 3], [1, 12, 3], [1, 12, 8], [3, 12, 8]],
        # Root by 90 degrees about z: y goes to -x. Then mid by 90 about x: z goes to -y, which is x by now.
        [[1, 2, 3], [-9, 2, 3], [-4, 2, 3], [-4, 4, 3]],
        # Rz Rx: y goes to z by x, and z stays. z goes to -y by x, and -y to x. Top is 1 along y off mid, so 1 along z.
        [[1, 2, 3], [1, 2, 13], [6, 2, 14], [6, 2, 16]],
        # Rx Rz: x goes to y by z, and y to z by x; had the order been reversed, it would go to y.
        [[0, 0, 0], [0, 10, 0], [0, 5, 0], [0, 5, 2]],
    ]
    np.testing.assert_allclose(bvh.forward_kinematics(motion), wanted, atol=1e-12)


# joint, parent, offset in centimetres; a T-pose whose body is 160 cm from head to ankle.
BODY = """
Hips - 0 95 0
Spine Hips 0 20 0
Neck Spine 0 30 0
Head Neck 0 15 0
LeftArm Spine -18 25 0
LeftForeArm LeftArm -28 0 0
LeftHand LeftForeArm -25 0 0
RightArm Spine 18 25 0
RightForeArm RightArm 28 0 0
RightHand RightForeArm 25 0 0
LeftUpLeg Hips -10 -5 0
LeftLeg LeftUpLeg 0 -42 0
LeftFoot LeftLeg 0 -42 0
RightUpLeg Hips 10 -5 0
RightLeg RightUpLeg 0 -42 0
RightFoot RightLeg 0 -42 0
"""


def human_bvh(frames: int = 5, turn: tuple[float, float, float] = (0, 0, 0), frame_time: float = 1 / 60) -> str:
    rows = [line.split() for line in BODY.strip().splitlines()]

    def block(name: str) -> list[str]:
        row = next(row for row in rows if row[0] == name)
        channels = "6 Xposition Yposition Zposition" if row[1] == "-" else "3"
        inside = [f"OFFSET {' '.join(row[2:])}", f"CHANNELS {channels} Zrotation Xrotation Yrotation"]
        children = [other[0] for other in rows if other[1] == name]
        for child in children:
            inside += block(child)
        if not children:
            inside += ["End Site", "{", "OFFSET 0 8 0", "}"]
        return [f"{'ROOT' if row[1] == '-' else 'JOINT'} {name}", "{", *inside, "}"]

    rng = np.random.default_rng(0)
    lines = ["HIERARCHY", *block("Hips"), "MOTION", f"Frames: {frames}", f"Frame Time: {frame_time:.7f}"]
    for _ in range(frames):
        values = [0, 95, 0, *turn, *rng.uniform(-20, 20, size=3 * 15)]
        lines.append(" ".join(f"{value:.4f}" for value in values))
    return "\n".join(lines) + "\n"


def bone_lengths(skeleton: Skeleton) -> np.ndarray:
    """[T, V] distances to the parent; roots left out."""
    moving = [joint for joint, parent in enumerate(skeleton.layout.parents) if parent >= 0]
    parents = [skeleton.layout.parents[joint] for joint in moving]
    return np.linalg.norm(skeleton.positions[0][:, moving] - skeleton.positions[0][:, parents], axis=-1)


def test_bvh_of_a_human(tmp_path, caplog):
    path = tmp_path / "human.bvh"
    path.write_text(human_bvh())
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path)
    assert "does not say its unit; 'cm' inferred" in caplog.text
    assert (skeleton.fps, skeleton.num_frames, skeleton.layout.name) == (60.0, 5, "bvh")
    assert "Head_end" in skeleton.layout.joints and "LeftFoot_end" in skeleton.layout.joints
    lengths = bone_lengths(skeleton)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-5)
    names = [
        joint for joint, parent in zip(skeleton.layout.joints, skeleton.layout.parents, strict=True) if parent >= 0
    ]
    assert lengths[0, names.index("LeftLeg")] == pytest.approx(0.42, rel=1e-5)
    assert np.isfinite(skeleton.to_layout("ntu25").positions).all()
    # The same body standing along z.
    path.write_text(human_bvh(turn=(0, 90, 0)))
    turned = load(path)
    assert turned.info["up"] == "z"
    np.testing.assert_allclose(turned.positions[0, :, 1, 1] - turned.positions[0, :, 0, 1], 0.2, rtol=1e-4)


@pytest.mark.parametrize(("scale", "unit"), [(0.01, "m"), (10, "mm"), (1 / 2.54, "in"), (0.45 / 2.54, "asf")])
def test_bvh_unit_by_size_of_the_body(tmp_path, scale, unit):
    text = human_bvh()
    body, motion = text.split("MOTION")
    lines = [line.split() for line in body.splitlines()]
    lines = [[row[0], *(str(float(v) * scale) for v in row[1:])] if row[0] == "OFFSET" else row for row in lines]
    path = tmp_path / "human.bvh"
    path.write_text("\n".join(" ".join(row) for row in lines) + "\nMOTION" + motion.replace("95.0", f"{95 * scale}"))
    skeleton = load(path)
    assert skeleton.info["unit"] == unit
    leg = bone_lengths(skeleton)[0].max()
    assert leg == pytest.approx(0.42, rel=1e-4)


def test_bvh_line_ends_and_braces(tmp_path):
    a, b = tmp_path / "a.bvh", tmp_path / "b.bvh"
    a.write_text(human_bvh())
    b.write_bytes(b"\xef\xbb\xbf" + human_bvh().replace("\n{", " {").replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(load(a).positions, load(b).positions)


HUMAN = human_bvh()
BAD_BVH = {
    "no motion": (HUMAN.split("MOTION")[0], "found no line MOTION"),
    "cut hierarchy": (HUMAN.replace("}\nMOTION", "MOTION"), "a bracket that is never closed"),
    "cut motion": ("\n".join(HUMAN.splitlines()[:-2]), "5 frames announced, 3 found"),
    "cut row": (HUMAN[:-20], "number of columns changed from 51 to"),
    "text": (HUMAN.replace(" 95.0000", " high", 1), "could not convert string 'high'"),
    "nan": (HUMAN.replace(" 95.0000", " nan", 1), "expected numbers below .*found nan"),
    "inf": (HUMAN.replace(" 95.0000", " inf", 1), "found inf"),
    "gigantic count": (HUMAN.replace("Frames: 5", "Frames: 99999999999"), "99999999999 frames announced, 5 found"),
    "no frames": (HUMAN.replace("Frames: 5", "Frames: 0"), "announces 0"),
    "bad count": (HUMAN.replace("Frames: 5", "Frames: five"), "the number after Frames:, found 'five'"),
    "no frame time": (HUMAN.replace("Frame Time", "Rate"), "expected Frame Time:"),
    "channels": (HUMAN.replace("CHANNELS 3", "CHANNELS 4", 1), "CHANNELS of 'Spine' are malformed"),
    "channel": (HUMAN.replace("Zrotation", "Wrotation", 1), "CHANNELS of 'Hips' are malformed"),
    "more columns": (HUMAN.replace(" 95.0000", " 95.0000 1"), "expected 51 numbers a row, found 52"),
    "offset": (HUMAN.replace("OFFSET 0 20 0", "OFFSET 0 x 0"), "expected numbers for the OFFSET of 'Spine'"),
    "no offset": (HUMAN.replace("OFFSET 0 20 0\n", ""), "joint 'Spine' has no OFFSET"),
    "stray": (HUMAN.replace("OFFSET 0 20 0", "OFFSETS 0 20 0"), "malformed at 'OFFSETS 0 20 0'"),
    "other file": ("MOTION\n", "expected HIERARCHY in the first line"),
    "two roots": (HUMAN.replace("MOTION", "ROOT b\n{\nOFFSET 0 0 0\n}\nMOTION"), "two roots, 'Hips' and 'b'"),
    "binary": (HUMAN.replace("MOTION", "\0MOTION"), "binary data"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "message"), BAD_BVH.values(), ids=BAD_BVH)
def test_bad_bvh(tmp_path, text, message):
    path = tmp_path / "bad.bvh"
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        load(path)


def test_bvh_names_that_say_nothing(tmp_path):
    path = tmp_path / "chain.bvh"
    path.write_text(CHAIN)
    with pytest.raises(LayoutError, match="joint names not understood"):
        load(path)


def test_bvh_frame_time_zero(tmp_path, caplog):
    path = tmp_path / "human.bvh"
    path.write_text(human_bvh(frame_time=0))
    assert load(path).fps is None and "the rate is unknown" in caplog.text
    assert load(path, fps=30).fps == 30


def asf_text(bones: str, hierarchy: str, length: str = "0.45", root: str = "position 1 0 0\n orientation 0 0 0") -> str:
    return f"""# a comment
:version 1.10
:units
  mass 1.0
  length {length}
  angle deg
:root
 order TX TY TZ RX RY RZ
 axis XYZ
 {root}
:bonedata
{bones}
:hierarchy
begin
{hierarchy}
end
"""


def bone(name: str, direction: str, length: float, axis: str, dof: str = "") -> str:
    dof = f"dof {dof}\nlimits (-160 20)\n (-70 70)\n" if dof else ""
    return f"begin\n id 1\n name {name}\n direction {direction}\n length {length}\n axis {axis} XYZ\n {dof}end"


def test_amc_kinematics_by_hand(tmp_path):
    bones = [
        bone("a", "1 0 0", 2, "0 0 90", "rx"),
        bone("b", "0 1 0", 3, "0 0 0", "rx rz"),
        bone("c", "0 0 1", 4, "0 0 0"),
    ]
    (tmp_path / "s.asf").write_text(asf_text("\n".join(bones), "root a\na b\nb c"))
    (tmp_path / "s.amc").write_text(
        "#!OML\n:FULLY-SPECIFIED\n:DEGREES\n"
        "1\nroot 0 0 0 0 0 0\na 0\nb 0 0\n"
        "2\nroot 1 2 3 0 0 0\na 90\nb 0 0\n"
        "3\nroot 0 0 0 0 0 0\na 0\nb 90 90\n"
        "4\nroot 0 0 0 90 0 90\na 0\nb 0 0\n"
    )  # fmt: skip
    skeleton = asf.parse_asf_file(tmp_path / "s.asf")
    assert [one.name for one in skeleton.bones] == ["root", "a", "b", "c"]
    positions = amc.forward_kinematics(skeleton, amc.parse_amc_file(tmp_path / "s.amc", skeleton))
    wanted = [
        [[1, 0, 0], [3, 0, 0], [3, 3, 0], [3, 3, 4]],
        # The axes of `a` are turned so that its x is the world's y: rx turns about y, and x goes to -z, z to x.
        [[2, 2, 3], [2, 2, 1], [2, 5, 1], [6, 5, 1]],
        # rx, then rz, both about fixed axes: y goes to z and stays; z goes to -y, then x.
        [[1, 0, 0], [3, 0, 0], [3, 0, 3], [7, 0, 3]],
        # The root turns about x, then z: x goes to y; y goes to z; z goes to -y and then x.
        [[1, 0, 0], [1, 2, 0], [1, 2, 3], [5, 2, 3]],
    ]
    np.testing.assert_allclose(positions, wanted, atol=1e-12)
    assert skeleton.unit == pytest.approx(0.0254 / 0.45)


def human_asf() -> str:
    rng = np.random.default_rng(3)
    bones, lines = [], []
    for joint, parent in zip(CMU31.joints, CMU31.parents, strict=True):
        children = [name for name, p in zip(CMU31.joints, CMU31.parents, strict=True) if p == CMU31.joints.index(joint)]
        if children:
            lines.append(f"{joint} {' '.join(children)}")
        if parent >= 0:
            direction = " ".join(f"{v:.4f}" for v in rng.normal(size=3))
            bones.append(bone(joint, direction, 3.0, "10 20 30", "" if joint.endswith("hipjoint") else "rx ry rz"))
    return asf_text("\n".join(bones[::-1]), "\n".join(lines), root="position 0 0 0\n orientation 0 0 0")


def human_amc(frames: int = 4) -> str:
    rng = np.random.default_rng(4)
    lines = ["#!OML:ASF F:\\f\xfcr.ASF", ":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(frames):
        lines += [str(frame + 1), "root " + " ".join(f"{v:.4f}" for v in rng.normal(size=6))]
        for joint in CMU31.joints[:0:-1]:
            if not joint.endswith("hipjoint"):
                lines.append(joint + " " + " ".join(f"{v:.4f}" for v in rng.uniform(-40, 40, size=3)))
    return "\n".join(lines) + "\n"


def write_pair(folder: Path, motion: str = "08_03.amc", skeleton: str = "08.asf") -> Path:
    (folder / skeleton).write_text(human_asf())
    (folder / motion).write_bytes(human_amc().encode("latin-1"))
    return folder / motion


def test_amc_of_a_human(tmp_path):
    skeleton = load(write_pair(tmp_path))
    assert skeleton.layout.joints == CMU31.joints and skeleton.layout.name == "cmu31"
    assert (skeleton.fps, skeleton.num_frames) == (120.0, 4)
    lengths = bone_lengths(skeleton)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-4)
    root = np.array(human_amc().splitlines()[4].split()[1:4], float)
    np.testing.assert_allclose(skeleton.positions[0, 0, 0], root * 0.0254 / 0.45, rtol=1e-5)
    assert load(tmp_path / "08_03.amc", fps=60).fps == 60
    assert load(tmp_path / "08_03.amc", unit="m").positions[0, 0, 0, 0] == pytest.approx(root[0], rel=1e-5)


@pytest.mark.parametrize(
    ("motion", "skeleton"),
    [("08_03.amc", "08.asf"), ("a.amc", "A.ASF"), ("HDM_mm_deposit_022_120.amc", "HDM_mm.asf"), ("x.amc", "y.asf")],
)  # fmt: skip
def test_asf_is_found(tmp_path, motion, skeleton):
    assert load(write_pair(tmp_path, motion, skeleton)).info["asf"] == str(tmp_path / skeleton)


def test_asf_is_not_found(tmp_path):
    path = write_pair(tmp_path, "08_03.amc", "09.asf")
    (tmp_path / "10.asf").write_text(human_asf())
    with pytest.raises(MissingFileError, match=r"found 09\.asf, 10\.asf\. Say asf=FILE"):
        load(path)
    assert load(path, asf=tmp_path / "09.asf").num_frames == 4
    with pytest.raises(MissingFileError, match=r"no such file: .*08_04\.amc"):
        load(tmp_path / "08_04.amc")
    with pytest.raises(MissingFileError, match=r"no such file: .*none\.asf"):
        load(path, asf=tmp_path / "none.asf")


AMC, ASF = human_amc(), human_asf()
BAD_AMC = {
    "cut": (AMC[: len(AMC) * 2 // 3], ASF, "the file is cut, or its frames differ"),
    "cut line": (AMC[: AMC.rindex("\n4\n")] + "\n", ASF[:-1], None),
    "no frames": (":DEGREES\n", ASF, "found none"),
    "unknown bone": (AMC.replace("head", "tail"), ASF, "found 'tail'"),
    "other bone once": (AMC.replace("head", "tail", 1), ASF, "found 'tail'"),
    "other bone later": ("head".join(AMC.rsplit("thorax", 1)), ASF, "expected the bone 'thorax'.*found 'head'"),
    "no root": (AMC.replace("root", "rooty"), ASF, "found 'rooty'"),
    "text": (AMC.replace("head ", "head x", 1), ASF, "expected numbers for the bone 'head'"),
    "infinite": (re.sub("head [^ ]+", "head 1e999", AMC, count=1), ASF, "bone 'head': expected numbers .*found inf"),
    "nan": (re.sub("head [^ ]+", "head nan", AMC, count=1), ASF, "bone 'head': expected numbers .*found nan"),
    "no skeleton": (AMC, "# nothing\n", "expected a section :root"),
    "cut skeleton": (AMC, ASF[: len(ASF) // 2], "the file is cut inside a bone|expected a section :hierarchy|numbers"),
    "stretching": (AMC, ASF.replace("dof rx", "dof l", 1), "bones that stretch"),
    "orphan": (AMC, ASF.replace("\nroot lhip", "\nroot"), "which is no bone|does not reach"),
    "twice": (AMC, ASF.replace("name head", "name thorax"), "defined twice"),
    "axis": (AMC, ASF.replace("30 XYZ", "30 XYX", 1), "axis order such as XYZ"),
    "length": (AMC, ASF.replace("length 3.0", "length long", 1), "numbers for the length of"),
    "unit": (AMC, ASF.replace("length 0.45", "length 0"), "unit of length above zero"),
}


@pytest.mark.parametrize(("motion", "skeleton", "message"), BAD_AMC.values(), ids=BAD_AMC)
def test_bad_amc(tmp_path, motion, skeleton, message):
    (tmp_path / "a.amc").write_bytes(motion.encode("latin-1"))
    (tmp_path / "a.asf").write_text(skeleton)
    if message is None:  # cut exactly between two frames: AMC announces no count, so this is a shorter recording
        assert load(tmp_path / "a.amc").num_frames == 3
        return
    with pytest.raises(ReadError, match=message):
        load(tmp_path / "a.amc")


def test_amc_with_other_bones(tmp_path):
    (tmp_path / "s.asf").write_text(asf_text(bone("a", "1 0 0", 2, "0 0 0", "rx"), "root a"))
    (tmp_path / "s.amc").write_text("1\nroot 0 0 0 0 0 0\na 5\n")
    with pytest.raises(LayoutError, match="expected the bones of layout 'cmu31', found root, a"):
        load(tmp_path / "s.amc")
    own = Layout("own", ("a", "root"), (1, -1))
    np.testing.assert_allclose(load(tmp_path / "s.amc", layout=own, unit=1).positions[0, 0], [[3, 0, 0], [1, 0, 0]])


REAL = [
    ("bandai-namco", "bandai-namco/dataset-1_bow_active_001.bvh", "dataset-1_bow_active_001", 0, 1, 30),
    ("bandai-namco", "bandai-namco/dataset-2_raise-up-left-hand_normal_044.bvh", None, 0, 1, 30),
    ("bandai-namco", "bandai-namco/dataset-2_walk-turn-left_exhausted_008.bvh", None, 0, 1, 30),
    ("cmu-bvh43", "cmu-bvh/05_01.bvh", None, 1, 4, 120),  # the first frame is the T-pose
    ("cmu-bvh43", "cmu-bvh/09_07.bvh", None, 1, 4, 120),
    ("cmu-bvh43", "cmu-bvh/13_01.bvh", None, 1, 4, 120),
    ("cmu-amc", "cmu-amc/35_34.amc", None, 0, 4, 120),
    ("cmu-amc", "cmu-amc/39_13.amc", None, 0, 4, 120),
    ("hdm05-11", "hdm05/HDM_bd_hopBothLegs1hops_005_120.amc", None, 0, 4, 120),
    ("hdm05-11", "hdm05/HDM_mm_depositFloorR_022_120.amc", None, 0, 4, 120),
]


@lru_cache(maxsize=1)
def corpus(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as data:
        return {key: data[key] for key in ("clip", "offsets", "joints", "parents", "positions", "fps")}


def corpus_clip(shared: Path, name_of_corpus: str, name: str) -> Skeleton:
    data = corpus(shared / "data" / "corpora" / f"{name_of_corpus}.npz")
    index = data["clip"].tolist().index(name)
    start, end = data["offsets"][index : index + 2]
    layout = find_layout(data["joints"].tolist(), data["parents"].tolist())
    return Skeleton(data["positions"][start:end], layout, fps=float(data["fps"]))


@pytest.mark.parametrize(("corpus", "file", "name", "first", "step", "fps"), REAL, ids=[row[1] for row in REAL])
def test_real_files(shared, corpus, file, name, first, step, fps):
    skeleton = load(shared / "data" / "raw" / file)
    assert skeleton.fps == fps
    wanted = corpus_clip(shared, corpus, name or Path(file).stem)
    index = [skeleton.layout.joints.index(joint) for joint in wanted.layout.joints]
    # The corpora are rounded to 0.1 mm.
    np.testing.assert_allclose(
        skeleton.positions[0, first::step, index], np.swapaxes(wanted.positions[0], 0, 1), atol=5.1e-5
    )
    lengths = bone_lengths(skeleton)[:, 1 if "Hips" in skeleton.layout.joints else 0 :]  # Hips hang on a static root
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), rtol=1e-4, atol=1e-6)
    height = np.ptp(skeleton.positions[0, ..., 1], axis=1).max()
    assert 1.3 < height < 2.3


LIMBS = [(f"{a}_{s}", f"{b}_{s}") for s in ("left", "right")
         for a, b in (("shoulder", "elbow"), ("hip", "knee"), ("knee", "ankle"))]  # fmt: skip


def limb_angles(a: np.ndarray, b: np.ndarray) -> float:
    """Mean angle in degrees between the limbs of two recordings [T, 25, 3]."""
    joints = get_layout("ntu25").joints
    a, b = a[: len(b)], b[: len(a)]
    angles = []
    for start, end in [*LIMBS, ("spine_base", "spine_shoulder")]:
        u, v = (x[:, joints.index(end)] - x[:, joints.index(start)] for x in (a, b))
        cos = (u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)
        angles.append(np.degrees(np.arccos(cos.clip(-1, 1))).mean())
    return float(np.mean(angles))


def _other_side(name: str) -> str:
    return name.replace("left", "right") if "left" in name else name.replace("right", "left")


def test_the_same_take_in_amc_and_bvh(shared):
    # CMU 08_03 is there in both. The BVH conversion moves another, fixed skeleton with the same motion, so limbs point
    # the same way (5.7 degrees apart on average; 30 with left and right swapped), and joints lie 7.4 cm apart, hands
    # most. Its forearms are bent by 17 degrees at rest, so they are left out of the angles.
    a = load(shared / "data" / "raw" / "cmu-amc" / "08_03.amc").to_layout("ntu25")
    b = corpus_clip(shared, "cmu-bvh43", "08_03").to_layout("ntu25").positions[0].astype(float)
    angle = {shift: limb_angles(a.positions[0, shift::4], b) for shift in range(0, 8)}
    names = get_layout("ntu25").joints
    other = [names.index(_other_side(name)) for name in names]
    assert angle[0] < 7.0
    assert min(angle, key=angle.get) <= 1, "the same moment fits best"
    assert limb_angles(a.positions[0, ::4], b[:, other]) > 3 * angle[0], "left is left"
    x, y = a.positions[0, ::4].astype(float), b
    both = np.isfinite(x).all((0, 2)) & np.isfinite(y).all((0, 2))
    x, y = (z[:, both].reshape(-1, 3) - z[:, both].mean((0, 1)) for z in (x, y))
    u, s, vt = np.linalg.svd(x.T @ y)
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    scale = (s * [1, 1, np.linalg.det(u @ vt)]).sum() / (x**2).sum()
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) < 3, "the same axes"
    assert scale == pytest.approx(1, abs=0.02), "the same size: the units agree"
    assert np.linalg.norm(scale * x @ turn - y, axis=-1).mean() < 0.08


def test_bvh_as_real_writers_write_it(tmp_path, caplog):
    """Comments, Mac line ends, a row that is missing, and a minus in place of a blank."""
    sound = tmp_path / "sound.bvh"
    sound.write_text(HUMAN)
    wanted = load(sound).positions
    lines = HUMAN.splitlines()
    motion = next(number for number, line in enumerate(lines) if line.startswith("Frame Time")) + 1
    glued = [*lines[:motion], *(re.sub(r" -(?=\d)", "-", line) for line in lines[motion:])]
    assert glued != lines
    offsets = re.sub(r"OFFSET (\S+) (-\S+)", r"OFFSET \1\2", HUMAN)
    for name, text, told in (
        ("comment", "# written by hand\n// twice\n\n" + HUMAN, None),
        ("carriage returns", HUMAN.replace("\n", "\r"), None),
        ("glued", "\n".join(glued), "blanks between numbers are missing"),
        ("offsets", offsets, None),
        ("short", "\n".join(lines[:-1]) + "\n", "5 frames announced, 4 found and read"),
    ):
        caplog.clear()
        path = tmp_path / f"{name}.bvh"
        path.write_bytes(text.encode())
        with caplog.at_level(logging.WARNING, logger="mamp"):
            found = load(path).positions
        np.testing.assert_array_equal(found, wanted[:, : found.shape[1]], err_msg=name)
        assert found.shape[1] == (4 if name == "short" else 5)
        assert told is None or told in caplog.text, name


def test_bvh_of_japanese_names_in_their_own_encoding(tmp_path):
    text = HUMAN
    for name, japanese in (
        ("LeftArm", "左腕"),
        ("LeftForeArm", "左ひじ"),
        ("RightArm", "右腕"),
        ("RightForeArm", "右ひじ"),
    ):
        text = re.sub(rf"\b{name}\b", japanese, text)
    path = tmp_path / "mmd.bvh"
    path.write_bytes(text.encode("cp932"))
    assert "左腕" in load(path).layout.joints


def test_a_bvh_of_more_joints_than_a_body_has(tmp_path):
    path = tmp_path / "crowd.bvh"
    joints = "".join(f"JOINT j{number}\n{{\nOFFSET 0 1 0\n}}\n" for number in range(200_000))
    path.write_text(HUMAN.replace("}\nMOTION", joints + "}\nMOTION"))
    start = time.process_time()
    with pytest.raises(ReadError, match="more than 5000 joints are no body"):
        load(path)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("deep", [False, True])
def test_a_bvh_of_very_many_joints(tmp_path, deep):
    path = tmp_path / "hair.bvh"
    opened = "".join(f"JOINT hair{number}\n{{\nOFFSET 0 1 0\n{'' if deep else '}'}\n" for number in range(4000))
    path.write_text(HUMAN.replace("}\nMOTION", opened + ("}\n" * 4000 if deep else "") + "}\nMOTION"))
    start = time.process_time()
    assert load(path, layout=None).num_frames == 5
    assert time.process_time() - start < 10


def test_a_pelvis_without_depth() -> None:
    """The distance from its front to its back is too small for its square; warnings are errors here."""
    spines = {"LASI": (120, 0, 0), "RASI": (-120, 0, 0), "SACR": (0, -1e-319, 0)}
    joints, _ = place_joints({name: np.full((4, 3), at) for name, at in spines.items()})
    assert not np.isfinite(joints["hip_left"]).all(axis=1).any()
