"""CSV of motion capture: OptiTrack Motive, Vicon Nexus, FreeMoCap; subsets of MediaPipe; tables of angles."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from readers_helpers import PLUG_IN_GAIT, PLUG_IN_GAIT_JOINTS, person, walked, world

from mamp.errors import LayoutError, ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, load

NTU25 = list(get_layout("ntu25").joints)
MEDIAPIPE = list(get_layout("mediapipe33").joints)

# Bones of Motive's skeletons, and the joints of the model at which they begin.
BONES = {
    "Hip": "spine_base", "Ab": "spine_mid", "Chest": "spine_mid", "Neck": "spine_shoulder", "Head": "neck",
    **{f"{s[0].upper()}{bone}": f"{joint}_{s}" for s in ("left", "right") for bone, joint in (
        ("UArm", "shoulder"), ("FArm", "elbow"), ("Hand", "wrist"), ("Thigh", "hip"), ("Shin", "knee"),
        ("Foot", "ankle"), ("Toe", "foot"))},
}  # fmt: skip


def save(tmp_path: Path, text: str, name: str = "take.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, newline="")
    return path


def lines(rows: list[list[Any]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def motive(
    names: list[str], points: np.ndarray, kind: str = "Bone", rotation: str | None = "Quaternion", unit: str = "Meters"
) -> str:
    """Motive's export of positions [T, N, 3]; NaN becomes an empty cell."""
    turns = {None: "", "Quaternion": "XYZW", "XYZ": "XYZ"}[rotation]
    axes = [*turns, *"XYZ"]
    parts = ["Rotation"] * len(turns) + ["Position"] * 3
    about = ["Format Version", "1.23", "Take Name", "Walk, slow", "Capture Frame Rate", "120.000000",
             "Export Frame Rate", "60.000000", "Rotation Type", rotation or "", "Length Units", unit]  # fmt: skip
    rows: list[list[Any]] = [about, []]
    for label, cells in (("Type", [kind] * len(names)), ("Name", names), ("ID", ["7"] * len(names))):
        rows.append(["", label, *(cell for cell in cells for _ in axes)])
    rows += [["", "", *parts * len(names)], ["Frame", "Time (Seconds)", *axes * len(names)]]
    for number, frame in enumerate(points):
        cells: list[Any] = []
        for place in frame:
            cells += [0.5] * len(turns) + ["" if np.isnan(value) else f"{value:.6f}" for value in place]
        rows.append([number, f"{number / 60:.6f}", *cells])
    return lines(rows)


@pytest.mark.parametrize("rotation", ["Quaternion", "XYZ", None])
def test_skeletons_of_motive(tmp_path: Path, rotation: str | None):
    body = person("ntu25", 4)
    points = body[:, [NTU25.index(joint) for joint in BONES.values()]]
    path = save(tmp_path, motive([f"Ann:{bone}" for bone in BONES], points, rotation=rotation))
    assert find_format(path) == "motive"
    skeleton = load(path)
    assert (skeleton.fps, skeleton.info["unit"], skeleton.info["unit_from"]) == (60, "m", "format")
    found = skeleton.to_layout("ntu25").positions[0]
    for joint in ("spine_base", "shoulder_left", "elbow_left", "wrist_right", "hip_left", "knee_right", "ankle_left"):
        np.testing.assert_allclose(found[:, NTU25.index(joint)], body[:, NTU25.index(joint)], atol=1e-5, err_msg=joint)


def test_two_skeletons_of_motive_in_millimetres(tmp_path: Path):
    points = person("ntu25", 4)[:, [NTU25.index(joint) for joint in BONES.values()]] * 1000
    names = [f"{who}:{bone}" for who in ("Ann", "Bob") for bone in BONES]
    both = np.concatenate([points, points + np.array([1000, 0, 0])], axis=1)
    skeleton = load(save(tmp_path, motive(names, both, unit="Millimeters")))
    np.testing.assert_allclose(skeleton.positions[1, :, :, 0] - skeleton.positions[0, :, :, 0], 1, atol=1e-5)


