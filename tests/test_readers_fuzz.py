"""Damaged files of every format end in a recording or an error of the package, and never in anything else."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers_helpers import (
    PLUG_IN_GAIT,
    amass_npz,
    azure_json,
    c3d_file,
    mediapipe_csv,
    mediapipe_json,
    mmpose_json,
    openpose_json,
    person,
    rest,
    trc_text,
    walked,
)
from test_readers_gltf import glb, gltf, mvnx, suit
from test_readers_mocap import human_amc, human_asf, human_bvh
from test_readers_mocap_csv import BONES, long, motive, nexus, qtm
from test_readers_ntu import ntu_text

from mamp.errors import MAMPError
from mamp.layouts import get_layout
from mamp.readers import load
from mamp.skeleton import Skeleton

ROOT = Path(__file__).resolve().parents[1]


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def csv() -> bytes:
    rows = np.random.default_rng(0).normal(size=(3, 62)).round(3)
    header = ["frame", "time", *(f"hip_{i}_{axis}" for i in range(20) for axis in "xyz")]
    rows[:, :2] = [[0, 0], [1, 0.1], [2, 0.2]]
    return "\n".join(",".join(map(str, row)) for row in [header, *rows.tolist()]).encode()


def long_csv() -> bytes:
    rows = ["frame,time,person,joint,x,y,z,confidence"]
    for frame in range(3):
        for joint, (x, y, z) in zip(get_layout("kinect20").joints, standing(3)[frame], strict=True):
            rows.append(f"{frame},{frame / 10},1,{joint},{x},{y},{z},0.5")
    return "\n".join(rows).encode()


POINTS = np.random.default_rng(0).normal(size=(3, 20, 3)).round(3)
FILES: dict[str, tuple[str, bytes]] = {
    "ntu": ("clip.skeleton", ntu_text([[1, 2], [1], [2]]).encode()),
    "bvh": ("clip.bvh", human_bvh(3).encode()),
    "amc": ("clip.amc", human_amc(3).encode("latin-1")),
    "asf": ("clip.asf", human_asf().encode()),
    "npy": ("clip.npy", npy(POINTS)),
    "npz": ("clip.npz", npz(positions=POINTS, fps=np.array(30.0), layout=np.array("kinect20"))),
    "csv": ("clip.csv", csv()),
    "nwucla": ("clip.json", json.dumps({"file_name": "a01_s01_e01_v01", "skeletons": POINTS.tolist()}).encode()),
    "pku": ("clip.txt", b"\n".join(b" ".join(b"%.3f" % v for v in row) for row in np.ones((3, 150)))),
    "msr": ("clip.txt", b"\n".join(b" ".join(b"%.3f" % v for v in row) for row in np.ones((40, 4)))),
    "uiprmd": ("m01_s01_e01_positions.txt", rows(uiprmd_numbers(3)[0]).encode()),
    "uiprmd angles": ("m01_s01_e01_angles.txt", rows(uiprmd_numbers(3)[1]).encode()),
    "sbu": ("skeleton_pos.txt", sbu_text(sbu_people(3)).encode()),
    "utkinect": ("joints_s01_e01.txt", utkinect_text(np.array([3, 4, 6]), standing(3)).encode()),
    "utdmhad": ("a1_s1_t1_skeleton.mat", utdmhad_file(3)),
    "csv long": ("clip.csv", long_csv()),
    "mediapipe": ("clip.json", mediapipe_json()),
    "mediapipe csv": ("clip.csv", mediapipe_csv()),
    "openpose": ("clip.json", openpose_json()),
    "mmpose": ("clip.json", mmpose_json()),
    "azure": ("clip.json", azure_json()),
    "smpl": ("clip.npz", amass_npz()),
    "smpl joints": ("joints.npz", npz(J=rest())),
    "c3d": ("clip.c3d", c3d_file()),
    "panoptic": ("clip.json", json.dumps({"bodies": [{"id": 0, "joints19": [1.5, 2, 3, 0.9] * 19}]}).encode()),
    "easymocap": ("clip.json", json.dumps([{"id": 0, "keypoints3d": [[1.5, 2, 3, 0.9]] * 25}]).encode()),
    "csv motive": ("clip.csv", motive([f"A:{bone}" for bone in BONES], POINTS[:, : len(BONES)]).encode()),
    "csv nexus": ("clip.csv", nexus(list(PLUG_IN_GAIT), walked(PLUG_IN_GAIT)).encode()),
    "tsv qtm": ("clip.tsv", qtm(list(PLUG_IN_GAIT), walked(PLUG_IN_GAIT)).encode()),
    "csv freemocap": ("clip.csv", long(person("mediapipe33", 3)).encode()),
    "mvnx": ("clip.mvnx", mvnx(suit(3)).encode()),
    "glb": ("clip.glb", glb(*gltf())),
    "trc": ("clip.trc", trc_text(list(get_layout("ntu25").joints), person("ntu25", 3)).encode()),
    "utdmhad plain": ("a1_s1_t1_skeleton.mat", mat_file("d_skel", np.ones((20, 3, 3)), compressed=False)),
}
# Formats of two files: both are there, one is damaged, the second name of a pair is loaded.
PAIRS = {
    "amc": "amc", "asf": "amc", "uiprmd": "uiprmd", "uiprmd angles": "uiprmd", "smpl": "smpl", "smpl joints": "smpl",
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {"npy": {"layout": "kinect20"}, "csv": {"layout": "kinect20"}}
BINARY = ("npy", "npz", "utdmhad", "utdmhad plain", "smpl", "smpl joints", "c3d", "glb")


def write_all(folder: Path, kind: str) -> tuple[Path, Path]:
    """Whole files of a format; the one of this kind, and the one to load."""
    loaded = PAIRS.get(kind, kind)
    for other in [one for one, of in PAIRS.items() if of == loaded] or [kind]:
        (folder / FILES[other][0]).write_bytes(FILES[other][1])
    return folder / FILES[kind][0], folder / FILES[loaded][0]


def options(path: Path, kind: str) -> dict[str, Any]:
    return {"joints": path.with_name("joints.npz")} if kind.startswith("smpl") else OPTIONS.get(kind, {})


def outcome(path: Path, kind: str) -> Skeleton | MAMPError:
    """A sound recording, or an error of the package; anything else fails the test."""
    try:
        skeleton = load(path, **options(path, kind))
    except MAMPError as error:
        assert len(str(error)) > 20, "an error without a message"
        return error
    assert isinstance(skeleton, Skeleton) and skeleton.tracked.any() and not np.isinf(skeleton.positions).any()
    return skeleton


@pytest.mark.parametrize("kind", FILES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(data=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_anything(tmp_path_factory: pytest.TempPathFactory, kind: str, data: bytes):
    """Files that are of another kind altogether."""
    folder = tmp_path_factory.mktemp("any")
    path, target = write_all(folder, kind)
    path.write_bytes(data)
    outcome(target, kind)


TEXT = [kind for kind in FILES if kind not in BINARY]


@pytest.mark.parametrize("kind", TEXT)
@pytest.mark.parametrize("change", ["crlf", "cr at the end", "bom", "utf-16", "blank lines"])
def test_ways_to_write_text(tmp_path: Path, kind: str, change: str):
    """What editors and other systems do to text changes nothing."""
    path, target = write_all(tmp_path, kind)
    wanted = load(target, **OPTIONS.get(kind, {}))
    text = path.read_bytes().decode("latin-1")
    changed = {
        "crlf": text.replace("\n", "\r\n").encode("latin-1"),
        "cr at the end": text.encode("latin-1") + b"\r\n",
        "bom": b"\xef\xbb\xbf" + text.encode("utf-8"),
        "utf-16": text.encode("utf-16"),
        "blank lines": b"\n\n" + text.encode("latin-1") + b"\n\n",
    }[change]
    path.write_bytes(changed)
    found = load(target, **OPTIONS.get(kind, {}))
    np.testing.assert_array_equal(found.positions, wanted.positions)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("change", ["empty", "blank", "folder", "half", "no utf-8", "zeros"])
def test_files_of_no_use(tmp_path: Path, kind: str, change: str):
    path, target = write_all(tmp_path, kind)
    good = path.read_bytes()
    if change == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "blank": b" \r\n\t\n",
                "half": good[: len(good) // 2 - 7],
                "no utf-8": b"\xff\xfe\xfd\x80" * 20,
                "zeros": bytes(1000),
            }[change]
        )
    found = outcome(target, kind)
    assert isinstance(found, MAMPError), f"{change} was read as {found}"
    assert path.name in str(found) or path.stem in str(found)


@pytest.mark.parametrize("kind", [kind for kind in TEXT if not FILES[kind][0].endswith(".json")])
def test_decimal_commas(tmp_path: Path, kind: str):
    """Numbers as written in many countries are told as such, never read as something else."""
    path, target = write_all(tmp_path, kind)
    text = path.read_bytes().decode("latin-1")
    separated = text.replace(",", ";" if "csv" in kind else " ")
    path.write_bytes(re.sub(r"(\d)\.(\d)", r"\1,\2", separated).encode("latin-1"))
    found = outcome(target, kind)
    assert isinstance(found, MAMPError) and "decimal commas" in str(found), str(found)


@pytest.mark.parametrize("kind", ["uiprmd", "sbu"])
def test_decimal_commas_between_commas(tmp_path: Path, kind: str):
    path, target = write_all(tmp_path, kind)
    numbers = 66 if kind == "uiprmd" else 91
    path.write_text("\n".join([",".join(["1,5"] * numbers)] * 3))
    for format in (None, kind):
        with pytest.raises(MAMPError, match="decimal commas"):
            load(target, format=format)


def npy_header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def huge_npz(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}.npy", npy_header((999_999_999, 156)) + bytes(1000))
    return buffer.getvalue()


HUGE = {
    "ntu": ("clip.skeleton", b"999999999999\n1\n1 0 0 0 0 0 0 0 0 2\n25\n"),
    "ntu bodies": ("clip.skeleton", b"1\n999999999999\n"),
    "bvh": ("clip.bvh", human_bvh(2).replace("Frames: 2", "Frames: 999999999999").encode()),
    "npy": ("clip.npy", npy_header((999_999_999, 20, 3)) + bytes(1000)),
    "npy overflow": ("clip.npy", npy_header((1 << 62, 20, 3)) + bytes(1000)),
    "csv frames": ("clip.csv", csv().replace(b"\n1.0,", b"\n99999999999,")),
    "csv people": (
        "clip.csv",
        b"person,frame,a_x,a_y,a_z\n" + b"\n".join(b"%d,%d,1,2,3" % (i, i) for i in range(3000)),
    ),
    "utdmhad": (
        "a1_s1_t1_skeleton.mat",
        mat_file("d_skel", np.ones((20, 3, 3)), compressed=False).replace(
            np.array([20, 3, 3], "<i4").tobytes(), np.array([20, 3, 1 << 30], "<i4").tobytes()
        ),
    ),
    "utdmhad bytes": (
        "a1_s1_t1_skeleton.mat",
        mat_file("d_skel", np.ones((20, 3, 3)), compressed=False).replace(
            np.array([9, 1440], "<u4").tobytes(), np.array([9, 0xFFFFFFF0], "<u4").tobytes()
        ),
    ),
    "utkinect": ("joints_s01_e01.txt", b"999999999 " + b"1 " * 60 + b"\n1 " + b"1 " * 60),
    "nwucla": ("clip.json", b'{"skeletons": ' + b"[" * 200_000),
    "mediapipe": ("clip.json", b"[" * 900 + b"1" + b"]" * 900),
    "azure people": (
        "clip.json",
        json.dumps(
            {"frames": [{"bodies": [{"body_id": i, "joint_positions": [[i, 1, 2]] * 32}]} for i in range(3000)]}
        ).encode(),
    ),
    "csv long": ("clip.csv", b"frame,joint,x,y,z\n" + b"\n".join(b"%d,j%d,1,2,3" % (i, i) for i in range(9000))),
    "c3d": (
        "clip.c3d",
        c3d_file()
        .replace(b"\x03\x00\x00\x00\x00\x00\x80\xbf", b"\xff\xff\x00\x00\x00\x00\x80\xbf")
        .replace(b"FRAMES\x07\x00\x02\x00\x03\x00", b"FRAMES\x07\x00\x02\x00\xff\xff"),
    ),
    "smpl": ("clip.npz", huge_npz("poses")),
}
LIMITED = """
import resource, sys
from mamp.errors import MAMPError
from mamp.layouts import get_layout
from mamp.readers import load
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {megabytes} * 2**20,) * 2)
for path in sys.argv[1:]:
    try:
        load(path)
    except MAMPError as error:
        print("error", error)
    else:
        print("read")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits the memory of a process as Linux does")
