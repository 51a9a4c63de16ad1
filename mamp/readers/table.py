"""Tables of joints: CSV and data frames.

Wide, one row a frame (or a frame and person): columns ``head_x, head_y, head_z, ...`` in many spellings (``head.x``,
``head:X``, ``Head X``, ``headX``, ``x_head``, ``x0``), and optionally ``head_confidence`` (``_c``, ``_v``, ``_score``,
``_visibility``, ``v0``), ``frame``, ``time`` (seconds; ``time_ms`` and alike), ``person``. Other columns are ignored.

Long, one row a joint: columns ``frame`` or ``time``, ``joint`` (``landmark``, ``keypoint``, ``marker``), ``x``, ``y``,
``z``, and optionally ``person`` and ``confidence``.

Without a header, joints * 3 numbers. Commas, semicolons or tabs; an empty cell was not tracked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import MODEL_LAYOUT, find_layout
from mamp.readers.arrays import build
from mamp.readers.assemble import DEFAULTS, LayoutLike, Options, Raw, choose_layout
from mamp.readers.columns import Columns, read_columns
from mamp.readers.files import StrPath
from mamp.readers.format import Format
from mamp.readers.infer import Body
from mamp.readers.tracks import MAX_CELLS, rate_of_times, seconds_in
from mamp.skeleton import Skeleton

# Names are read from their ends, backwards: from the front, a search takes the square of the length of a name.
COORDINATE = re.compile(r"(?P<axis>[xyzXYZ])[\s._:/|-]+|(?P<capital>[XYZ])(?=[a-z0-9])")
PREFIXED = re.compile(r"(?P<axis>[xyzXYZ])[\s._:/|-]*(?P<joint>.*)")
_SCORES = ("c", "v", "conf", "confidence", "score", "visibility", "likelihood")
CONFIDENCE = re.compile(rf"(?:{'|'.join(word[::-1] for word in _SCORES)})[\s._:/|-]+(?=.)", re.IGNORECASE)
CONFIDENCE_PREFIXED = re.compile(rf"(?:{'|'.join(_SCORES)})[\s._:/|-]*(?P<joint>\d+|(?<=[\s._:/|-]).+)", re.IGNORECASE)
NUMBERED = re.compile(r"(?:joint|j|kp|keypoint|landmark|lm|point|p|marker)?[\s_]*(\d{0,9})", re.IGNORECASE)

# What stands behind a joint or an axis that is a position, and in the name of one that is none.
POSITION = re.compile(r"(?:noitisop|sop|noitalsnart|noitacol)[\s._:/|-]*(?=.)", re.IGNORECASE)
TURNS = {
    "rot", "rotation", "orientation", "euler", "quat", "quaternion", "angle", "angles", "vel", "velocity", "acc",
    "accel", "acceleration", "gyro", "xrotation", "yrotation", "zrotation",
}  # fmt: skip
LIMBS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))
SIDES = ("left", "right")
RIGID = 0.3  # limbs whose lengths vary by so much, in shares of them, are no limbs

FRAME = ("frame", "frame_number", "frame_id", "frame_index", "frame_idx", "frame_num", "index")
TIME = (
    "time", "timestamp", "time_s", "timestamp_s", "seconds", "t", "time_ms", "timestamp_ms", "timestamp_us",
    "timestamp_usec",
)  # fmt: skip
PERSON = ("person", "person_id", "body", "body_id", "subject_id", "track", "track_id", "pose_id", "id")
JOINT = (
    "joint", "joint_name", "landmark", "landmark_name", "keypoint", "keypoint_name", "marker", "bodypart", "name",
    "joint_id", "landmark_id", "landmark_index", "keypoint_id", "landmark_idx",
)  # fmt: skip
SCORE = ("confidence", "visibility", "score", "conf", "likelihood", "c", "v")


@dataclass(frozen=True, eq=False)
class Table:
    """What a table says.

    Attributes:
        joints: Names or numbers of the joints, as they stand there.
        positions: [M, T, V, 3], NaN where empty.
        confidence: [M, T, V], if there is any.
        fps: Frames per second by its times, if there are any.
    """

    joints: list[str]
    positions: NDArray[np.float64]
    confidence: NDArray[np.float64] | None
    fps: float | None


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a CSV file.

    Raises:
        ReadError: The file is missing, rows differ in length, a cell is no number, or columns make no joints.
        LayoutError: The joint names are not understood, and no ``layout`` is given.
    """
    return read_table(read_columns(path), path, "csv", options)


def read_table(columns: Columns, path: StrPath, format: str, options: Options) -> Skeleton:
    """A recording of a table; errors as :func:`read`."""
    if not columns.header:
        return build(Raw(columns.table(range(len(columns.values))), path, format), options)
    table = parse_table(columns, allow_2d=options.allow_2d)
    layout = _layout(table.joints) if options.layout is None else None
    options = options.with_defaults(fps=table.fps, layout=layout)
    _check_limbs(table, options, path)
    return build(Raw(table.positions, path, format, confidence=table.confidence), options)


