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
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.layouts import get_layout
from mamp.readers.assemble import Options, Raw, assemble
from mamp.readers.columns import Columns, read_columns
from mamp.readers.files import StrPath
from mamp.readers.format import KEYED, POSSIBLE, Contents, Format
from mamp.readers.jsonfile import describe, read_json, to_array, to_number
from mamp.readers.table import NUMBERED, parse_table
from mamp.readers.tracks import Body, join_bodies, rate_of_frames
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

LAYOUT = get_layout("mediapipe33")
HIPS = [LAYOUT.joints.index("left_hip"), LAYOUT.joints.index("right_hip")]
GUESSED = 0.1  # visibility below which a landmark is a guess: mostly of what is out of the picture
FAR = 0.15  # metres from the origin, at which the middle of the hips of world landmarks never is

Kind = Literal["world", "image", "unsaid"]
KINDS: dict[str, Kind] = {
    "poseworldlandmarks": "world", "worldlandmarks": "world", "poselandmarksworld": "world", "world": "world",
    "keypoints3d": "world", "landmarks": "unsaid", "landmark": "unsaid", "pose": "unsaid", "poses": "unsaid",
    "people": "unsaid", "persons": "unsaid", "results": "unsaid", "normalizedlandmarks": "image",
    "poselandmarks": "image", "keypoints": "image", "landmarks2d": "image",
}  # fmt: skip
ORDER: tuple[Kind, ...] = ("world", "unsaid", "image")
FRAMES = ("frames", "data", "results", "sequence")
ABOUT = ("metadata", "meta", "info", "header", "video")  # objects that the rate may be in
RATES = ("fps", "frame_rate", "framerate", "frameRate")
WORLD_PREFIX = re.compile(r"(?:pose[\s_.]*)?world[\s_.]*(?:landmarks?)?[\s_.]*", re.IGNORECASE)
KEY = re.compile(r"[\W_]+")
DEPTH = 8


def read(path: StrPath, options: Options | None = None) -> Skeleton:
    """Read a JSON or CSV file of world landmarks; the visibility is the confidence.

    Raises:
        ReadError: The file is missing or damaged, holds image landmarks, or other landmarks than the pose's 33.
    """
    options = options or Options()
    if Path(path).name.lower().removesuffix(".gz").endswith(".csv"):
        return _read_csv(path, options)
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
        raise ReadError(_refusal(path, "its key says so"))
    bodies = [[body for one, body in frame if one == kind] for frame in found]
    positions, confidence = join_bodies(bodies, path)
    if kind == "unsaid":
        _check_origin(positions, path)
    return _assemble(positions, confidence, fps or rate_of_frames(frames, path), path, options)


def has_landmarks(columns: Columns) -> bool:
    """Whether the columns of a CSV file are MediaPipe's: its landmarks by name, or 33 numbers."""
    try:
        return _order(parse_table(columns).joints) is not None
    except ReadError:
        return False


def _read_csv(path: StrPath, options: Options) -> Skeleton:
    table = parse_table(read_columns(path))
    order = _order(table.joints)
    if order is None:
        raise ReadError(
            f"{path}: expected the {len(LAYOUT.joints)} landmarks of MediaPipe's pose, by name or number; found "
            f"{len(table.joints)}: {', '.join(table.joints)[:80]}. Say format='csv' to read other joints."
        )
    if all(NUMBERED.fullmatch(joint) for joint in table.joints):
        logger.warning(
            "%s numbers its %d joints; they are taken as MediaPipe's landmarks. Say format='csv' if that is wrong.",
            path, len(order),
        )  # fmt: skip
    positions = table.positions[:, :, order]
    if not any(WORLD_PREFIX.match(joint) for joint in table.joints):
        _check_origin(positions, path)
    confidence = None if table.confidence is None else table.confidence[:, :, order]
    return _assemble(positions, confidence, table.fps, path, options)


def _assemble(
    positions: NDArray[np.float64], confidence: NDArray[np.float64] | None, fps: float | None, path: StrPath,
    options: Options,
) -> Skeleton:  # fmt: skip
    raw = Raw(
        positions, path, "mediapipe", layout=LAYOUT, fps=fps, unit="m", up="-y", confidence=confidence,
        min_confidence=GUESSED,
    )  # fmt: skip
    return assemble(raw, options)


