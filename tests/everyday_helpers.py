"""Files of everyday sets, made up, as their owners write them."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from mamp.layouts import get_layout
from mamp.readers import utdmhad
from mamp.readers.uiprmd import JOINTS as UIPRMD

# A standing person, facing the camera of a Kinect: metres, y up, the left side at smaller x.
_HALF = {
    "shoulder": (0.2, 0.45, 2.5), "elbow": (0.25, 0.2, 2.5), "wrist": (0.27, -0.05, 2.45), "hand": (0.28, -0.15, 2.45),
    "hip": (0.1, -0.1, 2.5), "knee": (0.12, -0.5, 2.48), "ankle": (0.12, -0.9, 2.5), "foot": (0.13, -0.95, 2.4),
}  # fmt: skip
_BODY: dict[str, tuple[float, float, float]] = {
    "hip_center": (0, 0, 2.5), "spine": (0, 0.15, 2.5), "shoulder_center": (0, 0.5, 2.5), "head": (0, 0.75, 2.5),
}  # fmt: skip
for _name, (_x, _y, _z) in _HALF.items():
    _BODY |= {f"{_name}_left": (-_x, _y, _z), f"{_name}_right": (_x, _y, _z)}


def standing(frames: int, joints: tuple[str, ...] | None = None, seed: int = 0) -> np.ndarray:
    """[T, 20, 3] a person of Kinect v1 joints who stands and moves a little."""
    body = np.array([_BODY[name] for name in joints or get_layout("kinect20").joints])
    noise = np.random.default_rng(seed).normal(scale=0.01, size=(frames, 20, 3))
    return (body + noise).round(5)


def rows(table: np.ndarray, separator: str = ",") -> str:
    return "\n".join(separator.join(f"{value:.6f}" for value in row) for row in table) + "\n"


def uiprmd_numbers(frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions and angles [T, 66]."""
    rng = np.random.default_rng(seed)
    positions = np.tile(rng.normal(scale=20, size=(1, len(UIPRMD) * 3)), (frames, 1))
    positions += rng.normal(size=(frames, len(UIPRMD) * 3))
    return positions.round(6), rng.uniform(-40, 40, size=(frames, len(UIPRMD) * 3)).round(6)


def sbu_text(people: np.ndarray, first: int = 566) -> str:
    """Text of metres [2, T, 15, 3]."""
    normalised = np.stack(
        [(1.28 - people[..., 0]) / 2.56, (0.96 - people[..., 1]) / 1.92, people[..., 2] * 0.78125], axis=-1
    )
    lines = []
    for frame in range(people.shape[1]):
        values = normalised[:, frame].reshape(-1)
        lines.append(f"{first + frame}," + ",".join(f"{value:.5g}" for value in values))
    return "\n".join(lines) + "\n"


def sbu_people(frames: int, seed: int = 0) -> np.ndarray:
    """[2, T, 15, 3] metres."""
    kinect = get_layout("kinect20").joints
    names = []
    for joint in get_layout("sbu15").joints:
        side, _, part = joint.rpartition("_")
        names.append(f"{part}_{side}" if side else {"neck": "shoulder_center", "torso": "spine"}.get(joint, joint))
    pick = [kinect.index(name) for name in names]
    one = standing(frames, seed=seed)[:, pick]
    aside = np.array([0.5, 0, 0])
    return np.stack([one + aside, one - aside])


def utkinect_text(numbers: np.ndarray, positions: np.ndarray) -> str:
    lines = []
    for number, frame in zip(numbers, positions, strict=True):
        lines.append(f"{number} " + " ".join(f"{value:.6f}" for value in frame.reshape(-1)))
    return "\n".join(f"{line}  " for line in lines) + "\n"


def mat_file(name: str, array: np.ndarray, *, compressed: bool = True, order: str = "<", stored: str = "f8") -> bytes:
    """A MATLAB file of level 5 with one array of doubles, whose numbers are stored as ``stored``."""
    kinds = {"f8": 9, "f4": 7, "i2": 3, "u1": 2}

    def element(kind: int, data: bytes) -> bytes:
        if 0 < len(data) <= 4:
            return struct.pack(f"{order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")
        return struct.pack(f"{order}II", kind, len(data)) + data + b"\0" * (-len(data) % 8)

    body = element(6, struct.pack(f"{order}II", 6, 0))
    body += element(5, struct.pack(f"{order}{array.ndim}i", *array.shape))
    body += element(1, name.encode())
    body += element(kinds[stored], array.astype(f"{order}{stored}").tobytes(order="F"))
    matrix = element(14, body)
    if compressed:
        packed = zlib.compress(matrix)
        matrix = struct.pack(f"{order}II", 15, len(packed)) + packed
    mark = b"IM" if order == "<" else b"MI"
    return b"MATLAB 5.0 MAT-file, made up".ljust(116) + b"\0" * 8 + struct.pack(f"{order}H", 0x0100) + mark + matrix


def utdmhad_file(frames: int, seed: int = 0) -> bytes:
    return mat_file("d_skel", np.moveaxis(standing(frames, utdmhad.JOINTS, seed), 0, -1))
