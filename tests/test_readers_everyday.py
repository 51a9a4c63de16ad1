"""UI-PRMD, UTD-MHAD, SBU Kinect Interaction and UTKinect."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from everyday_helpers import (
    mat_file,
    rows,
    sbu_people,
    sbu_text,
    standing,
    uiprmd_numbers,
    utdmhad_file,
    utkinect_text,
)

from mamp.errors import MAMPError, MissingFileError, ReadError
from mamp.layouts import get_layout
from mamp.readers import load, utdmhad, utkinect
from mamp.readers.uiprmd import JOINTS, PARENTS


def corpus_clip(shared: Path, corpus: str, name: str) -> tuple[np.ndarray, np.lib.npyio.NpzFile, int]:
    data = np.load(shared / "data" / "corpora" / f"{corpus}.npz")
    index = data["clip"].tolist().index(name)
    return data["positions"][slice(*data["offsets"][index : index + 2])], data, index


@pytest.mark.parametrize(
    ("file", "name"),
    [("m01_s01_e01_positions_inc.txt.gz", "m01_s01_e01_inc"), ("m03_s04_e05_positions.txt.gz", "m03_s04_e05")],
)
def test_real_uiprmd_equals_the_corpus(shared, file, name):
    skeleton = load(shared / "data" / "raw" / "ui-prmd" / file)
    wanted, data, index = corpus_clip(shared, "ui-prmd", name)
    assert list(skeleton.layout.joints) == data["joints"].tolist()
    assert list(skeleton.layout.parents) == data["parents"].tolist()
    # The corpus is rounded to 0.1 mm; found: 0.0501 mm.
    np.testing.assert_allclose(skeleton.positions[0], wanted, atol=5.1e-5)
    for column in ("label", "subject", "correct"):
        assert skeleton.info[column] == data[column][index]
    assert skeleton.fps == data["fps"] == 30


def write_uiprmd(folder: Path, frames: int = 4, name: str = "m02_s03_e04_positions.txt") -> tuple[Path, np.ndarray]:
    positions, angles = uiprmd_numbers(frames)
    path = folder / name
    path.write_text(rows(positions))
    (folder / name.replace("positions", "angles")).write_text(rows(angles))
    return path, wanted_uiprmd(positions, angles)


def wanted_uiprmd(positions: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """One frame and joint at a time, R = Rz Rx Ry."""
    result = np.zeros((len(positions), len(JOINTS), 3))
    for frame, (places, turns) in enumerate(zip(positions.reshape(-1, 22, 3), angles.reshape(-1, 22, 3), strict=True)):
        axes = []
        for joint, parent in enumerate(PARENTS):
            (cx, cy, cz), (sx, sy, sz) = np.cos(np.deg2rad(turns[joint])), np.sin(np.deg2rad(turns[joint]))
            x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
            y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
            z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
            before = np.eye(3) if parent < 0 else axes[parent]
            start = np.zeros(3) if parent < 0 else result[frame, parent]
            result[frame, joint] = start + before @ places[joint]
            axes.append(before @ z @ x @ y)
    return result / 100


def test_uiprmd(tmp_path):
    path, wanted = write_uiprmd(tmp_path)
    skeleton = load(path)
    np.testing.assert_allclose(skeleton.positions[0], wanted, atol=1e-6)
    said = {key: skeleton.info[key] for key in ("format", "label", "subject", "example", "correct")}
    assert said == {"format": "uiprmd", "label": 1, "subject": 3, "example": 4, "correct": True}
    mapped = skeleton.to_layout("ntu25")
    place = mapped.layout.joints.index
    np.testing.assert_allclose(
        mapped.positions[0, :, place("knee_left")], wanted[:, JOINTS.index("l_lower_leg")], atol=1e-6
    )


def test_uiprmd_angles_elsewhere(tmp_path):
    """In the folder Angles beside Positions as distributed, one of the two gzipped; and in a zip file."""
    path, wanted = write_uiprmd(tmp_path, name="m02_s03_e04_positions_inc.txt")
    for folder, name in (("Positions", path.name), ("Angles", path.name.replace("positions", "angles"))):
        (tmp_path / folder).mkdir()
        (tmp_path / name).rename(tmp_path / folder / name)
    angles = tmp_path / "Angles" / "m02_s03_e04_angles_inc.txt"
    angles.with_name(angles.name + ".gz").write_bytes(gzip.compress(angles.read_bytes()))
    with zipfile.ZipFile(tmp_path / "kinect.zip", "w") as archive:
        archive.write(tmp_path / "Positions" / path.name, f"Kinect/Positions/{path.name}")
        archive.write(angles, f"Kinect/Angles/{angles.name}")
    angles.unlink()
    skeleton = load(tmp_path / "Positions" / path.name)
    np.testing.assert_allclose(skeleton.positions[0], wanted, atol=1e-6)
    assert skeleton.info["correct"] is False
    inside = load(tmp_path / "kinect.zip" / "Kinect" / "Positions" / path.name)
    np.testing.assert_array_equal(inside.positions, skeleton.positions)


def test_bad_uiprmd(tmp_path):
    path, _ = write_uiprmd(tmp_path)
    angles = path.with_name("m02_s03_e04_angles.txt")
    with pytest.raises(ReadError, match="holds the angles; give the file of positions"):
        load(angles)
    lines = angles.read_text().splitlines(keepends=True)
    angles.write_text("".join(lines[:-1]))
    with pytest.raises(ReadError, match=r"4 frames, but 3 in .*angles"):
        load(path)
    angles.write_text("".join(lines)[:-30])
    with pytest.raises(ReadError, match="number of columns changed from 66"):
        load(path)
    angles.unlink()
    with pytest.raises(MissingFileError, match=r"the angles are needed: expected m02_s03_e04_angles\.txt beside it"):
        load(path)
    other = path.rename(tmp_path / "squat.txt")
    with pytest.raises(MissingFileError, match="rename the two"):
        load(other)


@pytest.mark.parametrize("stored", ["f8", "f4"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_utdmhad(tmp_path, stored, compressed, order):
    positions = standing(5, utdmhad.JOINTS)
    positions[1, 7] = 0
    path = tmp_path / "a14_s3_t2_skeleton.mat"
    array = np.moveaxis(positions, 0, -1)
    path.write_bytes(mat_file("d_skel", array, compressed=compressed, order=order, stored=stored))
    skeleton = load(path)
    np.testing.assert_array_equal(np.nan_to_num(skeleton.positions[0]), positions.astype(np.float32))
    assert not skeleton.tracked[0, 1, 7] and skeleton.tracked.sum() == 99
    assert skeleton.layout.name == "kinect20" and skeleton.fps == 30
    assert {key: skeleton.info[key] for key in ("label", "subject", "example")} == {
        "label": 13,
        "subject": 3,
        "example": 2,
    }
    mapped = skeleton.to_layout("ntu25")
    place = mapped.layout.joints.index("hand_right")
    np.testing.assert_array_equal(
        mapped.positions[0, :, place], positions[:, utdmhad.JOINTS.index("hand_right")].astype("f4")
    )


@pytest.mark.parametrize("compressed", [True, False])
def test_utdmhad_as_scipy_writes_it(tmp_path, compressed):
    io_of_scipy = pytest.importorskip("scipy.io")
    positions = standing(4, utdmhad.JOINTS)
    path = tmp_path / "clip.mat"
    others = {"text": "words", "cells": np.array([1, "a"], dtype=object), "flag": True, "z": np.array([1 + 2j]), "n": 7}
    array = np.moveaxis(positions, 0, -1)
    io_of_scipy.savemat(path, {**others, "d_skel": array}, do_compression=compressed)
    np.testing.assert_array_equal(load(path).positions[0], positions.astype(np.float32))
    whole = (array * 50).round()
    io_of_scipy.savemat(path, {"d_skel": whole.astype(np.int8)})
    np.testing.assert_array_equal(load(path, unit=1.0).positions[0], np.moveaxis(whole, -1, 0).astype(np.float32))
    io_of_scipy.savemat(path, {"d_skel": array[..., 0]})
    assert load(path).num_frames == 1
    io_of_scipy.savemat(path, {"d_skel": array[..., 0]}, format="4")
    with pytest.raises(ReadError, match="expected a MATLAB file of version 5 to 7"):
        load(path)


def damaged_mat(**changes: object) -> bytes:
    return mat_file("d_skel", np.ones((20, 3, 2)), **changes)  # type: ignore[arg-type]


BAD_MAT = {
    "cut": (damaged_mat()[:-20], "damaged or cut MATLAB file"),
    "cut plain": (damaged_mat(compressed=False)[:-20], "an element of"),
    "huge size": (
        damaged_mat(compressed=False).replace(
            np.array([20, 3, 2], "<i4").tobytes(), np.array([1 << 30, 3, 2], "<i4").tobytes()
        ),
        r"an array of size \[1073741824, 3, 2\] with 120 numbers",
    ),
    "negative size": (
        damaged_mat(compressed=False).replace(
            np.array([20, 3, 2], "<i4").tobytes(), np.array([-20, -3, 2], "<i4").tobytes()
        ),
        "an array of size",
    ),
    "version 7.3": (b"MATLAB 7.3 MAT-file" + b" " * 600, r"version 7\.3 \(HDF5\); save it with"),
    "text": (b"d_skel = 1", "expected a MATLAB file"),
    "other name": (mat_file("d_iner", np.ones((200, 6))), "found 'd_iner'"),
    "other size": (mat_file("d_skel", np.ones((25, 3, 4))), r"found \[25, 3, 4\]"),
    "no numbers": (damaged_mat()[:128], "found no array of numbers"),
    "zeros": (mat_file("d_skel", np.zeros((20, 3, 2))), "no tracked person"),
    "infinite": (mat_file("d_skel", np.full((20, 3, 2), np.inf)), "found inf"),
}


@pytest.mark.parametrize(("data", "message"), BAD_MAT.values(), ids=BAD_MAT)
def test_bad_mat(tmp_path, data, message):
    path = tmp_path / "a1_s1_t1_skeleton.mat"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=message):
        load(path)


def test_a_mat_file_that_unpacks_to_much(tmp_path, monkeypatch):
    monkeypatch.setattr("mamp.readers.mat.MAX_UNPACKED", 1 << 16)
    path = tmp_path / "a1_s1_t1_skeleton.mat"
    path.write_bytes(mat_file("d_skel", np.zeros((20, 3, 1000))))
    with pytest.raises(ReadError, match="unpacked larger than"):
        load(path)


def test_sbu(tmp_path):
    people = sbu_people(4)
    path = tmp_path / "s05s02" / "07" / "002" / "skeleton_pos.txt"
    path.parent.mkdir(parents=True)
    path.write_text(sbu_text(people))
    skeleton = load(path)
    assert skeleton.layout == get_layout("sbu15") and skeleton.fps == 15 and skeleton.num_people == 2
    np.testing.assert_allclose(skeleton.positions, people, atol=1e-4)  # five digits are written
    said = {key: skeleton.info[key] for key in ("label", "pair", "example")}
    assert said == {"label": 6, "pair": "s05s02", "example": 2}
    mapped = skeleton.to_layout("ntu25")
    assert mapped.tracked.all()
    place = mapped.layout.joints.index
    np.testing.assert_allclose(
        mapped.positions[:, :, place("spine_base")], people[:, :, [9, 12]].mean(axis=2), atol=1e-4
    )


def test_sbu_coordinates(tmp_path):
    """The middle of the picture 2 metres away; a joint at zero is not tracked; the person on the left comes first."""
    values = np.tile([0.5, 0.5, 1.5625], 30)
    values[3:6] = 0
    values[45 + 6 : 45 + 9] = (0.75, 0.25, 1.171875)
    path = tmp_path / "skeleton_pos.txt"
    path.write_text("1," + ",".join(map(str, values)) + "\n")
    skeleton = load(path)
    np.testing.assert_allclose(skeleton.positions[0, 0, 0], (0, 0, 2), atol=1e-6)
    np.testing.assert_allclose(skeleton.positions[1, 0, 2], (-0.64, 0.48, 1.5), atol=1e-6)
    assert skeleton.tracked.sum() == 29 and not skeleton.tracked[0, 0, 1] and "pair" not in skeleton.info


def test_utkinect(tmp_path):
    numbers = np.array([254, 256, 258, 258, 260, 266])
    positions = standing(6)
    positions[4, 3] = 0
    path = tmp_path / "joints_s03_e02.txt"
    path.write_text(utkinect_text(numbers, positions))
    skeleton = load(path)
    assert skeleton.info["frame_numbers"].tolist() == [254, 256, 258, 260, 266]
    np.testing.assert_array_equal(np.nan_to_num(skeleton.positions[0]), positions[[0, 1, 2, 4, 5]].astype(np.float32))
    assert not skeleton.tracked[0, 3, 3] and skeleton.tracked.sum() == 99
    assert skeleton.fps == 15 and (skeleton.info["subject"], skeleton.info["example"]) == (3, 2)
    path.write_text(utkinect_text(numbers[:1], positions[:1]))
    assert load(path).fps == 15


LABELS = "s01_e01\nwalk: 252 390\nsitDown: 572 686 \ncarry: NaN NaN\n\ns01_e02\nclapHands:  2984 3204\n"


def test_labels_of_utkinect(tmp_path):
    path = tmp_path / "actionLabel.txt"
    path.write_text(LABELS)
    found = utkinect.read_labels(path)
    assert found == {
        "s01_e01": [utkinect.Interval(0, 252, 390), utkinect.Interval(1, 572, 686)],
        "s01_e02": [utkinect.Interval(9, 2984, 3204)],
    }
    for text, message in [
        ("walk: 1 2\n", "line 1: expected a recording such as s01_e01"),
        ("s01_e01\nfly: 1 2\n", "line 2: .*found 'fly: 1 2'"),
        ("s01_e01\nwalk: 5 2\n", "two ascending frame numbers"),
        ("s01_e01\nwalk: a b\n", "two ascending frame numbers"),
        (f"s01_e01\nwalk: 1 {'9' * 30}\n", "two ascending frame numbers"),
    ]:
        path.write_text(text)
        with pytest.raises(ReadError, match=message):
            utkinect.read_labels(path)


BAD_TEXT = {
    "sbu cut": ("skeleton_pos.txt", sbu_text(sbu_people(2))[:-40], "number of columns changed from 91"),
    "sbu zeros": ("skeleton_pos.txt", "1," + ",".join(["0"] * 90), "no tracked person"),
    "sbu columns": ("skeleton_pos.txt", "1," + ",".join(["0.5"] * 45), r"91 \(SBU\) with commas.*found 46"),
    "utkinect half a frame number": ("joints_s01_e01.txt", "1.5 " + "1 " * 60, "begin with the number of a frame"),
    "utkinect cut": ("joints_s01_e01.txt", utkinect_text(np.arange(2), standing(2))[:-30], "number of columns changed"),
    "utkinect huge number": ("joints_s01_e01.txt", "1e300 " + "1 " * 60, "found 1e"),
}


@pytest.mark.parametrize(("name", "text", "message"), BAD_TEXT.values(), ids=BAD_TEXT)
def test_bad_text(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        load(path)


def test_formats_can_be_said(tmp_path):
    """What the suffix or the first row tells can be said too, and a wrong one is an error of the package."""
    path = tmp_path / "a1_s1_t1_skeleton.mat"
    path.write_bytes(utdmhad_file(3))
    assert load(path, format="utdmhad").num_frames == 3
    for format in ("sbu", "uiprmd", "utkinect", "bvh"):
        with pytest.raises(MAMPError):
            load(path, format=format)
    buffer = io.BytesIO(utdmhad_file(3))
    packed = tmp_path / "a1_s1_t1_skeleton.mat.gz"
    packed.write_bytes(gzip.compress(buffer.getvalue()))
    assert load(packed).num_frames == 3
