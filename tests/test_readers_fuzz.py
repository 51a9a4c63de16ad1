"""Damaged files of every format end in a recording or an error of the package, and never in anything else."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from test_readers_mocap import human_amc, human_asf, human_bvh
from test_readers_ntu import ntu_text

from mamp.errors import MAMPError
from mamp.readers import load
from mamp.skeleton import Skeleton

ROUNDS = 250
TOKENS = [
    b"nan",
    b"inf",
    b"-1",
    b"0",
    b"1e400",
    b"9" * 30,
    b"-",
    b"\0",
    b"\xff",
    b" ",
    b"\n",
    b"{",
    b"}",
    b"\xe2\x80\xa8",
]


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
}


def damage(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, end = sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)))
        match rng.randrange(7):
            case 0:
                data = data[:at]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:at] + rng.choice(TOKENS) + data[at:]
            case 3:
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
            case 4:
                data = data[:end] + data[at:end] + data[end:]
            case 5:  # a whole word or number becomes something else
                words = data.split(b" ")
                words[rng.randrange(len(words))] = rng.choice(TOKENS)
                data = b" ".join(words)
            case 6:
                lines = data.split(b"\n")
                lines.insert(rng.randrange(len(lines)), lines.pop(rng.randrange(len(lines))))
                data = b"\n".join(lines)
    return data


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files(tmp_path: Path, kind: str):
    name, good = FILES[kind]
    path = tmp_path / name
    if kind in ("amc", "asf"):
        for other in ("amc", "asf"):
            (tmp_path / FILES[other][0]).write_bytes(FILES[other][1])
    options = {"layout": "kinect20"} if kind in ("npy", "csv") else {}
    target = path.with_suffix(".amc") if kind == "asf" else path
    path.write_bytes(good)
    assert isinstance(load(target, **options), Skeleton)
    rng = random.Random(kind)
    outcomes = {True: 0, False: 0}
    for turn in range(ROUNDS):
        data = damage(good, rng)
        path.write_bytes(data)
        try:
            skeleton = load(target, **options)
        except MAMPError as error:
            assert str(error), f"round {turn}: an error without a message"
            outcomes[False] += 1
        else:
            assert isinstance(skeleton, Skeleton) and skeleton.tracked.any() and not np.isinf(skeleton.positions).any()
            outcomes[True] += 1
    assert outcomes[False] > ROUNDS // 5, f"most damage must be noticed: {outcomes}"
