"""BVH: a hierarchy of joints with offsets and channels, then one row of channel values a frame.

Rotations multiply in the order of the channels, the first leftmost. Position channels take the place of OFFSET, on any
joint and axis by axis. End Sites become joints named ``<parent>_end``. BVH has no unit: it is inferred from the size
of the body (:mod:`mamp.readers.units`) unless it is given.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mamp.errors import LayoutError, ReadError
from mamp.layouts import find_layout
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble, by_name
from mamp.readers.files import (
    LARGEST,
    StrPath,
    check_numbers,
    decimal_comma,
    distinct_names,
    parse_int,
    parse_table,
    read_text,
)
from mamp.readers.format import Format
from mamp.readers.infer import sample_frames
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

MAX_JOINTS = 5000
COMMENT = re.compile(r"\s*($|#|//)")  # or nothing
GLUED = re.compile(r"(?<=[\d.])-(?=[\d.])")  # the minus of 12.5-3.25
CHANNEL = re.compile(r"([xyz])(position|rotation)", re.IGNORECASE)


@dataclass
class Joint:
    """One joint of the hierarchy.

    Attributes:
        name: As in the file.
        parent: Index, -1 for the root.
        offset: From the parent, in the file's unit.
        channels: (axis, ``position`` or ``rotation``), in order.
        is_end: Whether it is an End Site.
    """

    name: str
    parent: int
    offset: tuple[float, float, float] | None = None
    channels: list[tuple[str, str]] = field(default_factory=list)
    is_end: bool = False


@dataclass(frozen=True, eq=False)
class Motion:
    """A parsed file: joints in file order, ``values`` [T, channels] (degrees, units), and seconds a frame."""

    joints: list[Joint]
    values: NDArray[np.float64]
    frame_time: float


def parse_bvh_file(path: StrPath) -> Motion:
    """Parse a file.

    Raises:
        ReadError: The file is missing, cut or malformed.
    """
    text = read_text(path)
    head, found, tail = _cut_at(text, "MOTION")
    if not found:
        raise ReadError(f"{path}: expected HIERARCHY and MOTION as in BVH; found no line MOTION. Is the file cut?")
    joints = _parse_hierarchy(head, str(path))
    channels = sum(len(joint.channels) for joint in joints)
    lines = [line for line in tail.splitlines() if line.strip()]
    announced, seconds = _header(lines, 0, "frames", path), _header(lines, 1, "frame time", path)
    frame_time = _float(seconds, f"{path}, MOTION", "the number after Frame Time:")
    frames = parse_int(announced, f"{path}, MOTION", "the number after Frames:")
    values = _parse_motion(lines[2:], frames, channels, path)
    check_numbers(values, f"{path}, MOTION", nan=False)
    return Motion(joints, values, frame_time)


def _parse_motion(rows: list[str], frames: int, channels: int, path: StrPath) -> NDArray[np.float64]:
    """Values of the channels, [T, channels]; the last row may be missing, and the blanks before a minus."""
    if not rows or not frames:
        raise ReadError(f"{path}: expected frames of motion; the file announces {frames} and holds {len(rows)}.")
    if len(rows) < frames - 1:
        raise ReadError(f"{path}: the file is cut: {frames} frames announced, {len(rows)} found.")
    if len(rows) > frames:
        logger.warning("%s: %d rows after the last of %d frames are ignored.", path, len(rows) - frames, frames)
    if len(rows) == frames - 1:
        logger.warning("%s: %d frames announced, %d found and read.", path, frames, len(rows))
    rows = rows[:frames]
    try:
        return parse_table(rows, f"{path}, MOTION", columns=channels)
    except ReadError:
        apart = [GLUED.sub(" -", row) for row in rows]
        if apart == rows:
            raise
    values = parse_table(apart, f"{path}, MOTION", columns=channels)
    logger.warning("%s: blanks between numbers are missing; a minus inside a number begins the next.", path)
    return values


def rotation(axes: str, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Product of rotations about coordinate axes, the first leftmost.

    Args:
        axes: Letters of ``xyz``, K of them.
        angles: [..., K] in radians.

    Returns:
        [..., 3, 3], to multiply column vectors from the left.
    """
    result = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for index, axis in enumerate(axes):
        # The two axes that turn, in the order that makes the turn right-handed.
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        cos, sin = np.cos(angles[..., index, None]), np.sin(angles[..., index, None])
        turned = result.copy()
        turned[..., i] = result[..., i] * cos + result[..., j] * sin
        turned[..., j] = result[..., j] * cos - result[..., i] * sin
        result = turned
    return result


