"""MediaPipe pose landmarkers: world landmarks as JSON or CSV (metres, y down, x right and z away from the camera).

JSON: frames as a list, a list under ``frames``, an object by frame number, or one a line. A frame is a result as the
landmarker gives it (``pose_world_landmarks``, ``poseWorldLandmarks``, ``worldLandmarks``; the ``keypoints3D`` of
TensorFlow.js), or only its landmarks: one person's, or a list of people's. A landmark is ``{"x":, "y":, "z":,
"visibility":}``, ``[x, y, z, visibility]``, or either under its name. CSV: as :mod:`mamp.readers.table` says, with the
names of the landmarks or their numbers.

Image landmarks are refused. Their x and y are fractions of the picture's width and height and their z is a guess of
depth in the same measure, so bodies are squeezed by the shape of the picture; the world landmarks of the same result
are in metres. Where the file does not say which ones it holds, those are the world's whose origin is between the hips.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.columns import Columns, read_columns
from mamp.readers.files import StrPath
from mamp.readers.format import KEYED, NO, POSSIBLE, Contents, Format
from mamp.readers.jsonfile import describe, read_json, to_array, to_number
from mamp.readers.landmarks import (
    GUESSED,
    LAYOUT,
    WORLD_PREFIX,
    find_landmarks,
    key,
    kind_of,
    layout_of,
    refusal,
)
from mamp.readers.table import NUMBERED, parse_table
from mamp.readers.tracks import Body, join_bodies, rate_of_frames
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

Kind = Literal["world", "image", "unsaid"]
KINDS: dict[str, Kind] = {
    "poseworldlandmarks": "world", "worldlandmarks": "world", "poselandmarksworld": "world", "world": "world",
    "keypoints3d": "world", "landmarks": "unsaid", "landmark": "unsaid", "pose": "unsaid", "poses": "unsaid",
    "people": "unsaid", "persons": "unsaid", "results": "unsaid", "normalizedlandmarks": "image",
    "poselandmarks": "image", "keypoints": "image", "landmarks2d": "image",
}  # fmt: skip
NAMES = tuple(map(key, LAYOUT.joints))
ORDER: tuple[Kind, ...] = ("world", "unsaid", "image")
FRAMES = ("frames", "data", "results", "sequence")
RATES = ("fps", "frame_rate", "framerate", "frameRate")
DEPTH = 8


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a JSON or CSV file of world landmarks; the visibility is the confidence.

    Raises:
        ReadError: The file is missing or damaged, holds image landmarks, or other landmarks than the pose's 33.
    """
    if Path(path).name.lower().removesuffix(".gz").endswith(".csv"):
        return read_landmarks(read_columns(path), path, options)
    content = read_json(path)
    frames, fps = _frames(content, path)
    found = [list(_bodies(frame, f"{path}, frame {number}")) for number, frame in enumerate(frames)]
    kinds = {kind for bodies in found for kind, _ in bodies}
    kind = next((kind for kind in ORDER if kind in kinds), None)
    if kind is None:
        raise ReadError(
            f"{path}: expected frames of MediaPipe's world landmarks, or another JSON format that is known; found "
            f"nobody in {describe(content)}."
        )
    if kind == "image":
        raise refusal(path, "its key says so")
    bodies = [[body for one, body in frame if one == kind] for frame in found]
    positions, confidence = join_bodies(bodies, path)
    if kind == "unsaid" and (found_kind := kind_of(positions, LAYOUT.joints))[0] != "world":
        raise refusal(path, found_kind[1] or "they are no world landmarks")
    raw = Raw(
        positions, path, "mediapipe", layout=LAYOUT, fps=fps or rate_of_frames(frames, path), unit="m", up="-y",
        confidence=confidence, min_confidence=GUESSED,
    )  # fmt: skip
    return assemble(raw, options)


def has_landmarks(columns: Columns) -> bool:
    """Whether the columns of a table are landmarks of MediaPipe's pose."""
    try:
        joints = parse_table(columns).joints
    except ReadError:
        return False
    return bool(find_landmarks(joints))


def read_landmarks(columns: Columns, path: StrPath, options: Options, other: str = "csv") -> Skeleton:
    """A recording of a table of landmarks.

    Args:
        columns: Of the table.
        path: The file.
        options: As for a file.
        other: Name of the format, if they are other joints of these names.

    Raises:
        ReadError: They are landmarks of an image, or not those of a pose.
    """
    table = parse_table(columns)
    places = find_landmarks(table.joints)
    if not places:
        raise ReadError(
            f"{path}: expected the {len(LAYOUT.joints)} landmarks of MediaPipe's pose, by name or number, or some of "
            f"them by name; found {len(table.joints)}: {', '.join(table.joints)[:80]}. Say format='csv' to read other "
            "joints."
        )
    if all(NUMBERED.fullmatch(joint) for joint in table.joints):
        logger.warning(
            "%s numbers its %d joints; they are taken as MediaPipe's landmarks. Say format='csv' if that is wrong.",
            path, len(places),
        )  # fmt: skip
    joints, order = list(places), list(places.values())
    positions = table.positions[:, :, order]
    kind, reason = kind_of(positions, joints)
    if any(WORLD_PREFIX.match(joint) for joint in table.joints):
        kind = "world"
    if kind == "image":
        raise refusal(path, reason)
    whole = len(joints) == len(LAYOUT.joints)
    ours = whole or kind == "world"  # and not a table of other joints of these names
    raw = Raw(
        positions, path, "mediapipe" if ours else other, layout=layout_of(joints), fps=table.fps,
        unit="m" if kind == "world" else None, up="-y" if kind == "world" and whole else None,
        min_confidence=GUESSED if ours else None,
        confidence=None if table.confidence is None else table.confidence[:, :, order],
    )  # fmt: skip
    return assemble(raw, options)


