"""OpenPose JSON: a file a frame in a folder (``--write_json``), or one file with a list of frames.

``pose_keypoints_3d`` holds x, y, z and confidence of 25 joints (BODY_25) or 18 (COCO, of which the neck is left out),
in the axes and the unit of the calibration, which are inferred. A joint of confidence 0 was not found. Recordings with
``pose_keypoints_2d`` only are refused unless 2D is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, recording_files
from mamp.readers.format import KEYED, LIKELY, Contents, Format
from mamp.readers.jsonfile import objects_in, read_json, to_array
from mamp.readers.table import FLAT
from mamp.readers.tracks import Body, join_bodies, scored_body, without_depth
from mamp.skeleton import Skeleton

KEYS = {3: "pose_keypoints_3d", 2: "pose_keypoints_2d"}
# Places of the joints of layout coco17 among OpenPose's 18.
COCO18 = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file, or all files of a folder in the order of the numbers in their names.

    Raises:
        ReadError: There are no frames, keypoints are of another number, or only 2D ones.
    """
    files = recording_files(path, "OpenPose")
    frames = [frame for file in files for frame in _frames(read_json(file), file)]
    people = [person for frame in frames for person in frame]
    spatial = any(person.get(KEYS[3]) for person in people)
    if not spatial and any(person.get(KEYS[2]) for person in people) and not options.allow_2d:
        raise ReadError(f"{path}: there is {KEYS[2]}, but no {KEYS[3]} (OpenPose --3d).{FLAT}")
    dim = 3 if spatial else 2
    bodies = [
        [body for person in frame if (body := _body(person, dim, f"{path}, frame {number}")) is not None]
        for number, frame in enumerate(frames)
    ]
    positions, confidence = join_bodies(bodies, path)
    if dim == 2:
        positions = without_depth(positions)
    layout = "body25" if positions.shape[2] == 25 else "coco17"
    raw = Raw(
        positions, path, "openpose", layout=layout, up=None if spatial else "-y", flat=not spatial, zeros="keep",
        confidence=confidence,
    )  # fmt: skip
    return assemble(raw, options)


def _frames(content: Any, path: StrPath) -> list[list[Mapping[str, Any]]]:
    """People of each frame of a file."""
    if isinstance(content, Mapping) and "people" not in content and content:
        inside = content.get("frames", content)
        content = list(inside.values()) if isinstance(inside, Mapping) else inside
    frames = content if isinstance(content, list) else [content]
    expected = f'{{"people": [{{"{KEYS[3]}": [...]}}, ...]}}'
    return [objects_in(frame, "people", str(path), expected) for frame in frames]


def _body(person: Mapping[str, Any], dim: int, where: str) -> Body | None:
    if not person.get(KEYS[dim]):
        return None
    values = to_array(person[KEYS[dim]], where, f"{KEYS[dim]}: a list of")
    joints = {25 * (dim + 1): 25, 18 * (dim + 1): 18}.get(values.size)
    if joints is None or values.ndim != 1:
        raise ReadError(
            f"{where}: expected {KEYS[dim]} of 25 or 18 joints, {dim + 1} numbers each; found {list(values.shape)}."
        )
    table = values.reshape(joints, -1)
    if joints == 18:
        table = table[list(COCO18)]
    return scored_body(table, _who(person))


def _who(person: Mapping[str, Any]) -> int | None:
    """Number of the person, if the tracker gave one: ``[-1]`` stands for none."""
    given = person.get("person_id")
    number = given[0] if isinstance(given, list) and len(given) == 1 else given
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None


def _fits(contents: Contents) -> int:
    return KEYED if contents.has_key("pose_keypoints_[23]d") else LIKELY * contents.has_key("people")


FORMAT = Format(
    "openpose", (".json",), "OpenPose JSON in 3D; a folder of them, one a frame", read, fits=_fits, folders=True
)