def forward_kinematics(motion: Motion) -> NDArray[np.float64]:
    """Positions of the joints, [T, V, 3], in the file's unit and axes."""
    values, at = motion.values, 0
    positions = np.empty((len(values), len(motion.joints), 3))
    turns: list[NDArray[np.float64]] = []  # [T, 3, 3], from the joint's axes to the world's
    for index, joint in enumerate(motion.joints):
        offset = np.tile(np.asarray(joint.offset, dtype=np.float64), (len(values), 1))
        axes, columns = "", []
        for column, (axis, kind) in enumerate(joint.channels, start=at):
            if kind == "position":
                offset[:, "xyz".index(axis)] = values[:, column]
            else:
                axes += axis
                columns.append(column)
        at += len(joint.channels)
        turn = rotation(axes, np.deg2rad(values[:, columns]))
        if joint.parent < 0:
            positions[:, index] = offset
            turns.append(turn)
        else:
            parent = turns[joint.parent]
            positions[:, index] = positions[:, joint.parent] + (parent @ offset[..., None])[..., 0]
            turns.append(parent @ turn if axes else parent)
    return positions


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a BVH file; the layout is found by the joint names, the frame rate is that of Frame Time.

    Raises:
        ReadError: The file is malformed.
        LayoutError: The joint names are not understood, and no ``layout`` is given.
    """
    motion = parse_bvh_file(path)
    names, parents = [joint.name for joint in motion.joints], [joint.parent for joint in motion.joints]
    positions = forward_kinematics(motion)
    layout, positions = by_name(options.layout, names, positions)
    if layout is None:
        try:
            layout = find_layout(names, parents, sample_frames(positions[None]))
        except LayoutError as error:
            raise LayoutError(f"{path}: {error}") from None
    rate = 1 / motion.frame_time if motion.frame_time else 0.0
    fps = round(rate, 2) if rate > 1 else rate  # 0.0333333 is meant to be 30
    raw = Raw(positions[None], path, "bvh", layout=layout, fps=fps, zeros="keep", info={"joints": tuple(names)})
    return assemble(raw, replace(options, layout=layout))


def _cut_at(text: str, word: str) -> tuple[str, bool, str]:
    match = re.search(rf"^[^\S\n]*{word}\b.*$", text, re.MULTILINE | re.IGNORECASE)
    return (text[: match.start()], True, text[match.end() :]) if match else (text, False, "")


def _parse_hierarchy(text: str, path: str) -> list[Joint]:
    joints: list[Joint] = []
    open_joints: list[int] = []
    pending: Joint | None = None
    _, found, text = _cut_at(text, "HIERARCHY")
    if not found:
        raise ReadError(f"{path}: expected HIERARCHY in the first line, as in BVH.")
    lines = [line.split() for line in re.sub(r"([{}])", r"\n\1\n", text).splitlines() if COMMENT.match(line) is None]
    for words in lines:
        word = words[0].upper()
        if len(joints) > MAX_JOINTS:
            raise ReadError(f"{path}: more than {MAX_JOINTS} joints are no body; export the skeleton alone.")
        if word == "OFFSET" and len(words) != 4:
            words = GLUED.sub(" -", " ".join(words)).split()
        if word in ("ROOT", "JOINT", "END") and pending is None:
            pending = _new_joint(word, words, joints, open_joints, path)
        elif word == "{" and pending is not None:
            open_joints.append(len(joints))
            joints.append(pending)
            pending = None
        elif word == "}" and open_joints and pending is None:
            joint = joints[open_joints.pop()]
            if joint.offset is None:
                raise ReadError(f"{path}: joint {joint.name!r} has no OFFSET.")
        elif word == "OFFSET" and open_joints and len(words) == 4:
            x, y, z = (_float(value, path, f"the OFFSET of {joints[open_joints[-1]].name!r}") for value in words[1:])
            joints[open_joints[-1]].offset = (x, y, z)
        elif word == "CHANNELS" and open_joints:
            joints[open_joints[-1]].channels = _channels(words, joints[open_joints[-1]].name, path)
        else:
            raise ReadError(f"{path}: the hierarchy is malformed at {' '.join(words)[:60]!r}.")
    if open_joints or pending is not None or not joints:
        raise ReadError(f"{path}: the hierarchy is cut: it has no joint, or a bracket that is never closed.")
    ends = [joint for joint in joints if joint.is_end]
    for joint, name in zip(ends, distinct_names([joint.name for joint in ends]), strict=True):
        joint.name = name
    return joints


def _new_joint(word: str, words: list[str], joints: list[Joint], open_joints: list[int], path: str) -> Joint:
    name = " ".join(words[1:])
    if (word == "ROOT") == bool(open_joints):
        raise ReadError(f"{path}: the hierarchy is malformed: {word} {name} in the wrong place.")
    if word == "ROOT" and joints:
        raise ReadError(f"{path}: the hierarchy has two roots, {joints[0].name!r} and {name!r}; split the file.")
    parent = open_joints[-1] if open_joints else -1
    return Joint(f"{joints[parent].name}_end" if word == "END" else name, parent, is_end=word == "END")


def _channels(words: list[str], name: str, path: str) -> list[tuple[str, str]]:
    matches = [CHANNEL.fullmatch(word) for word in words[2:]]
    channels = [(match[1].lower(), match[2].lower()) for match in matches if match]
    if len(words) < 2 or len(channels) != len(matches) or words[1] != str(len(channels)):
        raise ReadError(
            f"{path}: the CHANNELS of {name!r} are malformed: expected their number, then as many of Xposition, "
            f"Yposition, Zposition, Xrotation, Yrotation, Zrotation; found {' '.join(words[1:])[:80]!r}."
        )
    return channels


def _header(lines: list[str], index: int, key: str, path: StrPath) -> str:
    """Value of the line ``key: value`` of the MOTION section."""
    line = lines[index] if index < len(lines) else ""
    before, found, value = line.partition(":")
    if not found or " ".join(before.lower().split()) != key:
        raise ReadError(f"{path}: expected {key.title()}: in the MOTION section, found {line.strip()[:40]!r}.")
    return value


def _float(text: str, where: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < LARGEST:
        raise ReadError(f"{where}: expected numbers for {what}, found {text.strip()[:40]!r}.{decimal_comma(text)}")
    return value


FORMAT = Format("bvh", (".bvh",), "BVH motion capture", read)
