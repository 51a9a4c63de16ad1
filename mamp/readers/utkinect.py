"""UTKinect-Action ``joints_sSS_eEE.txt``: frame number, then x, y, z of 20 joints (Kinect v1).

A recording holds ten actions one after the other; ``actionLabel.txt`` says which frame numbers are which. The camera
ran at 30 frames per second, but only frames with a skeleton were kept, mostly every second one; some were kept twice.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mamp.errors import MissingFileError, ReadError, RecordingError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, parse_table, read_lines
from mamp.readers.find import find_files
from mamp.readers.format import Format
from mamp.readers.sets import Column, RecordingSet, Take
from mamp.readers.shapes import split_rows
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

CAMERA_FPS, FPS = 30.0, 15.0
JOINTS = 20
COLUMNS = 1 + 3 * JOINTS
CLASSES = (
    "walk", "sitDown", "standUp", "pickUp", "carry", "throw", "push", "pull", "waveHands", "clapHands",
)  # fmt: skip
NAME = re.compile(r"s(\d+)_e(\d+)")
LABEL = re.compile(r"(\w+)\s*:\s*(\S+)\s+(\S+)")


class Interval(NamedTuple):
    """One action in a recording: ``label`` is a place in :data:`CLASSES`; frame numbers, both included."""

    label: int
    start: int
    end: int


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a whole recording; a frame kept twice counts once, joints at exactly zero were not tracked.

    ``info["frame_numbers"]`` are the camera's, ascending, to be cut by the intervals of :func:`read_labels`.

    Raises:
        ReadError: The file is missing, cut, or not rows of 61 numbers that begin with a frame number.
    """
    table = parse_table(read_lines(path), str(path), columns=COLUMNS)
    if not (np.isfinite(table[:, 0]) & (table[:, 0] >= 0) & (table[:, 0] % 1 == 0)).all():
        raise ReadError(f"{path}: expected rows that begin with the number of a frame.")
    numbers, rows = np.unique(table[:, 0].astype(np.int64), return_index=True)
    step = float(np.median(np.diff(numbers))) if len(numbers) > 1 else CAMERA_FPS / FPS
    info: dict[str, object] = {"frame_numbers": numbers}
    if match := NAME.search(Path(path).name):
        info |= {"subject": int(match[1]), "example": int(match[2])}
    raw = Raw(
        split_rows(table[rows, 1:]), path, "utkinect", layout="kinect20",
        fps=CAMERA_FPS / step, unit="m", up="y", zeros="joint", info=info,
    )  # fmt: skip
    return assemble(raw, options)


def read_labels(path: StrPath) -> dict[str, list[Interval]]:
    """Read ``actionLabel.txt``: recording (``s01_e01``) -> its actions; those marked NaN are left out.

    Raises:
        ReadError: The file is missing or malformed.
    """
    found: dict[str, list[Interval]] = {}
    current: list[Interval] | None = None
    for number, line in enumerate(read_lines(path), start=1):
        text = line.strip()
        if NAME.fullmatch(text):
            current = found.setdefault(text, [])
            continue
        match = LABEL.fullmatch(text)
        if match is None or current is None or match[1] not in CLASSES:
            raise ReadError(
                f"{path}, line {number}: expected a recording such as s01_e01, or one of its actions such as "
                f"'walk: 252 390'; found {text[:60]!r}."
            )
        if "nan" in (match[2].lower(), match[3].lower()):
            continue
        if not (match[2].isdecimal() and match[3].isdecimal() and int(match[2]) <= int(match[3]) < 1 << 31):
            raise ReadError(f"{path}, line {number}: expected two ascending frame numbers, found {text[:60]!r}.")
        current.append(Interval(CLASSES.index(match[1]), int(match[2]), int(match[3])))
    return found


class UTKinect(RecordingSet):
    """UTKinect-Action: ``joints_sSS_eEE.txt``, cut into actions as ``actionLabel.txt`` says; label and subject."""

    name = "utkinect"
    title = "UTKinect-Action"
    about = "joints and actionLabel.txt"
    example = "utkinect"
    suffixes = (".txt",)
    pattern = re.compile(r"joints_s\d+_e\d+\.txt", re.IGNORECASE)
    classes = CLASSES

    def __init__(self, raw: Path) -> None:
        super().__init__(raw)
        labels = [path for path in find_files(raw, (".txt",), {}) if path.name.lower() == "actionlabel.txt"]
        if not labels:
            raise MissingFileError(f"{raw}: expected actionLabel.txt, which lists the actions, found none.")
        self.labels = read_labels(labels[0])

    def depends_on(self) -> dict[str, Any]:
        """Where the actions are."""
        return {"actions": {name: [[*one] for one in found] for name, found in self.labels.items()}}

    def takes(self, path: Path) -> list[Take]:
        """One clip an action."""
        recording, name = read(path), self.name_of(path).partition("_")[2]
        if name not in self.labels:
            raise RecordingError(f"{path}: actionLabel.txt does not list the actions of {name}.")
        numbers = recording.info["frame_numbers"]
        found: list[Take] = []
        for action in self.labels[name]:
            inside = (numbers >= action.start) & (numbers <= action.end)
            if not inside.any():
                logger.warning(
                    "%s: no frame from %d to %d, where actionLabel.txt places %s; this action is left out.",
                    path, action.start, action.end, self.classes[action.label],
                )  # fmt: skip
                continue
            clip = recording.replace(positions=recording.positions[:, inside])
            columns: dict[str, Column] = {"label": action.label, "subject": recording.info["subject"]}
            found.append(Take(f"{name}_{self.classes[action.label]}", clip, columns))
        return found


SET = UTKinect
FORMAT = Format(
    "utkinect", (".txt",), "UTKinect-Action joints (frame number, 20 joints; Kinect v1)", read,
    fits=lambda contents: contents.has_words(COLUMNS), looks=f"{COLUMNS} numbers (UTKinect)",
)  # fmt: skip
