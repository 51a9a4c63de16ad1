"""Small files that would take much memory or time, and messages that quote what files hold."""

from __future__ import annotations

import gzip
import io
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mamp.errors import MAMPError, MissingFileError, ReadError
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