def test_markers_of_motive(tmp_path: Path):
    names = {"ASI": "Waist{}Front", "PSI": "Waist{}Back", "SHO": "{}ShoulderTop", "ELB": "{}ElbowOut",
             "WRA": "{}WristIn", "WRB": "{}WristOut", "KNE": "{}KneeOut", "ANK": "{}AnkleOut", "TOE": "{}ToeIn",
             "HEE": "{}Heel"}  # fmt: skip
    markers = {names[k[1:]].format(k[0]): at for k, at in PLUG_IN_GAIT.items() if k[1:] in names}
    markers |= {"BackTop": PLUG_IN_GAIT["C7"], "Chest": PLUG_IN_GAIT["STRN"], "HeadFront": (0, -90, 1700)}
    x, y, z = np.moveaxis(walked(markers), -1, 0) / 1000
    points = np.stack([x, z, -y], axis=-1)
    points[1, 0] = np.nan
    labels = [f"Skeleton 001:{name}" for name in markers]
    skeleton = load(save(tmp_path, motive(labels, points, "Marker", None)), up="y")
    assert "joints_from" in skeleton.info and not skeleton.tracked[0, 1].all()
    for joint in ("hip_left", "knee_left", "ankle_left", "shoulder_left", "wrist_left"):
        found = skeleton.positions[0, 0, NTU25.index(joint)]
        assert np.linalg.norm(found - PLUG_IN_GAIT_JOINTS[joint]) < 0.07, joint


def nexus(labels: list[str], points: np.ndarray, before: str = "") -> str:
    """Nexus' export of positions [T, N, 3] in mm."""
    rows: list[list[Any]] = [["Trajectories"], [100], ["", "", *(cell for label in labels for cell in (label, "", ""))]]
    rows += [["Frame", "Sub Frame", *"XYZ" * len(labels)], ["", "", *["mm"] * 3 * len(labels)]]
    for number, frame in enumerate(points):
        rows.append([number + 1, 0, *("" if np.isnan(value) else f"{value:.3f}" for value in frame.ravel())])
    return before + lines(rows) + "\n"


@pytest.mark.parametrize("before", ["", "Devices\n1000\n,,Force\nFrame,Sub Frame,Fx\n,,N\n1,0,5\n1,1,6\n\n"])
def test_trajectories_of_nexus(tmp_path: Path, before: str):
    points = walked(PLUG_IN_GAIT)
    points[1, list(PLUG_IN_GAIT).index("LKNE")] = np.nan
    path = save(tmp_path, nexus([f"Ann:{label}" for label in PLUG_IN_GAIT], points, before))
    assert find_format(path) == "nexus"
    skeleton = load(path)
    assert (skeleton.fps, skeleton.info["unit"], skeleton.info["up"]) == (100, "mm", "z")
    assert skeleton.tracked[0].sum(1).tolist() == [25, 24, 25, 25]
    for joint, place in PLUG_IN_GAIT_JOINTS.items():
        assert np.linalg.norm(skeleton.positions[0, 0, NTU25.index(joint)] - place) < 0.06, joint


def qtm(labels: list[str], points: np.ndarray, *, columns: bool = False) -> str:
    """QTM's export of positions [T, N, 3] in mm; NaN becomes zeros."""
    rows: list[list[Any]] = [["NO_OF_FRAMES", len(points)], ["NO_OF_CAMERAS", 8], ["NO_OF_MARKERS", len(labels)],
                             ["FREQUENCY", 120], ["DESCRIPTION", "--"], ["TIME_STAMP", "2020-01-01, 10:00:00"],
                             ["DATA_INCLUDED", "3D"], ["MARKER_NAMES", *labels]]  # fmt: skip
    if columns:
        rows.append(["Frame", "Time", *(f"{label} {axis}" for label in labels for axis in "XYZ")])
    for number, frame in enumerate(np.nan_to_num(points)):
        before = [number + 1, f"{number / 120:.5f}"] if columns else []
        rows.append([*before, *(f"{value:.3f}" for value in frame.ravel())])
    return "\n".join("\t".join(map(str, row)) for row in rows) + "\n"


@pytest.mark.parametrize("columns", [True, False])
def test_tsv_of_qualisys(tmp_path: Path, columns: bool):
    points = walked(PLUG_IN_GAIT)
    points[1, list(PLUG_IN_GAIT).index("LKNE")] = np.nan
    path = save(tmp_path, qtm(list(PLUG_IN_GAIT), points, columns=columns), "take.tsv")
    assert find_format(path) == "qtm"
    skeleton = load(path)
    assert (skeleton.fps, skeleton.info["unit"], skeleton.info["up"]) == (120, "mm", "z")
    assert skeleton.tracked[0].sum(1).tolist() == [25, 24, 25, 25]
    for joint, place in PLUG_IN_GAIT_JOINTS.items():
        assert np.linalg.norm(skeleton.positions[0, 0, NTU25.index(joint)] - place) < 0.06, joint


