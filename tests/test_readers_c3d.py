"""C3D: markers of optical motion capture."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers_helpers import PLUG_IN_GAIT, PLUG_IN_GAIT_JOINTS, c3d_bytes, c3d_file, person, walked

from mamp.cli import main
from mamp.errors import LayoutError, MissingFileError, ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, load
from mamp.readers.c3d import parse_c3d

NTU25 = list(get_layout("ntu25").joints)
BODY = person("ntu25", 3)


def z_up(points: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def save(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "clip.c3d"
    path.write_bytes(data)
    return path


def test_markers_named_as_joints(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    path = save(tmp_path, c3d_file())
    assert find_format(path) == "c3d"
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path)
    assert "does not say its up; 'z' inferred" in caplog.text
    assert (skeleton.layout.joints, skeleton.fps) == (tuple(NTU25), 100)
    assert (skeleton.info["unit"], skeleton.info["unit_from"], skeleton.info["up_from"]) == ("mm", "format", "inferred")
    np.testing.assert_allclose(skeleton.positions[0], BODY, atol=1e-5)


@pytest.mark.parametrize(("unit", "metres"), [("m", 1), ("cm", 0.01), ("meters", 1), ("inch", 0.0254)])
def test_units(tmp_path: Path, unit: str, metres: float):
    path = save(tmp_path, c3d_bytes(NTU25, BODY / metres, unit=unit))
    np.testing.assert_allclose(load(path).positions[0], BODY, atol=1e-5)


def test_an_unknown_unit_is_inferred(tmp_path: Path):
    skeleton = load(save(tmp_path, c3d_bytes(NTU25, BODY * 100, unit="?")))
    assert (skeleton.info["unit"], skeleton.info["unit_from"]) == ("cm", "inferred")


def test_labels_of_a_subject_in_another_order_and_unseen_markers(tmp_path: Path):
    order = np.random.default_rng(0).permutation(25)
    points = BODY[:, order] * 1000
    points[1, 4] = np.nan
    skeleton = load(save(tmp_path, c3d_bytes([f"Ann:{NTU25[i]}" for i in order], points))).to_layout("ntu25")
    assert not skeleton.tracked[0, 1, order[4]] and skeleton.tracked.sum() == 74
    seen = skeleton.tracked[0]
    np.testing.assert_allclose(skeleton.positions[0][seen], BODY[seen], atol=1e-5)


def test_joints_in_the_middle_of_markers(tmp_path: Path):
    labels = ["LASI", "LPSI", "RKNE", "S:LKNE"]
    points = np.random.default_rng(0).normal(size=(4, 4, 3)) * 1000
    points[2, 0] = np.nan
    path = save(tmp_path, c3d_bytes(labels, points))
    skeleton = load(path, markers={"hip_left": ["LASI", "LPSI"], "knee_right": "RKNE", "knee_left": ["LKNE"]}, up="y")
    assert skeleton.layout.name == "ntu25"
    found = skeleton.positions[0][:, [NTU25.index(name) for name in ("hip_left", "knee_right", "knee_left")]]
    np.testing.assert_allclose(found[:, 1:], points[:, 2:] / 1000, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0], points[:, :2].mean(1) / 1000, rtol=1e-5)
    assert skeleton.tracked[0].sum(-1).tolist() == [3, 3, 2, 3]
    with pytest.raises(ReadError, match="there are no markers LELB; found LASI"):
        load(path, markers={"elbow_left": "LELB"})
    with pytest.raises(ReadError, match="'elbow' is no joint of layout 'ntu25'"):
        load(path, markers={"elbow": "LASI"})
    other = load(path, markers={"left_hip": "LASI"}, layout="smpl22", up="y")
    assert other.layout.name == "smpl22" and other.tracked.any((0, 1)).sum() == 1


def test_labels_that_say_nothing(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(3, 25, 3)) * 1000
    path = save(tmp_path, c3d_bytes([f"M{i}" for i in range(25)], points))
    with pytest.raises(LayoutError, match=r"markers are not joints.* M0, M1.*Say markers=\{joint"):
        load(path)
    assert load(path, layout="ntu25", up="y").layout.name == "ntu25", "who says it has the joints in order is believed"
    with pytest.raises(LayoutError, match="has 20 joints, the file has 25"):
        load(path, layout="kinect20", up="y")


WRITERS = {
    "frames counted from 0 (Motive)": {"first": 0},
    "parameters twice (Vicon)": {"twice": True},
    "analog channels": {"analog": 7},
    "another number of analog channels in the header": {"analog": 7, "header_analog": 2},
    "another scale in the header (Motion Analysis)": {"header_scale": -0.5},
    "big-endian (SGI)": {"processor": 86},
    "DEC": {"processor": 85},
    "integers": {"scale": 0.1},
    "integers, another scale in the header": {"scale": 0.1, "header_scale": 0.3, "analog": 3},
    "integers, DEC": {"scale": 0.1, "processor": 85},
    "late first frame": {"first": 300},
}


@pytest.mark.parametrize("said", WRITERS.values(), ids=WRITERS)
def test_as_other_writers_write_it(tmp_path: Path, said: dict[str, Any]):
    """Positions do not depend on what these differ in; they are those of an independent reader, byte for byte."""
    points = np.round(person("ntu25", 60) * 1000, 1)
    points[5, 3] = np.nan
    path = save(tmp_path, c3d_bytes(NTU25, points, **said))
    markers = parse_c3d(path.read_bytes(), "clip.c3d")
    np.testing.assert_allclose(markers.positions, points, atol=1e-3)
    assert (markers.fps, markers.labels, markers.unit) == (100, NTU25, "mm")
    np.testing.assert_array_equal(load(path).tracked[0].sum(1), [25] * 5 + [24] + [25] * 54)


@pytest.mark.parametrize("name", ["frames counted from 0 (Motive)", "parameters twice (Vicon)", "integers",
                                  "another scale in the header (Motion Analysis)", "late first frame"])  # fmt: skip
def test_equal_to_ezc3d_where_it_reads(tmp_path: Path, name: str):
    """It refuses big-endian files and crashes on the analog channels of those here, so it is not asked for these."""
    import ezc3d

    path = save(tmp_path, c3d_bytes(NTU25, person("ntu25", 60) * 1000, **WRITERS[name]))
    points = ezc3d.c3d(str(path))["data"]["points"][:3].transpose(2, 1, 0)
    ours = parse_c3d(path.read_bytes(), "clip.c3d").positions
    np.testing.assert_array_equal(ours.astype(np.float32), points.astype(np.float32))


def test_the_axis_of_the_screen_points_up(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    legs = {label: at for label, at in PLUG_IN_GAIT.items() if label[1:] in ("ASI", "PSI", "KNE", "ANK", "TOE")}
    path = save(tmp_path, c3d_bytes(list(legs), walked(legs), screen="+Z"))
    table = {"hip_left": ["LASI", "LPSI"], "knee_left": "LKNE", "ankle_left": "LANK", "ankle_right": "RANK"}
    for skeleton in (load(path), load(path, markers=table)):
        assert (skeleton.info["up"], skeleton.info["up_from"]) == ("z", "format")
    assert not caplog.records
    assert load(path, up="-y").info["up"] == "-y"
    assert load(save(tmp_path, c3d_bytes(list(legs), walked(legs), screen="-Y"))).info["up"] == "-y"


def test_a_body_that_does_not_stand_along_the_axis_of_the_file_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    """The file is believed, for people lie; but a file may have been turned without its parameters."""
    path = save(tmp_path, c3d_bytes(list(PLUG_IN_GAIT), walked(PLUG_IN_GAIT), screen="+Y"))
    with caplog.at_level(logging.WARNING, logger="mamp"):
        assert load(path).info["up"] == "y"
    assert "says that y points up, but the body lies: it stands along z. Say up='z' if the file is wrong" in caplog.text
    caplog.clear()
    assert load(path, up="z").info["up_from"] == "given" and not caplog.records


@pytest.mark.parametrize("prefix", ["", "Ann:", "Ann_", "Session 1:Ann:"])
def test_plug_in_gait(tmp_path: Path, prefix: str):
    path = save(tmp_path, c3d_bytes([prefix + label for label in PLUG_IN_GAIT], walked(PLUG_IN_GAIT)))
    skeleton = load(path)
    assert skeleton.layout.name == "ntu25" and skeleton.tracked.all()
    assert (skeleton.info["up"], skeleton.info["unit"], skeleton.fps) == ("z", "mm", 100)
    among = skeleton.info["joints_from"]
    assert [label.removeprefix(prefix) for label in among["wrist_right"]] == ["RWRA", "RWRB"]
    assert [label.removeprefix(prefix) for label in among["hip_left"]] == ["LASI", "RASI", "LPSI", "RPSI"]
    for joint, place in PLUG_IN_GAIT_JOINTS.items():
        for name, side in ((joint, 1), (joint.replace("left", "right"), -1)):
            found = skeleton.positions[0, 0, NTU25.index(name)]
            expected = np.array(place) * ((side if name != joint else 1), 1, 1)
            assert np.linalg.norm(found - expected) < 0.06, name


def test_two_subjects_are_two_people(tmp_path: Path):
    labels = [f"{who}:{label}" for who in ("Ann", "Bob") for label in PLUG_IN_GAIT]
    points = walked(PLUG_IN_GAIT)
    skeleton = load(save(tmp_path, c3d_bytes(labels, np.concatenate([points, points + np.array([1000, 0, 0])], 1))))
    np.testing.assert_allclose(skeleton.positions[1] - skeleton.positions[0], [[[1, 0, 0]] * 25] * 4, atol=1e-4)


def test_gaps_stay_gaps(tmp_path: Path):
    labels, points = list(PLUG_IN_GAIT), walked(PLUG_IN_GAIT)
    points[1, labels.index("LWRA")] = np.nan
    points[2, labels.index("RKNE")] = 0  # not seen, as some write it
    tracked = load(save(tmp_path, c3d_bytes(labels, points, screen="+Z"))).tracked[0]
    lost = {NTU25[joint] for joint in np.flatnonzero(~tracked[1])}
    assert lost == {"wrist_left", "hand_tip_left"} and tracked[0].all()
    assert {NTU25[joint] for joint in np.flatnonzero(~tracked[2])} == {"knee_right"}


def _renamed(names: dict[str, str]) -> dict[str, tuple[float, float, float]]:
    """Some of the markers of Plug-in Gait under other names; {s} is the side, L and R unless two are given."""
    markers = {}
    for ours, name in names.items():
        sides = ("l", "r") if "{s}" in name else ("L", "R")
        for side, letter in zip("LR", sides, strict=True):
            if (side + ours) in PLUG_IN_GAIT:
                markers[name.format(S=letter, s=letter)] = PLUG_IN_GAIT[side + ours]
            elif ours in PLUG_IN_GAIT:
                markers[name] = PLUG_IN_GAIT[ours]
    return markers


SETS = {
    "CMU": ("FHD {S}FHD BHD {S}BHD C7 C7 T10 T10 CLAV CLAV STRN STRN SHO {S}SHO ELB {S}ELB WRA {S}WRA WRB {S}WRB "
            "FIN {S}FIN ASI {S}FWT PSI {S}BWT KNE {S}KNE ANK {S}ANK HEE {S}HEE TOE {S}TOE TIB {S}SHN", 25),
    "Helen Hayes": ("SHO {S}.Shoulder ELB {S}.Elbow WRA {S}.Wrist ASI {S}.ASIS T10 V.Sacral THI {S}.Thigh KNE {S}.Knee "
                    "ANK {S}.Ankle HEE {S}.Heel TOE {S}.Toe", 23),
    "IOR": ("ASI {S}IAS PSI {S}IPS KNE {S}LFE ANK {S}LM HEE {S}CA TOE {S}SM SHO {S}A ELB {S}HLE WRA {S}RSP WRB {S}USP "
            "C7 CV7 CLAV SJN STRN SXS", 23),
    "Qualisys": ("ASI {S}_IAS PSI {S}_IPS KNE {S}_FLE ANK {S}_FAL HEE {S}_FCC TOE {S}_FM2 TIB {S}_FM5 SHO {S}_SAE "
                 "ELB {S}_HLE WRA {S}_RSP WRB {S}_USP FIN {S}_HM2 C7 CV7 CLAV SJN STRN SXS FHD {S}_HEAD", 25),
    "Qualisys animation": ("ASI Waist{S}Front T10 WaistBack C7 SpineTop STRN Chest SHO {S}ShoulderTop ELB {S}ElbowOut "
                           "WRA {S}WristIn WRB {S}WristOut FIN {S}HandOut KNE {S}KneeOut ANK {S}AnkleOut "
                           "HEE {S}HeelBack TOE {S}Forefoot2 FHD Head{S}", 25),
    "OpenCap": ("ASI {s}.ASIS_study PSI {s}.PSIS_study KNE {s}_knee_study ANK {s}_ankle_study HEE {s}_calc_study "
                "TOE {s}_toe_study SHO {s}_shoulder_study ELB {s}_lelbow_study WRA {s}_lwrist_study "
                "WRB {s}_mwrist_study C7 C7_study", 23),
    "Motive": ("ASI Waist{S}Front PSI Waist{S}Back FHD {S}HeadFront C7 BackTop STRN Chest SHO {S}ShoulderTop "
               "ELB {S}ElbowOut WRA {S}WristIn WRB {S}WristOut FIN {S}HandOut KNE {S}KneeOut ANK {S}AnkleOut "
               "HEE {S}Heel TOE {S}ToeIn TIB {S}ToeOut", 25),
    "OpenSim joint centres": ("ASI hip_{s} KNE knee_{s} ANK ankle_{s} TOE mtp_{s} SHO acromial_{s} ELB elbow_{s} "
                              "WRA radius_hand_{s}", 23),
    "joint centres": ("ASI {S}HJC KNE {S}KJC ANK {S}AJC SHO {S}SJC ELB {S}EJC WRA {S}WJC", 21),
    "Theia": ("T10 pelvis_4X4 ASI {s}_thigh_4X4 KNE {s}_shank_4X4 ANK {s}_foot_4X4 TOE {s}_toes_4X4 SHO {s}_uarm_4X4 "
              "ELB {s}_larm_4X4 WRA {s}_hand_4X4 C7 head_4X4", 25),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_marker_sets_need_not_be_told(tmp_path: Path, name: str):
    text, joints = SETS[name]
    words = text.split()
    if words[0] == "ASI" and name == "IOR":
        words = [word.replace("{S}A", "{S}AC") if word == "{S}A" else word for word in words]
    markers = _renamed(dict(zip(words[::2], words[1::2], strict=True)))
    skeleton = load(save(tmp_path, c3d_bytes(list(markers), walked(markers), screen="+Z")))
    found = skeleton.to_layout("ntu25")
    assert found.tracked.any((0, 1)).sum() == joints, np.array(NTU25)[~found.tracked.any((0, 1))]
    for joint in ("hip_left", "knee_left", "ankle_left", "foot_left", "shoulder_left", "elbow_left", "wrist_left"):
        place = found.positions[0, 0, NTU25.index(joint)]
        assert np.isnan(place).all() or np.linalg.norm(place - PLUG_IN_GAIT_JOINTS[joint]) < 0.16, joint


def test_poses_of_segments_without_markers(tmp_path: Path):
    """As Theia writes them: the origins of segments are joints."""
    words = SETS["Theia"][0].split()
    markers = _renamed(dict(zip(words[::2], words[1::2], strict=True)))
    points = walked(markers)
    points[1, list(markers).index("l_shank_4X4")] = np.nan
    data = c3d_bytes(list(markers), points, poses=True)
    found = parse_c3d(data, "clip.c3d")
    assert found.labels == list(markers)
    np.testing.assert_allclose(found.positions, points, atol=1e-3)
    skeleton = load(save(tmp_path, data))
    assert skeleton.tracked[0].sum(1).tolist() == [25, 24, 25, 25] and skeleton.info["up"] == "z"
    with pytest.raises(ReadError, match="no markers, and poses of 16 segments that are not there"):
        load(save(tmp_path, data[: 512 * 21]))


def test_more_frames_than_two_bytes_count(tmp_path: Path):
    points = np.random.default_rng(0).normal(size=(70_000, 1, 3))
    found = parse_c3d(c3d_bytes(["a"], points, trial=True), "clip.c3d").positions
    np.testing.assert_allclose(found, points, atol=1e-6)


def test_two_subjects_of_joints(tmp_path: Path):
    labels = [f"{who}:{joint}" for who in ("Ann", "Bob") for joint in NTU25]
    points = np.concatenate([BODY, BODY + np.array([1, 0, 0])], axis=1) * 1000
    found = load(save(tmp_path, c3d_bytes(labels, points))).positions
    np.testing.assert_allclose(found, np.stack([BODY, BODY + np.array([1, 0, 0])]), atol=1e-5)


@pytest.mark.parametrize("name", ["{}_Marker{}", "{}{}", "{} {}"])
def test_clusters_are_averaged(tmp_path: Path, name: str):
    labels = [name.format(joint, number) for joint in NTU25 for number in (1, 2, 3)]
    shifts = np.array([[30, 0, 0], [-30, 10, 0], [0, -10, 0]])
    points = (BODY[:, :, None] * 1000 + shifts).reshape(3, 75, 3)
    points[1, 0] = np.nan
    skeleton = load(save(tmp_path, c3d_bytes(labels, points))).to_layout("ntu25")
    assert skeleton.tracked[0].sum(1).tolist() == [25, 24, 25]
    np.testing.assert_allclose(skeleton.positions[0, 0], BODY[0], atol=1e-5)


def test_the_outputs_of_plug_in_gait_are_preferred_to_its_markers(tmp_path: Path):
    outputs = {"LFEP": (90, 0, 920), "LFEO": (95, 0, 510), "LTIO": (100, 0, 85), "LHipAngles": (30, 2, 1)}
    markers = PLUG_IN_GAIT | outputs
    skeleton = load(save(tmp_path, c3d_bytes(list(markers), walked(markers))))
    for joint, label in (("hip_left", "LFEP"), ("knee_left", "LFEO"), ("ankle_left", "LTIO")):
        x, y, z = outputs[label]
        np.testing.assert_allclose(
            skeleton.positions[0, 0, NTU25.index(joint)], [x / 1e3, z / 1e3, -y / 1e3], atol=1e-5
        )


def test_two_markers_of_one_label_are_both_sides_of_the_joint(tmp_path: Path):
    labels, points = list(PLUG_IN_GAIT), walked(PLUG_IN_GAIT)
    inner = points[:, [labels.index("LKNE")]] - [100, 0, 0]
    skeleton = load(save(tmp_path, c3d_bytes([*labels, "LKNE"], np.concatenate([points, inner], 1))))
    np.testing.assert_allclose(skeleton.positions[0, 0, NTU25.index("knee_left")], [0.1, 0.5, 0.02], atol=1e-5)


def test_a_table_of_markers_in_a_file(tmp_path: Path):
    path = save(tmp_path, c3d_bytes(["a", "b", "c"], np.random.default_rng(0).normal(size=(4, 3, 3)) * 1000))
    table = {"hip_left": ["a", "b"], "head": "c"}
    (tmp_path / "table.json").write_text(json.dumps(table))
    np.testing.assert_array_equal(
        load(path, markers=tmp_path / "table.json", up="z").positions, load(path, markers=table, up="z").positions
    )
    for content, message in (
        ("[]", "expected an object of joints"),
        ('{"head": 5}', "expected the label of 'head'"),
        ("{", "not JSON"),
    ):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ReadError, match=message):
            load(path, markers=tmp_path / "bad.json", up="z")
    with pytest.raises(MissingFileError):
        load(path, markers="nowhere.json", up="z")


def test_the_option_of_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = save(tmp_path, c3d_bytes(["a", "b", "c"], np.random.default_rng(0).normal(size=(4, 3, 3)) * 1000))
    (tmp_path / "table.json").write_text(json.dumps({"hip_left": ["a", "b"], "head": "c"}))
    assert main(["info", str(path), "--up", "z", "--markers", str(tmp_path / "table.json")]) == 0
    assert "ntu25" in capsys.readouterr().out


BAD = {
    "short": (c3d_file()[:400], "not a C3D file, or cut"),
    "text": (b"hello " * 200, "not a C3D file, or cut"),
    "header only": (c3d_file()[:600], "damaged or cut"),
    "more frames than bytes": (
        c3d_bytes(NTU25, np.repeat(BODY, 20, 0))[: 512 * 24],
        "60 frames of 25 markers announced in 12288 bytes",
    ),
    "no data": (c3d_file()[: 512 * 21], "damaged or cut"),
    "cut in the last frames": (c3d_bytes(NTU25, np.repeat(BODY, 20, 0))[:-4000], "damaged or cut"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_bad(tmp_path: Path, data: bytes, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, data))


def test_labels_cut_before_their_sizes(tmp_path: Path):
    data = c3d_file()
    at = data.index(b"LABELS") + 8
    with pytest.raises(ReadError, match="damaged or cut"):
        parse_c3d(data[: at + 2], "clip.c3d")


def test_info_says_which_markers_a_joint_is_among(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = save(tmp_path, c3d_bytes(list(PLUG_IN_GAIT), walked(PLUG_IN_GAIT), screen="+Z"))
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "placed among the markers of a usual marker set" in out
    assert re.search(r"wrist_left +between LWRA, LWRB", out) and re.search(r"model joints +\d+ taken", out)
