"""MSR-Action3D ``_skeleton3D.txt``: 20 rows a frame of x, y, z and confidence (Kinect v1, 15 frames per second)."""

from __future__ import annotations

import re
from pathlib import Path

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, parse_table, read_lines
from mamp.readers.format import Format
from mamp.readers.sets import Column, RecordingSet, facts_in, odd_subjects_train
from mamp.skeleton import Skeleton

FPS = 15.0

# The file's own order, not that of the Kinect SDK.
JOINTS = (
    "shoulder_left", "shoulder_right", "shoulder_center", "spine", "hip_left", "hip_right", "hip_center",
    "elbow_left", "elbow_right", "wrist_left", "wrist_right", "hand_left", "hand_right", "knee_left", "knee_right",
    "ankle_left", "ankle_right", "foot_left", "foot_right", "head",
)  # fmt: skip
CLASSES = (
    "high arm wave", "horizontal arm wave", "hammer", "hand catch", "forward punch", "high throw", "draw x",
    "draw tick", "draw circle", "hand clap", "two hand wave", "side boxing", "bend", "forward kick", "side kick",
    "jogging", "tennis swing", "tennis serve", "golf swing", "pick up and throw",
)  # fmt: skip
NAME = re.compile(r"a(?P<label>\d+)_s(?P<subject>\d+)_e(?P<example>\d+)")


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file; joints at exactly zero were not tracked.

    Raises:
        ReadError: The file is missing, cut, or not rows of four numbers.
    """
    table = parse_table(read_lines(path), str(path), columns=4)
    if len(table) % len(JOINTS):
        raise ReadError(
            f"{path}: expected {len(JOINTS)} rows a frame, found {len(table)} rows: the last frame is cut after "
            f"{len(table) % len(JOINTS)}."
        )
    frames = table.reshape(1, -1, len(JOINTS), table.shape[1])
    info = facts_in(Path(path).name, NAME)
    raw = Raw(
        frames[..., :3], path, "msr", layout=JOINTS, fps=FPS, unit="m", up="y", zeros="joint",
        confidence=frames[..., 3], info=info,
    )  # fmt: skip
    return assemble(raw, options)


class MSRAction3D(RecordingSet):
    """MSR-Action3D: ``aAA_sSS_eEE_skeleton3D.txt``; trained on odd subjects, tested on even ones."""

    name = "msr-action3d"
    title = "MSR-Action3D"
    about = "skeleton text, odd subjects for training"
    example = "MSRAction3DSkeletonReal3D"
    reader = staticmethod(read)
    suffixes = (".txt",)
    pattern = re.compile(r"a\d+_s\d+_e\d+_skeleton3D\.txt", re.IGNORECASE)
    classes = CLASSES
    ending = "_skeleton3D"
    facts = ("label", "subject")

    def columns(self, recording: Skeleton) -> dict[str, Column]:
        """Label, subject, split."""
        return odd_subjects_train(super().columns(recording))


SET = MSRAction3D
FORMAT = Format(
    "msr", (".txt",), "MSR-Action3D skeleton text (20 rows of x, y, z, confidence a frame)", read,
    fits=lambda contents: contents.has_words(4), looks="4 numbers (MSR-Action3D)",
)  # fmt: skip
