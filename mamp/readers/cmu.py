"""CMU Graphics Lab takes: ``NN_MM.amc`` with ``NN.asf``, or conversions of them to BVH."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mamp.readers import amc, bvh
from mamp.readers.sets import RecordingSet, Take
from mamp.skeleton import Skeleton

T_POSE_LEVEL, T_POSE_STRAIGHT, T_POSE_OPPOSITE, T_POSE_SPEED = 0.3, 0.9, -0.8, 12.0


class CMU(RecordingSet):
    """The takes; the column ``subject`` is ``NN``."""

    name = "cmu"
    title = "CMU motion capture"
    about = "ASF/AMC or BVH folders as downloaded"
    example = "all_asfamc --fps 30"
    suffixes = (".amc", ".bvh")

    def takes(self, path: Path) -> list[Take]:
        """One clip a file, without a T-pose before the motion."""
        name = self.name_of(path)
        recording = (bvh if ".bvh" in path.name.lower() else amc).read(path)
        dropped: dict[str, int] = {}
        if recording.info["format"] == "bvh" and starts_in_t_pose(recording):
            recording = recording.replace(positions=recording.positions[:, 1:])
            dropped["a T-pose before the motion"] = 1
        return [Take(name, recording, {"subject": name.partition("_")[0]}, dropped)]


def starts_in_t_pose(recording: Skeleton) -> bool:
    """Whether the first frame is a T-pose put before the motion, as in conversions of CMU takes to BVH.

    It is one when both arms are straight (shoulder to wrist at least 0.9 of their length), level (within 17 degrees)
    and opposite (beyond 143 degrees), and a joint moves faster than 12 metres a second from there to the second frame.
    A take that really begins with its arms stretched out moves slower, and keeps its first frame.
    """
    if recording.num_frames < 2:
        return False
    body = recording.to_layout("ntu25")
    first, second = body.positions[0, :2]
    place = body.layout.joints.index
    directions = []
    for side in ("left", "right"):
        shoulder, elbow, wrist = (first[place(f"{joint}_{side}")] for joint in ("shoulder", "elbow", "wrist"))
        reach = float(np.linalg.norm(wrist - shoulder))
        length = float(np.linalg.norm(elbow - shoulder) + np.linalg.norm(wrist - elbow))
        if not (reach > T_POSE_STRAIGHT * length > 0 and abs(wrist[1] - shoulder[1]) < T_POSE_LEVEL * reach):
            return False
        directions.append((wrist - shoulder) / reach)
    speed = np.nanmax(np.linalg.norm(second - first, axis=-1)) * (recording.fps or 120.0)
    return bool(directions[0] @ directions[1] < T_POSE_OPPOSITE and speed > T_POSE_SPEED)


SET = CMU