def test_gigantic_counts(tmp_path: Path):
    """What a header announces is never allocated before it is there: all in a process of little memory and time."""
    paths = []
    for kind, (name, data) in HUGE.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / name).write_bytes(data)
        paths.append(str(folder / name))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", LIMITED.format(megabytes=200), *paths],
        capture_output=True, text=True, timeout=60, env=environment, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    told = [line for line in result.stdout.splitlines() if line.startswith(("error", "read"))]
    assert len(told) == len(paths)
    reads = [kind for kind, line in zip(HUGE, told, strict=True) if line == "read"]
    assert reads == ["utkinect"], "a frame number is only a number"


@pytest.mark.parametrize("kind", ["npy", "npz", "utdmhad"])
def test_signalling_nan(tmp_path: Path, kind: str):
    """A NaN of the kind that numpy warns of at each use is a NaN like others."""
    signalling = np.array([0x7FF0000000000001], "<u8").view("<f8")[0]
    points = np.array(standing(3))
    points.reshape(-1)[4] = signalling
    data = {
        "npy": npy(points), "npz": npz(positions=points, layout=np.array("kinect20")),
        "utdmhad": mat_file("d_skel", np.moveaxis(points, 0, -1)),
    }[kind]  # fmt: skip
    path = tmp_path / {"npy": "clip.npy", "npz": "clip.npz", "utdmhad": "a1_s1_t1_skeleton.mat"}[kind]
    path.write_bytes(data)
    skeleton = load(path, unit="cm", **OPTIONS.get(kind, {}))
    assert skeleton.tracked.sum() == 59
