"""CSV: one row a frame (or a frame and person).

With a header, ``head_x, head_y, head_z, ...`` in many spellings (``head.x``, ``head:X``, ``Head X``, ``headX``,
``x_head``), and optionally ``head_confidence`` (``_c``, ``_score``, ``_visibility``), ``frame``, ``time`` (seconds),
``person``. Without a header, joints * 3 numbers. Commas, semicolons or tabs; an empty cell was not tracked.
"""

from __future__ import annotations

import logging
import re

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import find_layout
from mamp.readers.arrays import build
from mamp.readers.assemble import LayoutLike, Options
from mamp.readers.files import StrPath, check_numbers, decimal_comma, read_lines
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

COORDINATE = re.compile(r"(?P<joint>.*?)(?:[\s._:/|-]+(?P<axis>[xyzXYZ])|(?<=[a-z0-9])(?P<capital>[XYZ]))")
PREFIXED = re.compile(r"(?P<axis>[xyzXYZ])[\s._:/|-]*(?P<joint>.*)")
CONFIDENCE = re.compile(r"(?P<joint>.+?)[\s._:/|-]+(?:c|conf|confidence|score|visibility)", re.IGNORECASE)
FRAME = ("frame", "frame_number", "frame_id", "frame_index", "frame_idx", "index")
TIME = ("time", "timestamp", "time_s", "seconds", "t")
PERSON = ("person", "person_id", "body", "body_id", "subject_id", "track", "track_id", "id")


def read(path: StrPath, options: Options | None = None) -> Skeleton:
    """Read a CSV file.

    Raises:
        ReadError: The file is missing, rows differ in length, a cell is no number, or columns make no joints.
        LayoutError: The joint names are not understood, and no ``layout`` is given.
    """
    options = options or Options()
    lines = read_lines(path)
    delimiter = next((mark for mark in ";\t" if mark in lines[0]), ",")
    header = [cell.strip().strip('"') for cell in lines[0].split(delimiter)]
    if all(_is_number(cell) for cell in header):
        return build(_cells(lines, delimiter, len(header), path), path, "csv", options)
    if len(lines) < 2:
        raise ReadError(f"{path}: expected a row for each frame after the header, found none.")
    table = _cells(lines[1:], delimiter, len(header), path)
    columns = {name.lower(): index for index, name in enumerate(header)}
    joints, where = _joint_columns(header, path)
    person = _pick(table, columns, PERSON)
    frame = _pick(table, columns, FRAME)
    time = _pick(table, columns, TIME)
    row_of = _arrange(person, frame if frame is not None else time, len(table), path)
    padded = np.concatenate([table, np.full((1, table.shape[1]), np.nan)])[row_of]
    confidence = _confidence(header, joints, padded)
    options = options.with_defaults(fps=_rate(time, path), layout=_layout(joints) if options.layout is None else None)
    return build(padded[..., where], path, "csv", options, confidence=confidence)


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _cells(lines: list[str], delimiter: str, width: int, path: StrPath) -> NDArray[np.float64]:
    cells: list[str] = []
    for number, line in enumerate(lines, start=1):
        row = line.split(delimiter)
        if len(row) != width:
            raise ReadError(f"{path}: expected {width} cells a row, found {len(row)} in row {number}. Is it cut?")
        cells += row
    values = []
    try:
        for cell in cells:
            values.append(float(cell) if cell and not cell.isspace() else np.nan)
    except ValueError:
        at, found = len(values), cells[len(values)].strip()[:40]
        raise ReadError(
            f"{path}: expected a number in row {at // width + 1}, column {at % width + 1}, found {found!r}."
            f"{decimal_comma(found)}"
        ) from None
    table = np.array(values).reshape(-1, width)
    check_numbers(table, str(path))
    return table


def _joint_columns(header: list[str], path: StrPath) -> tuple[list[str], NDArray[np.int64]]:
    """Joint names in order of appearance, and the columns [V, 3] of their coordinates."""
    found: dict[str, dict[str, int]] = {}
    for index, name in enumerate(header):
        match = COORDINATE.fullmatch(name) or PREFIXED.fullmatch(name)
        if match:
            parts = match.groupdict()
            axis = (parts["axis"] or parts.get("capital") or "").lower()
            if axis in found.setdefault(parts["joint"], {}):
                raise ReadError(f"{path}: two columns are the {axis} of joint {parts['joint']!r}.")
            found[parts["joint"]][axis] = index
    if not found:
        raise ReadError(f"{path}: expected columns such as head_x, head_y, head_z; found {', '.join(header)[:120]}.")
    for joint, axes in found.items():
        if set(axes) != set("xyz"):
            flat = " It looks like 2D keypoints; lift them to 3D." if set(axes) == set("xy") else ""
            raise ReadError(f"{path}: joint {joint!r} has only {', '.join(sorted(axes))} of x, y, z.{flat}")
    return list(found), np.array([[axes[axis] for axis in "xyz"] for axes in found.values()])


def _pick(table: NDArray[np.float64], columns: dict[str, int], names: tuple[str, ...]) -> NDArray[np.float64] | None:
    return next((table[:, columns[name]] for name in names if name in columns), None)


def _arrange(
    person: NDArray[np.float64] | None, moment: NDArray[np.float64] | None, rows: int, path: StrPath
) -> NDArray[np.int64]:
    """Row of each person in each frame, [M, T]; -1 where there is none."""
    if moment is not None and np.isnan(moment).any():
        raise ReadError(f"{path}: the frame or time column has empty cells.")
    if person is None:
        if moment is not None and (np.diff(moment) <= 0).any():
            raise ReadError(f"{path}: expected frames in ascending order, each once. Several people need a 'person'.")
        return np.arange(rows)[None]
    if moment is None or np.isnan(person).any():
        raise ReadError(f"{path}: a 'person' column needs a 'frame' or 'time' column beside it, and no empty cells.")
    people, which = np.unique(person, return_inverse=True)
    frames, when = np.unique(moment, return_inverse=True)
    if len(people) * len(frames) > 64 * rows:
        raise ReadError(f"{path}: {len(people)} people in {len(frames)} frames, but {rows} rows; is 'person' right?")
    row_of = np.full((len(people), len(frames)), -1)
    row_of[which, when] = np.arange(rows)
    if (row_of >= 0).sum() != rows:
        raise ReadError(f"{path}: expected one row for each person and frame, found several.")
    return row_of


def _confidence(header: list[str], joints: list[str], rows: NDArray[np.float64]) -> NDArray[np.float64] | None:
    matches = [CONFIDENCE.fullmatch(name) for name in header]
    columns = {match["joint"]: index for index, match in enumerate(matches) if match}
    if not all(joint in columns for joint in joints):
        return None
    return np.nan_to_num(rows[..., [columns[joint] for joint in joints]])


def _layout(joints: list[str]) -> LayoutLike | None:
    """Layout of the names; numbered joints have no names."""
    if all(re.fullmatch(r"(joint|j|kp|keypoint)?[\s_]*\d*", joint, re.IGNORECASE) for joint in joints):
        return None
    try:
        return find_layout(joints)
    except LayoutError as error:
        raise LayoutError(f"{error} Or say layout=NAME, whose joints the columns are in order.") from None


def _rate(time: NDArray[np.float64] | None, path: StrPath) -> float | None:
    """Frames per second of a time column in seconds."""
    if time is None or len(steps := np.diff(np.unique(time))) == 0:
        return None
    step = float(np.median(steps))
    if step >= 1:
        logger.warning("%s: times %g apart are not seconds; the rate is unknown. Say fps=...", path, step)
        return None
    return round(1 / step, 2)
