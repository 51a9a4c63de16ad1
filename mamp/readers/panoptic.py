"""CMU Panoptic Studio JSON, a file a frame (``body3DScene_00000100.json``) or a folder of them: cm, y down.

``{"bodies": [{"id": 0, "joints19": [x, y, z, confidence, ...]}]}`` with the 19 joints of COCO in Panoptic's order. A
joint of confidence 0 or less was not found. The rate is that of ``fpsType``: ``hd_29_97`` or ``vga_25``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, recording_files
from mamp.readers.format import KEYED, Format
from mamp.readers.jsonfile import objects_in, read_json, to_array
from mamp.readers.tracks import Body, join_bodies, scored_body
from mamp.skeleton import Skeleton

KEY = "joints19"
JOINTS = 19
GUESSED = 0.1  # below which the toolbox of Panoptic does not draw a joint


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file, or all files of a folder in the order of the numbers in their names; people are told by ``id``.

    Raises:
        ReadError: There are no frames, or bodies do not have 19 joints.
    """
    files = recording_files(path, "Panoptic Studio")
    contents = [read_json(file) for file in files]
    frames = [frame for content in contents for frame in (content if isinstance(content, list) else [content])]
    bodies = [_bodies(frame, f"{path}, frame {number}") for number, frame in enumerate(frames)]
    positions, confidence = join_bodies(bodies, path)
    raw = Raw(
        positions, path, "panoptic", layout="panoptic19", fps=_rate(frames[0]), unit="cm", up="-y", zeros="keep",
        confidence=confidence, min_confidence=GUESSED,
    )  # fmt: skip
    # Triangulated from many cameras, so never in 2D, however flat a frame is.
    return assemble(raw, replace(options, allow_2d=True))


def _bodies(frame: Any, where: str) -> list[Body]:
    expected = f'{{"bodies": [{{"{KEY}": [...]}}, ...]}}'
    return [_body(body, where) for body in objects_in(frame, "bodies", where, expected)]


def _body(body: Mapping[str, Any], where: str) -> Body:
    values = to_array(body.get(KEY), where, f"{KEY}: a list of")
    if values.shape != (4 * JOINTS,):
        raise ReadError(f"{where}: expected {KEY} of {JOINTS} joints, 4 numbers each; found {list(values.shape)}.")
    return scored_body(values.reshape(JOINTS, 4), body.get("id"))


def _rate(frame: Any) -> float | None:
    """Frames per second by a name such as ``hd_29_97``."""
    match = re.fullmatch(r"[a-z]+_(\d{1,3})(?:_(\d{1,3}))?", str(frame.get("fpsType", "")))
    rate = float(f"{match[1]}.{match[2] or 0}") if match else 0.0
    return rate or None


FORMAT = Format(
    "panoptic", (".json",), "CMU Panoptic Studio body3DScene JSON; a folder of them, one a frame", read,
    fits=lambda contents: KEYED * contents.has_key(KEY), folders=True,
)  # fmt: skip
