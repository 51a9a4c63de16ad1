"""UI-PRMD Kinect text: a file of positions and one of angles, 22 joints, 66 comma-separated numbers a frame.

A position is that of a joint in the axes of its parent, in centimetres; the angles (degrees, about x, y and z) turn
those axes by R = Rz Rx Ry. So p = p(parent) + G(parent) position and G = G(parent) R, from the root on, which is in the
axes of the camera.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamp.errors import MissingFileError, ReadError
from mamp.layouts import find_layout
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.bvh import rotation
from mamp.readers.files import StrPath, list_folder, parse_table, read_lines
from mamp.readers.find import key_of
from mamp.readers.format import Format
from mamp.readers.sets import RecordingSet, facts_in
from mamp.readers.shapes import split_rows
from mamp.skeleton import Skeleton

FPS = 30.0
JOINTS = (
    "waist", "spine", "chest", "neck", "head", "head_tip",
    "l_collar", "l_upper_arm", "l_forearm", "l_hand", "r_collar", "r_upper_arm", "r_forearm", "r_hand",
    "l_upper_leg", "l_lower_leg", "l_foot", "l_toes", "r_upper_leg", "r_lower_leg", "r_foot", "r_toes",
)  # fmt: skip
PARENTS = (-1, 0, 1, 2, 3, 4, 2, 6, 7, 8, 2, 10, 11, 12, 0, 14, 15, 16, 0, 18, 19, 20)
COLUMNS = 3 * len(JOINTS)
CLASSES = (
    "deep squat", "hurdle step", "inline lunge", "side lunge", "sit to stand", "standing active straight leg raise",
    "standing shoulder abduction", "standing shoulder extension", "standing shoulder internal-external rotation",
    "standing shoulder scaption",
)  # fmt: skip
NAME = re.compile(r"m(?P<label>\d+)_s(?P<subject>\d+)_e(?P<example>\d+)_(?:positions|angles)", re.IGNORECASE)
INCORRECT = re.compile(r"_(?:positions|angles)_inc", re.IGNORECASE)


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file of positions and the file of angles that belongs to it (:func:`find_angles`).

    Raises:
        ReadError: A file is missing, cut, or not rows of 66 numbers; or the two differ in length.
    """
    if "angles" in Path(path).name.lower():
        raise ReadError(f"{path}: holds the angles; give the file of positions, the angles are found beside it.")
    positions = _parse(path)
    angles_path = find_angles(path)
    angles = _parse(angles_path)
    if len(angles) != len(positions):
        raise ReadError(
            f"{path}: {len(positions)} frames, but {len(angles)} in {angles_path}. Is one of them cut, or of another "
            "recording?"
        )
    info = {**parse_name(Path(path).name), "angles": str(angles_path)}
    raw = Raw(
        forward_kinematics(positions, angles)[None], path, "uiprmd", layout=find_layout(JOINTS, PARENTS), fps=FPS,
        unit="cm", up="y", zeros="keep", info=info,
    )  # fmt: skip
    return assemble(raw, options)


def parse_name(name: str) -> dict[str, int | bool]:
    """Parse ``mMM_sSS_eEE_positions[_inc].txt``: label (movement - 1), subject, example, correct; else empty."""
    found: dict[str, int | bool] = {**facts_in(name, NAME)}
    return found and {**found, "correct": INCORRECT.search(name) is None}


def find_angles(path: StrPath) -> Path:
    """Find the angles of a file of positions: in the same folder, or in ``Angles`` beside ``Positions``.

    Raises:
        MissingFileError: There are none.
    """
    path = Path(path)
    name = re.sub("positions", "angles", path.name, flags=re.IGNORECASE)
    if name == path.name:
        raise MissingFileError(
            f"{path}: expected the name of UI-PRMD, such as m01_s01_e01_positions.txt, by which the file of angles is "
            "found; rename the two."
        )
    folders = [path.parent]
    for here, there in (("Positions", "Angles"), ("positions", "angles")):
        if here in path.parent.name:
            folders.append(path.parent.with_name(path.parent.name.replace(here, there)))
    names = (name, name.removesuffix(".gz"), f"{name}.gz")
    for folder in folders:
        files = {file.name: file for file in list_folder(folder)}
        if found := next((files[name] for name in names if name in files), None):
            return found
    raise MissingFileError(
        f"{path}: its positions are relative to turning joints, so the angles are needed: expected {name} beside it"
        f"{f' or in {folders[1]}' if folders[1:] else ''}, found none."
    )


def forward_kinematics(positions: NDArray[np.float64], angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions in the axes of the camera from those relative to the parent and angles in degrees, all [T, 22, 3]."""
    turns = rotation("zxy", np.deg2rad(angles[..., [2, 0, 1]]))
    result = positions.copy()
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            result[:, joint] = result[:, parent] + np.einsum("tij,tj->ti", turns[:, parent], positions[:, joint])
            turns[:, joint] = turns[:, parent] @ turns[:, joint]
    return result


def _parse(path: StrPath) -> NDArray[np.float64]:
    table = parse_table(read_lines(path), str(path), columns=COLUMNS, delimiter=",")
    return split_rows(table)[0]


class UIPRMD(RecordingSet):
    """UI-PRMD, Kinect: ``mMM_sSS_eEE_positions[_inc].txt``; label, subject, and whether the exercise is done right."""

    name = "ui-prmd"
    title = "UI-PRMD (Kinect)"
    about = "positions and angles, right and wrong"
    example = "ui-prmd"
    reader = staticmethod(read)
    suffixes = (".txt",)
    pattern = re.compile(r"m\d+_s\d+_e\d+_positions(_inc)?\.txt", re.IGNORECASE)
    classes = CLASSES
    facts = ("label", "subject", "correct")

    def is_member(self, path: Path) -> bool:
        """Positions of the Kinect, not of the Vicon system, which go by the same names."""
        inside = key_of(self.raw, path).lower().split("/")
        return super().is_member(path) and not any(folder.startswith("vicon") for folder in inside)

    def name_of(self, path: Path) -> str:
        """As in the file name, without ``_positions``."""
        return re.sub("_positions", "", super().name_of(path), flags=re.IGNORECASE)


SET = UIPRMD
FORMAT = Format(
    "uiprmd", (".txt",), "UI-PRMD Kinect positions with the file of angles beside it", read,
    fits=lambda contents: contents.has_cells(COLUMNS), looks=f"{COLUMNS} (UI-PRMD) with commas between",
)  # fmt: skip