def test_tables_separated_by_tabs_may_be_called_so(tmp_path: Path):
    body = person("ntu25", 4)
    path = save(tmp_path, wide(NTU25, body).replace(",", "\t"), "take.tsv")
    assert find_format(path) == "csv"
    np.testing.assert_allclose(load(path).positions[0], body, atol=1e-5)


def z_up(points: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack([x, -z, y], axis=-1)


def wide(names: list[str], points: np.ndarray, score: float | None = None, **more: list[Any]) -> str:
    axes = "xyz" if score is None else "xyzv"
    rows: list[list[Any]] = [[*more, *(f"{name}_{axis}" for name in names for axis in axes)]]
    for number, frame in enumerate(points):
        table = frame if score is None else np.c_[frame, np.full(len(frame), score)]
        rows.append([*(column[number] for column in more.values()), *table.ravel().round(6)])
    return lines(rows)


def test_freemocap(tmp_path: Path):
    """Body, by frame wide with hands and centres of mass, and by frame long with several trajectories."""
    body = person("mediapipe33", 4)
    points = z_up(body) * 1000 + np.array([300, -200, 0])
    for text in (
        wide(MEDIAPIPE, points),
        wide(
            [*MEDIAPIPE, "com_full_body", *(f"right_{i:04d}" for i in range(21))],
            np.concatenate([points, points[:, :1], points[:, :21]], axis=1),
            timestamp=[0, 0.04, 0.08, 0.12], timestamp_by_camera=["{'Camera_0': 1, 'Camera_1': 2}"] * 4,
        ),
        long(points),
    ):  # fmt: skip
        skeleton = load(save(tmp_path, text))
        assert skeleton.layout.joints == tuple(MEDIAPIPE)
        assert (skeleton.info["unit"], skeleton.info["up"]) == ("mm", "z")
        np.testing.assert_allclose(skeleton.positions[0], body + np.array([0.3, 0, 0.2]), atol=1e-4)
    assert find_format(tmp_path / "take.csv") == "freemocap"


def long(points: np.ndarray, model: str = "mediapipe.body") -> str:
    rows: list[list[Any]] = [["frame", "keypoint", "x", "y", "z", "model", "reprojection_error", "trajectory"]]
    for number, frame in enumerate(points):
        for trajectory, shift in (("rigid_3d_xyz", 9), ("3d_xyz", 0)):
            for name, place in zip(MEDIAPIPE, frame, strict=True):
                rows.append([number, name, *(place + shift).round(3), model, "", trajectory])
        rows.append([number, "wrist", 1, 2, 3, "mediapipe.right_hand", "", "3d_xyz"])
    return lines(rows)


def test_freemocap_without_a_body(tmp_path: Path):
    with pytest.raises(ReadError, match="expected trajectories of a body"):
        load(save(tmp_path, long(person("mediapipe33", 2), "mediapipe.left_hand")))


@pytest.mark.parametrize("joints", [553, 543, 75])
def test_freemocap_arrays(tmp_path: Path, joints: int):
    body = person("mediapipe33", 4)
    points = np.full((4, joints, 3), 5.0)
    points[:, :33] = z_up(body) * 1000
    np.save(tmp_path / "skeleton.npy", points)
    skeleton = load(tmp_path / "skeleton.npy")
    assert skeleton.layout.name == "mediapipe33" and skeleton.info["up"] == "z"
    np.testing.assert_allclose(skeleton.positions[0], body, atol=1e-4)


SUBSETS = {
    "without face and hands": [
        "nose", *(f"{s}_{p}" for p in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel", "foot_index")
                  for s in ("left", "right"))],
    "COCO's": list(get_layout("coco17").joints),
    "trunk and legs": [f"{s}_{p}" for p in ("shoulder", "hip", "knee", "ankle") for s in ("left", "right")],
}  # fmt: skip


@pytest.mark.parametrize("names", SUBSETS.values(), ids=SUBSETS)
def test_subsets_of_landmarks(tmp_path: Path, names: list[str]):
    places = [MEDIAPIPE.index(name) for name in names]
    points = world(4)[:, places]
    skeleton = load(save(tmp_path, wide(names, points, 0.9, label=["C"] * 4)))
    assert (skeleton.info["unit"], skeleton.layout.joints) == ("m", tuple(names))
    np.testing.assert_allclose(skeleton.positions[0], points * np.array([1, -1, -1]), atol=1e-5)
    absent = set(skeleton.layout.absent(get_layout("ntu25")))
    assert not absent & {"spine_base", "spine_shoulder", "hip_left", "knee_right", "ankle_left"}
    assert "left_wrist" not in names or not absent & {"hand_left", "hand_tip_right", "head", "neck"}
    fractions = points * 0.3 + np.array([0.5, 0.5, 0])
    for image in (fractions, fractions * np.array([1280, 720, 1280])):
        with pytest.raises(ReadError, match="found those of the image"):
            load(save(tmp_path, wide(names, image, 0.9)))


def test_a_room_is_no_image(tmp_path: Path):
    names = SUBSETS["without face and hands"]
    body = person("mediapipe33", 4)[:, [MEDIAPIPE.index(name) for name in names]]
    skeleton = load(save(tmp_path, wide(names, z_up(body) + np.array([3, 1, 0]))))
    assert (skeleton.info["unit"], skeleton.info["up"]) == ("m", "z")


def test_rotations_are_no_positions(tmp_path: Path):
    body = person("ntu25", 12)
    both = [name for joint in NTU25 for name in (f"{joint}_position", f"{joint}_rotation")]
    points = np.stack([body, np.random.default_rng(0).uniform(-180, 180, body.shape)], axis=2).reshape(12, 50, 3)
    np.testing.assert_allclose(load(save(tmp_path, wide(both, points))).positions[0], body, atol=1e-5)
    with pytest.raises(ReadError, match="expected positions of joints, found only how they turn"):
        load(save(tmp_path, wide([f"{joint}_rot" for joint in NTU25], body)))
    header = wide(NTU25, body).replace("_x", "_Xrotation").replace("_y", "_Yrotation").replace("_z", "_Zrotation")
    with pytest.raises(ReadError, match="expected positions of joints, found only how they turn"):
        load(save(tmp_path, header))
    named = wide(NTU25, body).replace("_x", "_Xposition").replace("_y", "_Yposition").replace("_z", "_Zposition")
    np.testing.assert_allclose(load(save(tmp_path, named)).positions[0], body, atol=1e-5)


def test_angles_under_the_names_of_joints_are_refused(tmp_path: Path):
    angles = np.random.default_rng(0).uniform(-90, 90, (30, 25, 3))
    with pytest.raises(ReadError, match=r"limbs change their length by .* %, as they do where the numbers are angles"):
        load(save(tmp_path, wide(NTU25, angles)))


GOOD = motive([f"Ann:{bone}" for bone in BONES], np.ones((4, len(BONES), 3)))
BAD = {
    "motive, header only": ("\n".join(GOOD.splitlines()[:7]), "expected frames after the header"),
    "motive, cut header": ("\n".join(GOOD.splitlines()[:4]), "expected the header of Motive"),
    "motive, a word": (GOOD.replace("1.000000", "x", 1), "row 1 of the frames: could not convert"),
    "motive, no positions": (GOOD.replace("Position", "Rotation"), "expected positions of bones or markers"),
    "motive, local": (GOOD.replace("Length Units,", "Coordinate Space,Local,Length Units,"), "global coordinates"),
    "motive, cut": (GOOD[:-200], "the last row has .* Is the file cut"),
    "qtm, no frames": (qtm(["a"], np.ones((0, 1, 3))), "expected frames after the header"),
    "qtm, no names": ("NO_OF_FRAMES\t3\n1\t2\t3\n", "MARKER_NAMES"),
    "nexus, no trajectories": ("Model Outputs\n100\n,,a\nFrame,Sub Frame,X\n,,deg\n1,0,5\n", "section Trajectories"),
    "nexus, no rows": ("Trajectories\n100\n,,a,,\nFrame,Sub Frame,X,Y,Z\n,,mm,mm,mm\n\n", "section Trajectories"),
    "nexus, a word": (nexus(["a"], np.ones((2, 1, 3))).replace("1.000", "y", 1), "could not convert"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad(tmp_path: Path, text: str, message: str):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, text, "take.tsv" if text.startswith("NO_OF") else "take.csv"))


def test_names_that_say_nothing(tmp_path: Path):
    with pytest.raises(LayoutError):
        load(save(tmp_path, nexus(["a", "b", "c"], np.random.default_rng(0).normal(size=(4, 3, 3)))))
