"""Arrays, CSV, the choice of format, units and axes."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest

from mamp.errors import LayoutError, MissingFileError, ReadError
from mamp.layouts import get_layout
from mamp.readers import find_format, formats, list_formats, load
from mamp.readers.load import READERS
from mamp.synthetic import synthesize

NTU25 = get_layout("ntu25").joints

# A person of human size who stands along y: enough joints at their places for the unit and the axis to be told.
STANDING = np.zeros((25, 3))
for _joint, _height in {
    "spine_base": 0.95, "spine_mid": 1.2, "spine_shoulder": 1.42, "neck": 1.5, "head": 1.65, "shoulder": 1.4,
    "elbow": 1.1, "wrist": 0.85, "hand": 0.8, "hand_tip": 0.75, "thumb": 0.8, "hip": 0.9, "knee": 0.5, "ankle": 0.1,
    "foot": 0.03,
}.items():  # fmt: skip
    for _side, _x in (("", 0.0), ("_left", -0.15), ("_right", 0.15)):
        if _joint + _side in NTU25:
            STANDING[NTU25.index(_joint + _side)] = [_x, _height, 2.5]


def standing(frames: int = 6) -> np.ndarray:
    return STANDING + 0.01 * np.random.default_rng(0).normal(size=(frames, 25, 3))


def save(tmp_path, array, name="clip.npy", **arrays):
    path = tmp_path / name
    if path.suffix == ".npz":
        np.savez(path, **({} if array is None else {"positions": array}), **arrays)
    else:
        np.save(path, array)
    return path


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "f2"])
@pytest.mark.parametrize("shape", ["tvc", "mtvc", "tvc flat", "fortran"])
def test_shapes_of_arrays(tmp_path, dtype, shape):
    array = standing().astype(dtype)
    wanted = array.astype(np.float32)[None]
    if shape == "mtvc":
        array = np.stack([array, array * 2])
        wanted = array.astype(np.float32)
    elif shape == "tvc flat":
        array = array.reshape(6, 75)
    elif shape == "fortran":
        array = np.asfortranarray(array)
    skeleton = load(save(tmp_path, array), layout="ntu25", fps=30, unit="m", up="y")
    np.testing.assert_array_equal(skeleton.positions, wanted)
    assert (skeleton.fps, skeleton.info["unit_from"], skeleton.info["format"]) == (30, "given", "numpy")


def test_two_people_side_by_side(tmp_path):
    array = standing()
    wide = np.concatenate([array.reshape(6, 75), np.zeros((6, 75))], axis=1)
    wide[:3, 75:] = array[:3].reshape(3, 75) + 1
    for layout in (None, "ntu25"):
        skeleton = load(save(tmp_path, wide), layout=layout)
        assert skeleton.positions.shape == (2, 6, 25, 3)
        np.testing.assert_allclose(skeleton.positions[1, :3], array[:3] + 1, rtol=1e-6)
        assert not skeleton.tracked[1, 3:].any()


def test_single_zero_joint_of_an_array_is_a_position(tmp_path):
    array = standing()
    array -= array[:, :1]
    assert load(save(tmp_path, array), layout="ntu25", unit="m").tracked.all()


def test_npz_says_everything(tmp_path):
    confidence = np.random.default_rng(1).uniform(size=(6, 25)).astype("f4")
    path = save(
        tmp_path, standing() * 1000, "clip.npz", fps=25.0, layout="ntu25", unit="mm", up="y", confidence=confidence
    )
    skeleton = load(path)
    np.testing.assert_allclose(skeleton.positions[0], standing(), rtol=1e-5)
    np.testing.assert_array_equal(skeleton.confidence[0], confidence)
    assert (skeleton.fps, skeleton.layout.name) == (25.0, "ntu25")
    assert load(path, fps=50).fps == 50, "what the caller says wins"


def test_npz_with_joint_names_in_another_order(tmp_path):
    order = np.random.default_rng(2).permutation(25)
    path = save(tmp_path, standing()[:, order], "clip.npz", joints=np.array(NTU25)[order])
    np.testing.assert_allclose(load(path).to_layout("ntu25").positions[0], standing(), rtol=1e-6)


def test_npz_with_the_only_array(tmp_path):
    path = save(tmp_path, None, "clip.npz", anything=standing(), fps=30)
    assert load(path, layout="ntu25").num_frames == 6
    with pytest.raises(ReadError, match="an array named 'positions', or one array of numbers; found a, b"):
        load(save(tmp_path, None, "two.npz", a=standing(), b=standing()))


def test_layout_by_number_of_joints(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="mamp"):
        assert load(save(tmp_path, np.random.default_rng(0).normal(size=(3, 20, 3)))).layout.name == "kinect20"
    assert "20 of them taken as layout 'kinect20'" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="mamp"):
        assert load(save(tmp_path, standing())).layout.name == "ntu25"
    assert "25 of them taken as layout 'ntu25'; 'body25' has as many" in caplog.text
    with pytest.raises(LayoutError, match=r"no registered layout has 18 of them.*ntu25 \(25\)"):
        load(save(tmp_path, np.random.default_rng(0).normal(size=(3, 18, 3))))
    with pytest.raises(LayoutError, match="coco17 and h36m17 all have 17"):
        load(save(tmp_path, np.random.default_rng(0).normal(size=(3, 17, 3))))
    with pytest.raises(LayoutError, match="has 20 joints, the file has 25"):
        load(save(tmp_path, standing()), layout="kinect20")
    with pytest.raises(LayoutError, match="unknown layout 'ntu26'"):
        load(save(tmp_path, standing()), layout="ntu26")


@pytest.mark.parametrize(("unit", "metres"), [("cm", 0.01), ("mm", 0.001), ("in", 0.0254), ("asf", 0.0254 / 0.45)])
def test_units(tmp_path, caplog, unit, metres):
    path = save(tmp_path, standing() / metres)
    with caplog.at_level(logging.WARNING, logger="mamp"):
        inferred = load(path, layout="ntu25")
    assert f"does not say its unit; {unit!r} inferred. Say unit=" in caplog.text
    assert (inferred.info["unit"], inferred.info["unit_from"]) == (unit, "inferred")
    for skeleton in (inferred, load(path, layout="ntu25", unit=unit), load(path, layout="ntu25", unit=metres)):
        np.testing.assert_allclose(skeleton.positions[0], standing(), rtol=1e-5)


def test_metres_and_y_need_no_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(save(tmp_path, standing()), layout="ntu25")
    assert not caplog.records and (skeleton.info["unit"], skeleton.info["up"]) == ("m", "y")


def test_unit_without_a_known_body(tmp_path):
    joints = ["hips"] + [f"{s}{j}" for s in ("left", "right") for j in ("Shoulder", "Elbow", "Hip", "Knee")]
    box = np.random.default_rng(0).uniform(-0.8, 0.8, size=(5, 9, 3))  # no head, no ankles: the box decides
    for unit, scale in (("m", 1), ("cm", 100), ("mm", 1000)):
        assert load(save(tmp_path, box * scale), layout=joints).info["unit"] == unit


@pytest.mark.parametrize("up", ["x", "-x", "y", "-y", "z", "-z"])
def test_up_axis_keeps_handedness(tmp_path, up):
    # A recording whose axis `up` points up, made by a rotation that is written down here on its own.
    axis, sign = "xyz".index(up[-1]), -1.0 if up[0] == "-" else 1.0
    new_up = np.eye(3)[axis] * sign
    new_x = np.eye(3)[(axis + 1) % 3]
    turn = np.stack([new_x, new_up, np.cross(new_x, new_up)], axis=1)
    assert np.isclose(np.linalg.det(turn), 1)
    skeleton = load(save(tmp_path, standing() @ turn.T), layout="ntu25", up=up, unit="m")
    got = skeleton.positions[0].astype(float)
    np.testing.assert_allclose(got[..., 1], standing()[..., 1], atol=1e-6)
    triple = [np.linalg.det(array[0, [3, 4, 13]] - array[0, 0]) for array in (got, standing())]
    np.testing.assert_allclose(triple[0], triple[1], rtol=1e-3)


def test_z_up_is_seen(tmp_path, caplog):
    x, y, z = np.moveaxis(standing(), -1, 0)
    path = save(tmp_path, np.stack([x, -z, y], -1))
    with caplog.at_level(logging.WARNING, logger="mamp"):
        skeleton = load(path, layout="ntu25")
    assert "does not say its up; 'z' inferred" in caplog.text and skeleton.info["up"] == "z"
    np.testing.assert_allclose(skeleton.positions[0], standing(), atol=1e-6)
    assert load(path, layout="ntu25", up="y").info["up_from"] == "given"


HEADERS = ["{j}_{a}", "{j}.{a}", "{j}:{A}", "{j} {A}", "{a}_{j}", '"{j}_{a}"']


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("spelling", HEADERS)
def test_csv_spellings(tmp_path, spelling, delimiter):
    header = [spelling.format(j=joint, a=axis, A=axis.upper()) for joint in NTU25 for axis in "xyz"]
    lines = [header, *([f"{value:.6f}" for value in row] for row in standing().reshape(6, 75))]
    path = tmp_path / "clip.csv"
    path.write_text("\n".join(delimiter.join(line) for line in lines))
    skeleton = load(path)
    assert skeleton.layout.joints == NTU25
    np.testing.assert_allclose(skeleton.positions[0], standing(), atol=1e-6)


def test_csv_without_header(tmp_path):
    path = tmp_path / "clip.csv"
    np.savetxt(path, standing().reshape(6, 75), delimiter=",")
    np.testing.assert_allclose(load(path).positions[0], standing(), rtol=1e-6)


def test_csv_with_people_time_confidence_and_gaps(tmp_path):
    header = ["time", "person", "head_confidence", *(f"{joint}_{axis}" for joint in NTU25 for axis in "xyz")]
    header += [f"{joint}_confidence" for joint in NTU25 if joint != "head"]
    rows = []
    for frame, person in [(0, 7), (1, 7), (1, 3), (2, 7)]:
        points = [f"{value + person:.5f}" for value in standing()[frame].ravel()]
        if frame == 2:
            points[0:3] = ["", "", ""]
        rows.append([f"{frame / 50:.3f}", str(person), "0.5", *points, *["1"] * 24])
    path = tmp_path / "clip.csv"
    path.write_text("\n".join(",".join(row) for row in [header, *rows]))
    skeleton = load(path, unit="m", up="y")
    assert skeleton.positions.shape == (2, 3, 25, 3) and skeleton.fps == 50
    assert skeleton.tracked.any(-1).tolist() == [[False, True, False], [True, True, True]]
    np.testing.assert_allclose(skeleton.positions[0, 1], standing()[1] + 3, atol=1e-5)
    np.testing.assert_allclose(skeleton.positions[1, :2], standing()[:2] + 7, atol=1e-5)
    assert not skeleton.tracked[1, 2, 0] and skeleton.tracked[1, 2, 1:].all()
    assert skeleton.confidence[1, 0, 3] == 0.5 and skeleton.confidence[1, 0, 4] == 1


def csv_text(header: str, *rows: str) -> str:
    return "\n".join([header, *rows])


XYZ = ",".join(f"{joint}_{axis}" for joint in NTU25 for axis in "xyz")
ONES = ",".join(["1"] * 75)
BAD_CSV = {
    "empty": ("", "is empty"),
    "header only": (XYZ, "a row for each frame after the header"),
    "cut row": (csv_text(XYZ, ONES, ONES[:99]), "expected 75 cells a row, found 50 in row 2"),
    "text": (csv_text(XYZ, "a" + ONES[1:]), "row 1, column 1, found 'a'"),
    "infinite": (csv_text(XYZ, "inf" + ONES[1:]), "found inf"),
    "2D": (csv_text("a_x,a_y,b_x,b_y", "1,2,3,4"), "2D keypoints"),
    "twice": (csv_text("a_x,a_y,a_z,a_x", "1,2,3,4"), "two columns are the x of joint 'a'"),
    "no joints": (csv_text("speed,heart", "1,2"), "expected columns such as head_x.*found speed, heart"),
    "all empty": (csv_text(XYZ, "," * 74), "no tracked person"),
    "zeros": (csv_text(XYZ, ONES.replace("1", "0")), "no tracked person"),
    "frames twice": (csv_text("frame," + XYZ, "1," + ONES, "1," + ONES), "ascending order"),
    "person without frame": (csv_text("person," + XYZ, "1," + ONES), "'person' column needs"),
    "person twice": (csv_text("person,frame," + XYZ, "1,1," + ONES, "1,1," + ONES), "found several"),
    "columns": (",".join(["1"] * 76), r"expected joints \* 3 columns a frame, found 76"),
}


@pytest.mark.parametrize(("text", "message"), BAD_CSV.values(), ids=BAD_CSV)
def test_bad_csv(tmp_path, text, message):
    path = tmp_path / "clip.csv"
    path.write_text(text)
    with pytest.raises(ReadError, match=message):
        load(path)


def test_csv_names_that_say_nothing(tmp_path):
    path = tmp_path / "clip.csv"
    path.write_text(csv_text("a_x,a_y,a_z", "1,2,3"))
    with pytest.raises(LayoutError, match=r"not understood.*Or say layout=NAME"):
        load(path)


def npy(array: np.ndarray, **changes: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    data = buffer.getvalue()
    for old, new in changes.values():
        assert old in data
        data = data.replace(old, new)
    return data


BAD_ARRAYS = {
    "cut": (npy(standing())[:-10], r"cut: shape \[6, 25, 3\]"),
    "cut header": (npy(standing())[:40], "not an array of numpy, or cut"),
    "gigantic": (npy(standing(), shape=(b"(6, 25, 3), }    ", b"(9999999, 25, 3)}")), r"cut: shape \[9999999, 25, 3\]"),
    "text": (b"hello", "not an array of numpy"),
    "objects": (npy(np.array([None, {}], dtype=object)), "pickled objects are refused"),
    "strings": (npy(np.array(["a"])), "expected numbers, found type <U1"),
    "complex": (npy(np.ones((2, 25, 3), complex)), "found type complex128"),
    "bools": (npy(np.ones((2, 25, 3), bool)), "found type bool"),
    "2D": (npy(np.ones((2, 25, 2))), "2D keypoints"),
    "channels first": (npy(np.ones((3, 6, 25))), "Move the axis of x, y, z to the end"),
    "one axis": (npy(np.ones(75)), r"found shape \[75\]"),
    "no frames": (npy(np.ones((0, 25, 3))), "found 1, 0 and 25"),
    "no joints": (npy(np.ones((4, 0, 3))), "found 1, 4 and 0"),
    "no columns": (npy(np.ones((4, 0))), "found 0"),
    "infinite": (npy(standing() * np.inf), "found inf|found -inf"),
    "absurd": (npy(standing() * 1e300), r"found .*e\+"),
    "nan": (npy(standing() * np.nan), "no tracked person"),
    "zero": (npy(standing() * 0), "no tracked person"),
    "cut zip": (b"PK\x03\x04 not really", "damaged or cut .npz"),
}


@pytest.mark.parametrize(("data", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_bad_arrays(tmp_path, data, message):
    path = tmp_path / "clip.npy"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=message):
        load(path)


def test_bad_npz(tmp_path):
    for arrays, message in [
        ({"joints": np.array([["a"]])}, "list of names"),
        ({"joints": np.array(NTU25), "parents": np.arange(3)}, "'parents' to be 25 integers"),
        ({"fps": np.arange(3)}, "expected one value"),
        ({"fps": np.array(-1.0)}, "frames per second above zero"),
        ({"unit": np.array("furlong")}, "unit='furlong': expected one of m, cm"),
    ]:
        with pytest.raises(ReadError, match=message):
            load(save(tmp_path, standing(), "clip.npz", **arrays))
    with pytest.raises(ValueError, match="confidence"):
        load(save(tmp_path, standing(), "clip.npz", confidence=np.ones((5, 25))), layout="ntu25")


def test_the_table_of_readers_has_the_suffixes_of_their_formats():
    for name, suffixes in READERS.items():
        module = import_module(f"mamp.readers.{name}")
        assert tuple(suffixes.split()) == (module.FORMAT.suffixes if hasattr(module, "FORMAT") else ()), name


def test_only_the_readers_that_a_file_may_need_are_imported(tmp_path):
    path = tmp_path / "walk.bvh"
    path.write_text(synthesize("walk", seconds=1))
    script = "import sys; from mamp import load; load(sys.argv[1]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    found = {name.removeprefix("mamp.readers.") for name in done.stdout.split() if name.startswith("mamp.readers.")}
    assert "bvh" in found and not found & {"amc", "gltf", "mvnx", "panoptic", "trc", "smpl"}


def test_formats_are_told(tmp_path):
    everyday = {"uiprmd", "utdmhad", "sbu", "utkinect"}
    estimators = {"mediapipe", "openpose", "mmpose", "azure", "smpl", "c3d", "trc", "panoptic", "easymocap"}
    tables = {"motive", "nexus", "freemocap", "qtm", "mvnx", "gltf"}
    assert set(formats()) == {
        "ntu",
        "bvh",
        "amc",
        "numpy",
        "csv",
        "nwucla",
        "pku",
        "msr",
        *everyday,
        *estimators,
        *tables,
    }
    for name, wanted in [("a.SKELETON", "ntu"), ("a.bvh.gz", "bvh"), ("a.npy", "numpy"), ("a.c3d", "c3d")]:
        assert find_format(tmp_path / name) == wanted
    for text, wanted in [("1 " * 150, "pku"), ("1 2 3 4", "msr"), ("103", "ntu")]:
        (tmp_path / "a.txt").write_text("\n" + text + "\n")
        assert find_format(tmp_path / "a.txt") == wanted
    (tmp_path / "a.txt").write_text("some words here")
    with pytest.raises(ReadError, match="found 3 words"):
        load(tmp_path / "a.txt")


def test_unknown_formats_list_the_known(tmp_path):
    (tmp_path / "a.fbx").write_bytes(b"x")
    (tmp_path / "a.asf").write_bytes(b"x")
    with pytest.raises(ReadError, match=r"no format is known by the suffix '\.fbx'") as caught:
        load(tmp_path / "a.fbx")
    assert list_formats() in str(caught.value) and all(name in list_formats() for name in formats())
    with pytest.raises(ReadError, match=r"give the \.amc"):
        load(tmp_path / "a.asf")
    with pytest.raises(ReadError, match="format='fbx' is unknown"):
        load(tmp_path / "a.fbx", format="fbx")
    with pytest.raises(MissingFileError, match="nor the folder"):
        load(tmp_path / "no" / "a.fbx")


def test_format_wins_over_suffix(tmp_path):
    path = save(tmp_path, standing())
    renamed = path.rename(tmp_path / "clip.dat")
    assert load(renamed, format="numpy", layout="ntu25").num_frames == 6


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"unit": "furlong"}, "unit='furlong'"), ({"unit": 0}, "unit=0"), ({"unit": float("nan")}, "unit=nan"),
        ({"unit": True}, "unit=True"), ({"up": "w"}, "up='w': expected the axis"), ({"fps": 0}, "fps=0"),
        ({"fps": "fast"}, "fps='fast'"), ({"fps": float("inf")}, "fps=inf"),
    ],
)  # fmt: skip
def test_bad_options(tmp_path, option, message):
    with pytest.raises(ReadError, match=message):
        load(save(tmp_path, standing()), **option)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "clip.csv.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00 broken")
    with pytest.raises(ReadError, match="damaged or cut gzip"):
        load(path)
