"""MMPose JSON: predictions of its inferencer and of its 3D demo, a file a video or a folder of files a picture.

Frames are ``{"frame_id":, "instances": [...]}`` in a list or under ``instance_info``; an instance has ``keypoints``
[17][3] (Human3.6M) and ``keypoint_scores``. MMPose turns the lifted pose to (-x, z, -y) of the camera's axes before it
saves it: z is up, and the axes are left-handed, which is undone here. A lifted pose has no sure size, so its unit is
inferred. 2D predictions are refused unless 2D is asked for.
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
from mamp.readers.table import FLAT
from mamp.readers.tracks import Body, join_bodies, without_depth
from mamp.skeleton import Skeleton

LAYOUTS = {(17, 3): "h36m17", (17, 2): "coco17"}


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file, or all files of a folder in the order of the numbers in their names.

    Raises:
        ReadError: There are no frames, or keypoints are not [joints][3] numbers.
        LayoutError: The keypoints are not 17, and no ``layout`` is given.
    """
    files = recording_files(path, "MMPose")
    frames = [frame for file in files for frame in _frames(read_json(file), file)]
    bodies = [[_body(one, f"{path}, frame {number}") for one in frame] for number, frame in enumerate(frames)]
    positions, confidence = join_bodies(bodies, path)
    joints, dim = positions.shape[2:]
    if dim == 2:
        if not options.allow_2d:
            raise ReadError(f"{path}: these are predictions in 2D; a lifter such as pose3d='human3d' gives 3D.{FLAT}")
        positions = without_depth(positions)
    raw = Raw(
        positions, path, "mmpose", layout=LAYOUTS.get((joints, dim)), up="z" if dim == 3 else "-y",
        handedness="left" if dim == 3 else "right", flat=dim == 2, zeros="person", confidence=confidence,
    )  # fmt: skip
    return assemble(raw, options)


def _frames(content: Any, path: StrPath) -> list[list[Any]]:
    """Instances of each frame of a file."""
    if isinstance(content, Mapping):
        content = content.get("instance_info", content.get("predictions"))
    if not isinstance(content, list):
        raise ReadError(f'{path}: expected frames with "instances", found {describe(content)}.')
    if all(isinstance(one, Mapping) and "keypoints" in one for one in content):
        return [content]  # a picture
    frames = []
    for frame in content:
        instances = frame.get("instances") if isinstance(frame, Mapping) else frame
        if not isinstance(instances, list):
            raise ReadError(f'{path}: expected frames with "instances", found {describe(frame)}.')
        frames.append(instances)
    return frames


def _body(instance: Any, where: str) -> Body:
    if not isinstance(instance, Mapping) or "keypoints" not in instance:
        raise ReadError(f'{where}: expected an instance with "keypoints", found {describe(instance)}.')
    points = to_array(instance["keypoints"], where, "keypoints [joints][3], all")
    if points.ndim == 3 and points.shape[0] == 1:
        points = points[0]
    if points.ndim != 2 or points.shape[1] not in (2, 3) or not len(points):
        raise ReadError(f"{where}: expected keypoints [joints][3], found {list(points.shape)}.")
    scores = None
    if instance.get("keypoint_scores") is not None:
        scores = to_array(instance["keypoint_scores"], where, "keypoint_scores [joints], all").reshape(-1)
        if len(scores) != len(points):
            raise ReadError(f"{where}: expected {len(points)} keypoint_scores, found {len(scores)}.")
        scores = np.nan_to_num(scores).clip(0, 1)
    return Body(points, scores)


FORMAT = Format(
    "mmpose", (".json",), "MMPose predictions in 3D; a folder of them, one a picture", read,
    fits=lambda contents: KEYED * contents.has_key("instance_info|instances|keypoint_scores"), folders=True,
)  # fmt: skip
