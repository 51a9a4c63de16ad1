"""Azure Kinect JSON, as the body tracking SDK's offline processor writes it: millimetres, x right, y down, z forward.

``{"frames": [{"timestamp_usec":, "bodies": [{"body_id":, "joint_positions": [32][3]}]}], "joint_names": [32]}``. Where
bodies have ``confidence_levels`` (0 none, 1 low, 2 medium, 3 high; the SDK gives no more than medium), a joint of level
0 was not tracked, and the confidence is 0.5 for low and 1 above.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mamp.errors import ReadError
from mamp.layouts import Layout, find_layout, get_layout
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath
from mamp.readers.format import KEYED, Format
from mamp.readers.jsonfile import describe, objects_in, read_json, to_array
from mamp.readers.tracks import Body, join_bodies, rate_of_frames
from mamp.skeleton import Skeleton

LAYOUT = get_layout("azure32")
CONFIDENCE = ("confidence_levels", "joint_confidence_levels", "joint_confidences", "confidences", "confidence_level")


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file; people are told by ``body_id``, the rate by the times of the frames.

    Raises:
        ReadError: The file is missing or damaged, or its bodies do not have 32 joints.
    """
    content = read_json(path)
    frames = content.get("frames") if isinstance(content, Mapping) else content
    if not isinstance(frames, list):
        raise ReadError(f'{path}: expected {{"frames": [{{"bodies": [...]}}, ...]}}, found {describe(content)}.')
    bodies = []
    for number, frame in enumerate(frames):
        where = f"{path}, frame {number}"
        bodies.append([_body(body, where) for body in objects_in(frame, "bodies", where, 'a frame with "bodies"')])
    positions, confidence = join_bodies(bodies, path)
    raw = Raw(
        positions, path, "azure", layout=_layout(content, path), unit="mm", up="-y", fps=rate_of_frames(frames, path),
        zeros="joint", confidence=confidence,
    )  # fmt: skip
    return assemble(raw, options)


def _layout(content: Any, path: StrPath) -> Layout:
    """The layout in the order of the file's ``joint_names``, or of the SDK if it has none."""
    names = content.get("joint_names") if isinstance(content, Mapping) else None
    if names is None:
        return LAYOUT
    given = names if isinstance(names, list) else []
    spelt = [str(name).upper().removeprefix("K4ABT_JOINT_").replace("NAVAL", "NAVEL") for name in given]
    if sorted(_keys(spelt)) != sorted(_keys(LAYOUT.joints)):
        raise ReadError(f"{path}: expected the {len(LAYOUT.joints)} joint_names of the SDK, found {describe(names)}.")
    return find_layout(spelt)


def _keys(names: Any) -> list[str]:
    return [name.lower().replace("_", "").replace(" ", "") for name in names]


def _body(body: Mapping[str, Any], where: str) -> Body:
    joints = len(LAYOUT.joints)
    points = to_array(body.get("joint_positions"), where, f"joint_positions [{joints}][3], all")
    if points.shape != (joints, 3):
        raise ReadError(f"{where}: expected joint_positions [{joints}][3], found {list(points.shape)}.")
    confidence = None
    key = next((key for key in CONFIDENCE if body.get(key) is not None), None)
    if key is not None:
        levels = np.nan_to_num(to_array(body[key], where, f"{key} [{joints}], all"))
        if levels.shape != (joints,):
            raise ReadError(f"{where}: expected {key} [{joints}], found {list(levels.shape)}.")
        points = np.where(levels[:, None] > 0, points, np.nan)
        confidence = (levels / 2).clip(0, 1)
    person = body.get("body_id")
    return Body(points, confidence, person if isinstance(person, int | str) else None)


FORMAT = Format(
    "azure", (".json",), "Azure Kinect body tracking (offline processor)", read,
    fits=lambda contents: KEYED * contents.has_key("joint_positions|bodies"),
)  # fmt: skip
