"""EasyMocap JSON (``keypoints3d/000000.json``), a file a frame, or a folder of them: metres, axes of the calibration.

A frame is ``[{"id": 0, "keypoints3d": [[x, y, z, confidence], ...]}, ...]`` with OpenPose's 25 joints (BODY_25), which
may be followed by those of hands and face, or 17 (COCO). A joint of confidence 0 was not found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, recording_files
from mamp.readers.format import KEYED, Format
from mamp.readers.jsonfile import describe, read_json, to_array
from mamp.readers.tracks import Body, join_bodies, scored_body
from mamp.skeleton import Skeleton

KEY = "keypoints3d"
BODY25, COCO17 = 25, 17


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file, or all files of a folder in the order of the numbers in their names; people are told by ``id``.

    Raises:
        ReadError: There are no frames, or bodies of another number of joints.
    """
    files = recording_files(path, "EasyMocap")
    frames = [frame for file in files for frame in _frames(read_json(file))]
    bodies = [_bodies(frame, f"{path}, frame {number}") for number, frame in enumerate(frames)]
    positions, confidence = join_bodies(bodies, path)
    layout = "coco17" if positions.shape[2] == COCO17 else "body25"
    raw = Raw(positions, path, "easymocap", layout=layout, unit="m", zeros="keep", confidence=confidence)
    return assemble(raw, options)


def _frames(content: Any) -> list[Any]:
    """Frames of a file: one, or a list of them (JSON Lines)."""
    if isinstance(content, list) and content and isinstance(content[0], list):
        return content
    return [content]


def _bodies(frame: Any, where: str) -> list[Body]:
    if not isinstance(frame, list) or not all(isinstance(body, Mapping) and KEY in body for body in frame):
        raise ReadError(f'{where}: expected [{{"id": 0, "{KEY}": [...]}}, ...], found {describe(frame)}.')
    return [_body(body, where) for body in frame]


def _body(body: Mapping[str, Any], where: str) -> Body:
    table = to_array(body[KEY], where, f"{KEY} [joints][4], all")
    if table.ndim != 2 or table.shape[1] not in (3, 4) or (len(table) < BODY25 and len(table) != COCO17):
        raise ReadError(
            f"{where}: expected {KEY} of {BODY25} joints (BODY_25, with hands and face or without) or {COCO17} (COCO), "
            f"4 numbers each; found {list(table.shape)}."
        )
    table = table[: COCO17 if len(table) == COCO17 else BODY25]
    if table.shape[1] == 3:
        table = np.pad(table, [(0, 0), (0, 1)], constant_values=1.0)
    return scored_body(table, body.get("id"))


FORMAT = Format(
    "easymocap", (".json",), "EasyMocap keypoints3d JSON; a folder of them, one a frame", read,
    fits=lambda contents: KEYED * contents.has_key(KEY), folders=True,
)  # fmt: skip
