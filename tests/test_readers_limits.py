"""Small files that would take much memory or time, and messages that quote what files hold."""

from __future__ import annotations

import base64
import gzip
import io
import json
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from readers_helpers import c3d_bytes, person

from mamp.errors import MAMPError, MissingFileError, ReadError
from mamp.layouts import get_layout
from mamp.readers import load


def test_a_small_gzip_file_takes_little_memory(tmp_path: Path):
    path = tmp_path / "bomb.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(300):
            file.write(b"," * (1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(ReadError, match="bytes unpack to more than 134,217,728"):
        load(path)


def test_a_small_npz_file_takes_little_memory(tmp_path: Path):
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, positions=np.zeros((600_000, 25, 3), np.float32))
    with pytest.raises(ReadError, match="bytes unpack to more than 134,217,728"):
        load(path)


@pytest.mark.parametrize("line", ["," * 10_000_000, "," * 999 + "\n", "1," * 999 + "1\n"])
def test_ten_megabytes_of_commas(tmp_path: Path, line: str):
    path = tmp_path / "commas.csv"
    path.write_text(line * (10_000_000 // len(line)))
    start = time.process_time()
    with pytest.raises(MAMPError):
        load(path)
    assert time.process_time() - start < 10


def test_messages_are_short_and_printable(tmp_path: Path):
    path = tmp_path / "escape.bvh"
    path.write_text("HIERARCHY\nROOT \x1b[31m" + "x" * 5000 + "\n{\n\x07}\nMOTION\n")
    with pytest.raises(ReadError) as caught:
        load(path)
    assert all(one.isprintable() or one == "\n" for one in str(caught.value)) and len(str(caught.value)) <= 2000
    assert str(ReadError("\x1b[31mred")) == "\\x1b[31mred"
    assert str(ReadError("y" * 5000)).endswith("y ...") and len(str(ReadError("y" * 5000))) == 2000
    assert str(MissingFileError("no such file: a")) == "no such file: a"


def npy(shape: str, dtype: str, body: bytes = b"\0" * 300) -> bytes:
    header = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(11 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + body


BODY = np.random.default_rng(0).normal(size=(4, 25, 3)).astype(np.float32)
NO_CHARACTERS = np.frombuffer(np.full(25, 0x110000, "<u4").tobytes(), "<U1")
DIGITS = "9" * 5000
HOSTILE = {
    "shape True": npy("(True, 25, 3)", "<f4"),
    "shape beyond memory": npy("(10, 10, 1" + "0" * 40 + ")", "<f4"),
    "70 dimensions": npy(f"({'1,' * 70})", "<f4"),
    "negative": npy("(-1, 25, 3)", "<f4"),
    "huge without elements": npy("(1" + "0" * 30 + ", 0)", "<f4"),
    "large without elements": npy("(4611686018427387904, 0, 25)", "<f8", b""),
    "layout number": {"positions": BODY, "layout": 5},
    "layout characters": {"positions": BODY, "layout": NO_CHARACTERS[:1]},
    "joints characters": {"positions": BODY, "joints": NO_CHARACTERS},
    "fps text": {"positions": BODY, "layout": "ntu25", "fps": "30"},
    "scalar poses": {"poses": np.array(3.0), "trans": np.zeros((1, 3))},
    "scalar trans": {"poses": np.zeros((2, 72)), "trans": np.array(3.0)},
    "joint of digits": ",".join(f"{DIGITS}_{axis}" for axis in "xyz") + "\n1,2,3\n",
    "33 joints of digits": ",".join(f"{DIGITS}{j}_{a}" for j in range(33) for a in "xyz") + "\n" + "1," * 98 + "1\n",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_end_in_an_error_of_the_package(tmp_path: Path, content: bytes | str | dict[str, np.ndarray]):
    path = tmp_path / (
        "clip.npz" if isinstance(content, dict) else "clip.csv" if isinstance(content, str) else "clip.npy"
    )
    if isinstance(content, dict):
        np.savez(path, **content)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(MAMPError):
        load(path, joints=np.random.default_rng(0).normal(size=(24, 3)))


def test_members_of_zip_files_whose_names_begin_with_nothing(tmp_path: Path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Qpositions.npy", npy("(1, 25, 3)", "<f4"))
    for name in ("clip.npz", "clip.zip"):
        (tmp_path / name).write_bytes(buffer.getvalue().replace(b"Q", b"\0"))
        with pytest.raises(MAMPError):
            load(tmp_path / name if name.endswith("npz") else tmp_path / name / "positions.npy")


@pytest.mark.parametrize(
    "option",
    [{"fps": 1e-3}, {"fps": 20_000}, {"fps": [30]}, {"fps": 10**400}, {"layout": 5}, {"layout": []}, {"unit": 10**400},
     {"unit": []}, {"up": []}, {"handedness": []}, {"format": []}],
    ids=lambda option: str(option)[:20],
)  # fmt: skip
def test_options_of_no_use(tmp_path: Path, option: dict[str, object]):
    path = tmp_path / "clip.npy"
    np.save(path, BODY)
    with pytest.raises(MAMPError):
        load(path, **{"layout": "ntu25", **option})
    for nothing in (5, None, b"clip.npy", ["clip.npy"]):
        with pytest.raises(ReadError, match="expected the path of a file or a data frame"):
            load(nothing)


BLANK = {
    "wide": ("hip_x,hip_y,hip_z,knee_x,knee_y,knee_z\n", "," * 5 + "\n"),
    "columns": (",".join(f"j{j}_{axis}" for j in range(330) for axis in "xyz") + "\n", "," * 989 + "\n"),
    "blanks": ("hip_x,hip_y,hip_z\n", " , , \n"),
    "quoted": ("hip_x;hip_y;hip_z\n", '"";"";""\n'),
    "a row a joint": ("frame,joint,x,y,z\n", "1,a,,,\n"),
    "no header": ("", "," * 74 + "\n"),
}


@pytest.mark.parametrize(
    ("head", "row"),
    [pytest.param(*one, id=name, marks=[pytest.mark.slow] * (name != "wide")) for name, one in BLANK.items()],
)
def test_ten_megabytes_of_blank_cells(tmp_path: Path, head: str, row: str):
    path = tmp_path / "blank.csv"
    path.write_text(head + row * (10_000_000 // len(row)))
    start = time.process_time()
    with pytest.raises(MAMPError):
        load(path)
    assert time.process_time() - start < 10


def bvh(ends: int) -> str:
    end = "End Site\n{\nOFFSET 0 1 0\n}\n"
    return (
        f"HIERARCHY\nROOT a\n{{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n{end * ends}}}\n"
        "MOTION\nFrames: 1\nFrame Time: 0.03\n0 0 0\n"
    )


def gltf(nodes: list[dict[str, object]], times: list[float]) -> str:
    """The nodes of one skin, of which the first is moved to and fro at some times."""
    numbers = np.array(times, "<f4").tobytes() + np.zeros((len(times), 3), "<f4").tobytes()
    views = [{"buffer": 0, "byteLength": 4 * len(times)}, {"buffer": 0, "byteOffset": 4 * len(times)}]
    accessors = [
        {"bufferView": view, "componentType": 5126, "count": len(times), "type": kind}
        for view, kind in enumerate(("SCALAR", "VEC3"))
    ]
    target = {"sampler": 0, "target": {"node": 0, "path": "translation"}}
    return json.dumps(
        {
            "asset": {"version": "2.0"}, "nodes": nodes, "skins": [{"joints": list(range(len(nodes)))}],
            "animations": [{"channels": [target], "samplers": [{"input": 0, "output": 1}]}], "accessors": accessors,
            "bufferViews": views, "buffers": [{"uri": "data:;base64," + base64.b64encode(numbers).decode()}]
        }
    )  # fmt: skip


SLOW = {
    "ends of one name": ("clip.bvh", bvh(4999)),
    "200,000 joints": ("clip.bvh", bvh(200_000)),
    "nodes of one name": ("clip.gltf", gltf([{"name": "a"}] * 5000, [0, 1])),
    "500,000 nodes": ("clip.gltf", gltf([{"name": "a"}] * 500_000, [0, 1])),
    "nodes far below each other": ("clip.gltf", gltf([{"children": [n + 1]} for n in range(99_999)] + [{}], [0, 1])),
    "6 MB of whole numbers": ("clip.json", "[" + ",".join(["1"] * 3_000_000) + "]"),
    "lists of whole numbers": ("clip.json", "[" + ",".join(["[1,2,3]"] * 800_000) + "]"),
    "empty frames": ("clip.json", '{"frames":[' + ",".join(['{"pose_world_landmarks":[]}'] * 220_000) + "]}"),
}


@pytest.mark.parametrize(("name", "text"), SLOW.values(), ids=SLOW)
def test_files_that_would_take_long(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    start = time.process_time()
    with pytest.raises(MAMPError):
        load(tmp_path / name)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("keys", [[0, 1e6], [0, 9e8], [*range(1000), 3e6]])
def test_an_animation_of_long_pauses_takes_little_memory(tmp_path: Path, keys: list[float]):
    (tmp_path / "clip.gltf").write_text(gltf([{"name": "a"}, {"name": "b"}], keys))
    tracemalloc.start()
    try:
        with pytest.raises(ReadError, match="is too long"):
            load(tmp_path / "clip.gltf")
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("key", "value"), [("translation", [1]), ("rotation", []), ("matrix", [1] * 15), ("scale", {})]
)
def test_numbers_of_a_node_that_are_too_few(tmp_path: Path, key: str, value: object):
    (tmp_path / "clip.gltf").write_text(gltf([{"name": "a"}, {"name": "b", key: value}], [0, 1]))
    with pytest.raises(ReadError, match="damaged glTF"):
        load(tmp_path / "clip.gltf")


@pytest.mark.parametrize("options", [{}, {"processor": 86}, {"poses": True}])
def test_signalling_nan_in_c3d(tmp_path: Path, options: dict[str, object]):
    """A NaN of the kind that numpy warns of at each use was not seen, as any other."""
    points = person("ntu25", 3)
    data = c3d_bytes(list(get_layout("ntu25").joints), np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1),
                     "m", **options)  # type: ignore[arg-type]  # fmt: skip
    order = ">" if options.get("processor") == 86 else "<"
    one, damaged = points[1, 7, :1].astype(f"{order}f4").tobytes(), np.array(0x7F800001, f"{order}u4").tobytes()
    assert one in data
    (tmp_path / "clip.c3d").write_bytes(data.replace(one, damaged))
    recording = load(tmp_path / "clip.c3d")
    assert not recording.tracked.all() and recording.tracked.mean() > 0.9


SEPARATED = "_" * 100_000 + "a"
LONG_NAMES = {
    "separators": ("clip.csv", f"{SEPARATED},hip_x,hip_y,hip_z\n1,2,3,4\n"),
    "many separators": ("clip.csv", ",".join([SEPARATED[90_000:] + str(n) for n in range(900)]) + "\n1,2,3,4\n"),
    "a row a joint": ("clip.csv", f"frame,joint,x,y,z\n1,{SEPARATED},1,2,3\n"),
    "blank lines": ("clip.bvh", "\n \n" * 500_000 + "MOTIO\n"),
    "blanks": ("clip.bvh", bvh(1).replace("MOTION", " " * 1_000_000 + "MOTIO")),
    "joint": ("clip.bvh", bvh(1).replace("ROOT a", "ROOT " + "left_1-" * 200_000)),
}


@pytest.mark.parametrize(("name", "text"), LONG_NAMES.values(), ids=LONG_NAMES)
def test_long_names_and_blanks_take_no_time(tmp_path: Path, name: str, text: str):
    """Nothing that is searched in them takes the square of their length."""
    (tmp_path / name).write_text(text)
    start = time.process_time()
    with pytest.raises(MAMPError):
        load(tmp_path / name)
    assert time.process_time() - start < 5


def test_members_of_small_zip_files_take_little_memory(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/clip.bvh", b" " * (300 << 20))
    with pytest.raises(ReadError, match="bytes unpack to more than 134,217,728; unpack it first"):
        load(tmp_path / "bomb.zip" / "a" / "clip.bvh")
    assert (tmp_path / "bomb.zip").stat().st_size < 1 << 20


def test_a_zip_directory_that_says_gigabytes_takes_little_memory(tmp_path: Path):
    """A stored member is read in parts: what its sizes say is not allocated at once."""
    with zipfile.ZipFile(tmp_path / "clips.zip", "w") as archive:
        archive.writestr("clip.bvh", b"HIERARCHY")
    data = (tmp_path / "clips.zip").read_bytes()
    sizes, huge = (9).to_bytes(4, "little") * 2, (0xF0000000).to_bytes(4, "little") * 2
    assert data.count(sizes) == 2
    (tmp_path / "clips.zip").write_bytes(data.replace(sizes, huge))
    tracemalloc.start()
    try:
        with pytest.raises(ReadError):
            load(tmp_path / "clips.zip" / "clip.bvh")
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_numbers_in_headers_that_the_compiler_warns_of(tmp_path: Path):
    for shape in ("(1if 3else 2, 25, 3)", "(0or 1, 25, 3)", "('\\d', 25, 3)"):
        (tmp_path / "clip.npy").write_bytes(npy(shape, "<f4"))
        with pytest.raises(ReadError):
            load(tmp_path / "clip.npy")