def _frames(content: Any, path: StrPath) -> tuple[list[Any], float | None]:
    """The frames of a file, in order, and their rate if it is said."""
    if isinstance(content, list):
        return ([content] if content and _is_landmark(content[0]) else content), None
    if not isinstance(content, Mapping):
        raise ReadError(f"{path}: expected frames of landmarks, found {describe(content)}.")
    places = [content, *(value for key in ABOUT if isinstance(value := content.get(key), Mapping))]
    rates = (to_number(place.get(key)) for place in places for key in RATES)
    fps = next((rate for rate in rates if rate and rate > 0), None)
    for key in FRAMES:
        if isinstance(content.get(key), list):
            return content[key], fps
    if content and all(re.fullmatch(r"(?:frame_?)?\d+", str(key)) for key in content):
        return [content[key] for key in sorted(content, key=lambda key: int(re.sub(r"\D", "", key)[:18]))], fps
    for kind in ORDER:  # one object whose landmarks are a list of frames
        for key, value in content.items():
            if KINDS.get(_key(key)) == kind and isinstance(value, list) and value and not _is_landmark(value[0]):
                return [{key: frame} for frame in value], fps
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
    parts = {_key(key): value for key, value in frame.items()}
    named = [parts.get(_key(joint)) for joint in LAYOUT.joints]
    if all(_is_landmark(landmark) for landmark in named):
        yield kind, _body(named, where)
        return
    for sort in ORDER:
        for key, value in parts.items():
            if KINDS.get(key) == sort and isinstance(value, list | Mapping):
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


def _is_landmark(value: Any) -> bool:
    if isinstance(value, Mapping):
        return {"x", "y", "z"} <= value.keys()
    return isinstance(value, list) and len(value) >= 3 and all(_is_scalar(number) for number in value)


def _is_scalar(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _order(joints: list[str]) -> list[int] | None:
    """Where each landmark is among columns: the world's if there are such, by name, or by number; else ``None``."""
    world = {WORLD_PREFIX.sub("", joint, count=1): at for at, joint in enumerate(joints) if WORLD_PREFIX.match(joint)}
    names = world or {joint: at for at, joint in enumerate(joints)}
    keys = {_key(name): at for name, at in names.items()}
    if len(names) == len(LAYOUT.joints) and all(_key(joint) in keys for joint in LAYOUT.joints):
        return [keys[_key(joint)] for joint in LAYOUT.joints]
    numbers = {match[1]: at for name, at in names.items() if (match := NUMBERED.fullmatch(name)) and match[1]}
    ordered = sorted(numbers, key=int)
    if len(names) == len(numbers) == len(LAYOUT.joints) and int(ordered[-1]) - int(ordered[0]) == len(numbers) - 1:
        return [numbers[number] for number in ordered]
    return None


def _check_origin(positions: NDArray[np.float64], path: StrPath) -> None:
    """Refuse landmarks whose origin is not between the hips."""
    middle = np.linalg.norm(positions[:, :, HIPS].mean(axis=2), axis=-1)
    middle = middle[np.isfinite(middle)]
    if len(middle) and np.median(middle) > FAR:
        raise ReadError(
            _refusal(path, f"the middle of the hips is {np.median(middle):.2f} from the origin, which it would be at")
            + " World landmarks that were moved: say format='csv' with layout='mediapipe33', unit='m', up='-y', or "
            "name them world_landmarks."
        )


def _refusal(path: StrPath, reason: str) -> str:
    return (
        f"{path}: expected MediaPipe's world landmarks, found those of the image ({reason}): x and y as fractions of "
        "the picture and a depth that is not measured, which is no body in 3D. Save pose_world_landmarks of the same "
        "result instead."
    )


def _key(name: Any) -> str:
    return KEY.sub("", str(name).lower())


def _fits(contents: Contents) -> int:
    """The names of landmarks in the header or the keys; lists of landmarks need no keys."""
    if Path(contents.path).name.lower().removesuffix(".gz").endswith(".csv"):
        return KEYED * has_landmarks(read_columns(contents.path, rows=500))
    if contents.has_key(r"(?:pose_?)?world_?landmarks|(?:pose)?WorldLandmarks|keypoints3D"):
        return KEYED
    return POSSIBLE * contents.first_line.lstrip().startswith(("[", "{"))


FORMAT = Format(
    "mediapipe",
    (".json", ".jsonl", ".csv"),
    "MediaPipe pose world landmarks",
    read,
    fits=_fits,
    looks="lists of landmarks",
)