def _frames(content: Any, path: StrPath) -> tuple[list[Any], float | None]:
    """The frames of a file, in order, and their rate if it is said."""
    if isinstance(content, list):
        return ([content] if content and _is_landmark(content[0]) else content), None
    if not isinstance(content, Mapping):
        raise ReadError(f"{path}: expected frames of landmarks, found {describe(content)}.")
    places = [content, *(value for value in content.values() if isinstance(value, Mapping))]  # metadata, info, ...
    rates = (to_number(place.get(name)) for place in places for name in RATES)
    fps = next((rate for rate in rates if rate and rate > 0), None)
    for name in FRAMES:
        if isinstance(content.get(name), list):
            return content[name], fps
    if content and all(re.fullmatch(r"(?:frame_?)?\d+", str(name)) for name in content):
        return [content[name] for name in sorted(content, key=lambda name: int(re.sub(r"\D", "", name)[:18]))], fps
    for kind in ORDER:  # one object whose landmarks are a list of frames
        for name, value in content.items():
            if KINDS.get(key(name)) == kind and isinstance(value, list) and _are_frames(value):
                return [{name: frame} for frame in value], fps
    return [content], fps


def _bodies(frame: Any, where: str, kind: Kind = "unsaid", depth: int = 0) -> Iterator[tuple[Kind, Body]]:
    """The bodies in a frame, with the kind of landmarks they are of."""
    if not frame:
        return
    if depth > DEPTH:
        raise ReadError(f"{where}: nested too deeply to be a frame of landmarks.")
    if isinstance(frame, list):
        if _is_landmark(frame[0]):
            yield kind, _body(frame, where)
            return
        for part in frame:
            yield from _bodies(part, where, kind, depth + 1)
        return
    if not isinstance(frame, Mapping):
        raise ReadError(f"{where}: expected landmarks, found {describe(frame)}.")
    parts = {key(name): value for name, value in frame.items()}
    named = [parts.get(name) for name in NAMES]
    if all(_is_landmark(landmark) for landmark in named):
        yield kind, _body(named, where)
        return
    for sort in ORDER:
        for name, value in parts.items():
            if KINDS.get(name) == sort and isinstance(value, list | Mapping):
                yield from _bodies(value, where, kind if sort == "unsaid" else sort, depth + 1)


def _body(landmarks: list[Any], where: str) -> Body:
    if len(landmarks) != len(LAYOUT.joints):
        raise ReadError(
            f"{where}: expected the {len(LAYOUT.joints)} landmarks of MediaPipe's pose, found {len(landmarks)}. A hand "
            "has 21 and a face has 468 or 478."
        )
    if not all(_is_landmark(landmark) for landmark in landmarks):
        raise ReadError(f"{where}: expected landmarks with x, y and z, found {describe(landmarks)}.")
    rows = []
    for landmark in landmarks:
        if isinstance(landmark, Mapping):
            score = landmark.get("visibility", landmark.get("score"))
            rows.append([landmark["x"], landmark["y"], landmark["z"], score])
        else:
            rows.append([*landmark[:4], None][:4])
    values = to_array(rows, where, "landmarks of x, y, z and visibility, all")
    said = np.isfinite(values[:, 3])
    return Body(values[:, :3], np.where(said, values[:, 3].clip(0, 1), 1.0) if said.any() else None)


def _are_frames(values: list[Any]) -> bool:
    """Whether a list is one of frames, of which the first may be empty, and no body."""
    first = next((value for value in values if value is not None), None)
    return isinstance(first, list | Mapping) and not _is_landmark(first)


def _is_landmark(value: Any) -> bool:
    if isinstance(value, Mapping):
        return {"x", "y", "z"} <= value.keys()
    return isinstance(value, list) and len(value) >= 3 and all(_is_scalar(number) for number in value)


def _is_scalar(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _fits(contents: Contents) -> int:
    """The names of landmarks in the header or the keys; lists of landmarks need no keys."""
    if Path(contents.path).name.lower().removesuffix(".gz").endswith(".csv"):
        try:
            return KEYED * has_landmarks(read_columns(contents.path, rows=500))
        except ReadError:
            return NO
    if contents.has_key(r"(?:pose_?)?world_?landmarks|(?:pose)?WorldLandmarks|keypoints3D"):
        return KEYED
    return POSSIBLE * contents.first_line.lstrip().startswith(("[", "{"))


FORMAT = Format(
    "mediapipe", (".json", ".jsonl", ".csv"), "MediaPipe pose world landmarks", read, fits=_fits,
    looks="lists of landmarks",
)  # fmt: skip
