"""TRC: markers and joint centres as Cortex, OpenSim, OpenCap and Pose2Sim write them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from readers_helpers import PLUG_IN_GAIT, PLUG_IN_GAIT_JOINTS, person, trc_text, walked

from mamp.errors import LayoutError, ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, load

NTU25 = list(get_layout("ntu25").joints)


def save(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "trial.trc"
    path.write_text(text, newline="")
    return path


def test_joint_centres(tmp_path: Path):
    points = person("ntu25", 20)
    path = save(tmp_path, trc_text(NTU25, points, unit="m"))
    assert find_format(path) == "trc"
    skeleton = load(path)
    assert (skeleton.fps, skeleton.info["unit"], skeleton.info["unit_from"]) == (60, "m", "format")
    np.testing.assert_allclose(skeleton.positions[0], points, atol=1e-5)


@pytest.mark.parametrize("layout", ["body25", "coco17", "smpl22"])
def test_keypoints_of_pose2sim(tmp_path: Path, layout: str):
    joints = get_layout(layout).joints
    skeleton = load(save(tmp_path, trc_text(list(joints), person(layout, 5), unit="m")))
    assert (skeleton.layout.name, skeleton.layout.joints) == (layout, joints)


def test_halpe_of_pose2sim(tmp_path: Path):
    """26 keypoints without the ears and eyes, as Pose2Sim writes them by default."""
    body = dict(zip(get_layout("body25").joints, person("body25", 4).transpose(1, 0, 2), strict=True))
    joints = {"Hip": body.pop("MidHip"), "Head": body["Nose"] + [0, 0.1, -0.1]} | {
        name: points for name, points in body.items() if not name.endswith(("Ear", "Eye"))
    }
    skeleton = load(save(tmp_path, trc_text(list(joints), np.stack(list(joints.values()), axis=1), unit="m")))
    found = skeleton.to_layout("ntu25")
    assert found.tracked.all() and skeleton.info["up"] == "y"
    np.testing.assert_allclose(found.positions[0][:, NTU25.index("knee_left")], joints["LKnee"], atol=1e-5)


def test_markers(tmp_path: Path):
    names = {"ASI": "ASIS", "PSI": "PSIS", "KNE": "Knee", "ANK": "Ankle", "HEE": "Heel", "TOE": "MT2",
             "SHO": "Shoulder", "ELB": "Elbow", "WRA": "Wrist"}  # fmt: skip
    markers = {f"{label[0]}.{names[label[1:]]}": at for label, at in PLUG_IN_GAIT.items() if label[1:] in names}
    x, y, z = np.moveaxis(walked(markers), -1, 0)
    points = np.stack([x, z, -y], -1)  # y up, as OpenSim has it
    points[1, 0] = np.nan
    skeleton = load(save(tmp_path, trc_text(list(markers), points, virtual=("V_R.Knee", "V_R.Hip_JC"))), up="y")
    assert "joints_from" in skeleton.info and skeleton.info["unit"] == "mm"
    assert skeleton.tracked[0].sum(1).tolist()[2:] == [23, 23], "all but head and neck"
    assert skeleton.tracked[0, 1].sum() < 23, "a gap"
    for joint in ("hip_left", "knee_left", "ankle_left", "shoulder_left", "wrist_left"):
        found = skeleton.positions[0, 0, NTU25.index(joint)]
        assert np.linalg.norm(found - PLUG_IN_GAIT_JOINTS[joint]) < 0.07, joint


@pytest.mark.parametrize("delimiter", [",", " "])
def test_other_delimiters_and_short_rows(tmp_path: Path, delimiter: str):
    points = person("ntu25", 4)
    text = trc_text(NTU25, points, unit="m").replace("\t", delimiter)
    np.testing.assert_allclose(load(save(tmp_path, text)).positions[0], points, atol=1e-5)


def test_rows_may_end_where_the_last_markers_were_not_seen(tmp_path: Path):
    lines = trc_text(NTU25, person("ntu25", 4), unit="m").splitlines()
    lines[7] = "\t".join(lines[7].split("\t")[:-6])
    tracked = load(save(tmp_path, "\n".join(lines))).tracked[0]
    assert tracked.sum(1).tolist() == [25, 23, 25, 25]


def test_what_is_at_zero_in_some_frames_was_not_seen(tmp_path: Path):
    points = person("ntu25", 4) - person("ntu25", 4)[:, :1]  # the base of the spine is at zero throughout
    points[1, 5] = 0
    tracked = load(save(tmp_path, trc_text(NTU25, points, unit="m")), up="y").tracked[0]
    assert tracked.sum(1).tolist() == [25, 24, 25, 25] and tracked[:, 0].all()


def test_the_rate_may_be_in_the_times_only(tmp_path: Path):
    assert load(
        save(tmp_path, trc_text(NTU25, person("ntu25", 4), unit="m").replace("60.0", "0"))
    ).fps == pytest.approx(60, abs=0.1)


def test_fewer_frames_than_announced_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    lines = trc_text(NTU25, person("ntu25", 4), unit="m").splitlines()
    with caplog.at_level(logging.WARNING, logger="mamp"):
        assert load(save(tmp_path, "\n".join(lines[:-1]))).positions.shape[1] == 3
    assert "4 frames announced, 3 found" in caplog.text


GOOD = trc_text(NTU25, person("ntu25", 4), unit="m")
BAD = {
    "text": ("hello\nyou", "expected the header of TRC"),
    "header only": ("\n".join(GOOD.splitlines()[:5]), "expected frames after the header"),
    "no label line": ("\n".join(GOOD.splitlines()[:3]), "expected the header of TRC"),
    "a word": (GOOD.replace("\t0.95", "\tx.95", 1), "row 3 of the frames: could not convert"),
    "decimal commas": (GOOD.replace("0.", "0,"), "decimal commas"),
    "cut": (GOOD[:-300], "the last row has .* of 77 cells. Is the file cut?"),
    "too many numbers": (GOOD.rstrip() + "\t1\t2\t3", "expected 77 numbers a row, found 80"),
    "infinite": (GOOD.replace("0.95", "1e99", 1), "below 1e"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad(tmp_path: Path, text: str, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, text))


def test_one_arm_is_no_body(tmp_path: Path):
    labels = ["ASISl", "ASISr", "ACRO_tip", "EPICl", "EPICm", "STYLr"]
    with pytest.raises(LayoutError, match=r"markers are not joints.* Say markers=\{joint"):
        load(save(tmp_path, trc_text(labels, np.random.default_rng(0).normal(size=(4, 6, 3)), unit="m")))