def parse_table(columns: Columns, allow_2d: bool = False) -> Table:
    """What a table with a header says.

    Args:
        columns: Wide or long.
        allow_2d: Joints may lack z, which is 0 then.

    Raises:
        ReadError: The columns make no joints, or rows no frames.
    """
    joint = columns.find(JOINT)
    axes = [columns.find((axis,)) for axis in "xyz"]
    if joint is not None and None not in axes[:2]:
        return _long(columns, joint, axes, allow_2d)
    joints, where = _joint_columns(columns.header, columns.where, allow_2d)
    frame, time, person = _moments(columns)
    row_of = _arrange(person, frame if frame is not None else time, len(columns), columns.where)
    points = np.full((len(columns) + 1, len(joints), 3), np.nan)  # the last row is for who is not there
    for axis in range(3):
        for place, index in enumerate(where[:, axis]):
            points[:-1, place, axis] = 0.0 if index < 0 else columns.numbers(index)
    return Table(joints, points[row_of], _confidence(columns, joints, row_of), _rate(columns, time))


def _long(columns: Columns, joint: int, axes: list[int | None], allow_2d: bool) -> Table:
    if axes[2] is None and not allow_2d:
        raise ReadError(f"{columns.where}: there are x and y, but no z.{FLAT}")
    frame, time, person = _moments(columns)
    moment = frame if frame is not None else time
    if moment is None or np.isnan(moment).any():
        raise ReadError(f"{columns.where}: rows of single joints need a 'frame' or 'time' column without empty cells.")
    if person is None:
        person = np.zeros(len(columns))
    if np.isnan(person).any():
        raise ReadError(f"{columns.where}: the 'person' column has empty cells.")
    texts = columns.texts(joint)
    names = list(dict.fromkeys(texts))
    which = {name: place for place, name in enumerate(names)}
    people, m = np.unique(person, return_inverse=True)
    frames, t = np.unique(moment, return_inverse=True)
    cells = len(people) * len(frames) * len(names)
    if cells > max(MAX_CELLS, 64 * len(columns)):
        raise ReadError(
            f"{columns.where}: {len(people)} people, {len(frames)} frames and {len(names)} joints, but {len(columns)} "
            "rows; is the column of joints right?"
        )
    place = (m, t, np.array([which[text] for text in texts]))
    if len(np.unique(np.ravel_multi_index(place, (len(people), len(frames), len(names))))) != len(columns):
        raise ReadError(f"{columns.where}: expected one row for each person, frame and joint, found several.")
    positions = np.full((len(people), len(frames), len(names), 3), np.nan)
    positions[place] = np.stack([np.zeros(len(columns)) if i is None else columns.numbers(i) for i in axes], axis=1)
    confidence = None
    if (score := columns.find(SCORE)) is not None:
        confidence = np.zeros(positions.shape[:3])
        confidence[place] = np.nan_to_num(columns.numbers(score))
    return Table(names, positions, confidence, _rate(columns, time))


FLAT = (
    " It looks like 2D keypoints, which the weights were not trained on; lift them to 3D, or say allow_2d=True to go "
    "on without depth."
)


def _joint_columns(header: list[str], where: str, allow_2d: bool) -> tuple[list[str], NDArray[np.int64]]:
    """Joint names in order of appearance, and the columns [V, 3] of their coordinates; -1 for a z that is not there."""
    found: dict[str, dict[str, int]] = {}
    turned: list[str] = []
    for index, name in enumerate(header):
        if TURNS & {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}:
            turned.append(name)
            continue
        name = _without_end(POSITION, name) or name
        joint, match = _without_end(COORDINATE, name), COORDINATE.match(name[::-1])
        if joint is None and (match := PREFIXED.fullmatch(name)):
            joint = match["joint"]
        if joint is not None and match is not None:
            parts = match.groupdict()
            axis = (parts["axis"] or parts.get("capital") or "").lower()
            joint = _without_end(POSITION, joint) or joint
            if axis in found.setdefault(joint, {}):
                raise ReadError(f"{where}: two columns are the {axis} of joint {joint!r}.")
            found[joint][axis] = index
    if not found and turned:
        raise ReadError(
            f"{where}: expected positions of joints, found only how they turn or move ({', '.join(turned)[:80]}). "
            "Export positions, or BVH."
        )
    if not found:
        raise ReadError(f"{where}: expected columns such as head_x, head_y, head_z; found {', '.join(header)[:120]}.")
    for joint, axes in found.items():
        if set(axes) != set("xyz"):
            if set(axes) == set("xy") and allow_2d:
                axes["z"] = -1
                continue
            flat = FLAT if set(axes) == set("xy") else ""
            raise ReadError(f"{where}: joint {joint!r} has only {', '.join(sorted(axes))} of x, y, z.{flat}")
    return list(found), np.array([[axes[axis] for axis in "xyz"] for axes in found.values()])


