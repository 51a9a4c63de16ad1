"""SBU Kinect Interaction ``skeleton_pos.txt``: frame number, then x, y, z of 15 joints of two people, with commas.

Coordinates are normalised; the data's own README gives the way back to millimetres of the camera (x to the camera's
left, y up, z away): x = 1280 - 2560 x', y = 960 - 1920 y', z = 10000 z' / 7.8125.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, parse_table, read_lines
from mamp.readers.format import Format
from mamp.readers.sets import Column, RecordingSet
from mamp.readers.shapes import split_rows
from mamp.skeleton import Skeleton

FPS = 15.0
JOINTS, PEOPLE = 15, 2
COLUMNS = 1 + PEOPLE * JOINTS * 3
FOLDS = (  # of the five-fold evaluation in the data's README, as pairs of people
    ("s01s02", "s03s04", "s05s02", "s06s04"),
    ("s02s03", "s02s07", "s03s05", "s05s03"),
    ("s01s03", "s01s07", "s07s01", "s07s03"),
    ("s02s01", "s02s06", "s03s02", "s03s06"),
    ("s04s02", "s04s03", "s04s06", "s06s02", "s06s03"),
)

PAIR = re.compile(r"(s\d\ds\d\d)")


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file: the person on the left of the picture first; joints at exactly zero were not tracked.

    Raises:
        ReadError: The file is missing, cut, or not rows of 91 numbers.
    """
    table = parse_table(read_lines(path), str(path), columns=COLUMNS, delimiter=",")
    normalised = split_rows(table[:, 1:], PEOPLE)
    raw = Raw(
        to_millimetres(normalised), path, "sbu", layout="sbu15", fps=FPS, unit="mm", up="y", zeros="keep",
        info=parse_path(path),
    )  # fmt: skip
    return assemble(raw, options)


def to_millimetres(normalised: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised coordinates [..., 3] in millimetres of the camera; NaN for what is exactly zero."""
    positions = np.array([1280.0, 960.0, 0.0]) + normalised * np.array([-2560.0, -1920.0, 10000 / 7.8125])
    return np.where((normalised == 0).all(-1, keepdims=True), np.nan, positions)


def parse_path(path: StrPath) -> dict[str, int | str]:
    """Parse ``.../s01s02/03/001/skeleton_pos.txt``: pair, label (action - 1), example; else empty."""
    folders = [folder.name for folder in Path(path).parents if folder.name]
    pair = next((match[1] for folder in folders[2:] if (match := PAIR.match(folder))), None)
    if pair is None or not (folders[0].isdecimal() and folders[1].isdecimal()):
        return {}
    return {"label": int(folders[1]) - 1, "pair": pair, "example": int(folders[0])}


class SBU(RecordingSet):
    """SBU Kinect Interaction: ``sSSsSS/AA/NNN/skeleton_pos.txt``; label, pair of people, and its fold of five."""

    name = "sbu"
    title = "SBU Kinect Interaction"
    about = "skeleton_pos.txt of two people, in the folders of the zip files"
    example = "sbu"
    reader = staticmethod(read)
    suffixes = (".txt",)
    pattern = re.compile(r"skeleton_pos\.txt", re.IGNORECASE)

    def is_member(self, path: Path) -> bool:
        """The skeletons in the folder of a pair, an action and an example."""
        return super().is_member(path) and bool(parse_path(path))

    def name_of(self, path: Path) -> str:
        """Pair, action and example."""
        return "_".join(path.parts[-4:-1])

    def columns(self, recording: Skeleton) -> dict[str, Column]:
        """Label, pair, fold."""
        pair = str(recording.info["pair"])
        folds = [fold for fold, pairs in enumerate(FOLDS, start=1) if pair in pairs]
        return {"label": recording.info["label"], "pair": pair, "fold": folds[0] if folds else 0}


SET = SBU
FORMAT = Format(
    "sbu", (".txt",), "SBU Kinect Interaction skeleton_pos.txt (two people of 15 joints)", read,
    fits=lambda contents: contents.has_cells(COLUMNS), looks=f"{COLUMNS} (SBU) with commas between",
)  # fmt: skip