def _without_end(pattern: re.Pattern[str], name: str) -> str | None:
    """What stands before an end that a pattern of backward text matches; none if it does not."""
    match = pattern.match(name[::-1])
    return None if match is None else name[: len(name) - match.end()]


def _check_limbs(table: Table, options: Options, path: StrPath) -> None:
    """Refuse tables of angles under the names of joints (as converters of BVH write them): no limb keeps its length."""
    if options.layout is None or table.positions.shape[1] < 10 or np.nan_to_num(abs(table.positions)).max() > 360:
        return
    layout = choose_layout(options.layout, len(table.joints), path)
    joints = Body(table.positions, layout).joints if len(layout.joints) == len(table.joints) else None
    if joints is None:
        return
    places = [[MODEL_LAYOUT.joints.index(f"{part}_{side}") for part in limb] for limb in LIMBS for side in SIDES]
    lengths = np.stack([np.linalg.norm(joints[:, a] - joints[:, b], axis=-1) for a, b in places])
    lengths = lengths[np.isfinite(lengths).all(-1) & (lengths.mean(-1) > 0)]
    if len(lengths) and (change := np.median(lengths.std(-1) / lengths.mean(-1))) > RIGID:
        raise ReadError(
            f"{path}: expected positions of joints; here limbs change their length by {100 * change:.0f} %, as they do "
            "where the numbers are angles. Export positions, or BVH."
        )


def _moments(columns: Columns) -> tuple[NDArray[np.float64] | None, ...]:
    """Frame, time and person of the rows, where there is such a column."""
    found = [columns.find(names) for names in (FRAME, TIME, PERSON)]
    return tuple(None if index is None else columns.numbers(index) for index in found)


def _arrange(
    person: NDArray[np.float64] | None, moment: NDArray[np.float64] | None, rows: int, where: str
) -> NDArray[np.int64]:
    """Row of each person in each frame, [M, T]; -1 where there is none."""
    if moment is not None and np.isnan(moment).any():
        raise ReadError(f"{where}: the frame or time column has empty cells.")
    if person is None:
        if moment is not None and (np.diff(moment) <= 0).any():
            raise ReadError(f"{where}: expected frames in ascending order, each once. Several people need a 'person'.")
        return np.arange(rows)[None]
    if moment is None or np.isnan(person).any():
        raise ReadError(f"{where}: a 'person' column needs a 'frame' or 'time' column beside it, and no empty cells.")
    people, which = np.unique(person, return_inverse=True)
    frames, when = np.unique(moment, return_inverse=True)
    if len(people) * len(frames) > 64 * rows:
        raise ReadError(f"{where}: {len(people)} people in {len(frames)} frames, but {rows} rows; is 'person' right?")
    row_of = np.full((len(people), len(frames)), -1)
    row_of[which, when] = np.arange(rows)
    if (row_of >= 0).sum() != rows:
        raise ReadError(f"{where}: expected one row for each person and frame, found several.")
    return row_of


def _confidence(columns: Columns, joints: list[str], row_of: NDArray[np.int64]) -> NDArray[np.float64] | None:
    found: dict[str, int] = {}
    for index, name in enumerate(columns.header):
        joint = _without_end(CONFIDENCE, name)
        if joint is None and (match := CONFIDENCE_PREFIXED.fullmatch(name)):
            joint = match["joint"]
        if joint is not None:
            found.setdefault(joint, index)
    if not all(joint in found for joint in joints):
        return None
    rows = np.zeros((len(columns) + 1, len(joints)))
    rows[:-1] = np.nan_to_num(columns.table([found[joint] for joint in joints]))
    return rows[row_of]


def _layout(joints: list[str]) -> LayoutLike | None:
    """Layout of the names; numbered joints have no names."""
    if all(NUMBERED.fullmatch(joint) for joint in joints):
        return None
    try:
        return find_layout(joints)
    except LayoutError as error:
        raise LayoutError(f"{error} Or say layout=NAME, whose joints the columns are in order.") from None


def _rate(columns: Columns, time: NDArray[np.float64] | None) -> float | None:
    """Frames per second of the time column."""
    index = columns.find(TIME)
    if index is None or time is None:
        return None
    return rate_of_times(time, seconds_in(columns.header[index]), columns.where)


FORMAT = Format("csv", (".csv", ".tsv"), "a row a frame with head_x, head_y, head_z, ..., or a row a joint", read)
