"""UTD-MHAD ``_skeleton.mat``: the array ``d_skel`` [20, 3, frames] (Kinect v1, 30 frames per second)."""

from __future__ import annotations

import re
from pathlib import Path

from mamp.errors import ReadError
from mamp.readers.assemble import DEFAULTS, Options, Raw, assemble
from mamp.readers.files import StrPath, read_bytes
from mamp.readers.format import Format
from mamp.readers.mat import parse_mat
from mamp.readers.sets import Column, RecordingSet, facts_in, odd_subjects_train
from mamp.skeleton import Skeleton

FPS = 30.0

# The file's own order, from the head down, not that of the Kinect SDK.
JOINTS = (
    "head", "shoulder_center", "spine", "hip_center",
    "shoulder_left", "elbow_left", "wrist_left", "hand_left",
    "shoulder_right", "elbow_right", "wrist_right", "hand_right",
    "hip_left", "knee_left", "ankle_left", "foot_left",
    "hip_right", "knee_right", "ankle_right", "foot_right",
)  # fmt: skip
CLASSES = (
    "swipe left", "swipe right", "wave", "clap", "throw", "cross arms", "basketball shoot", "draw x",
    "draw circle clockwise", "draw circle counter-clockwise", "draw triangle", "bowling", "boxing", "baseball swing",
    "tennis swing", "arm curl", "tennis serve", "push", "knock", "catch", "pick up and throw", "jog", "walk",
    "sit to stand", "stand to sit", "lunge", "squat",
)  # fmt: skip
NAME = re.compile(r"a(?P<label>\d+)_s(?P<subject>\d+)_t(?P<example>\d+)")


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read a file; joints at exactly zero were not tracked.

    Raises:
        ReadError: The file is missing, not a MATLAB file, damaged, or without ``d_skel`` [20, 3, frames].
    """
    arrays = parse_mat(read_bytes(path), str(path))
    if "d_skel" not in arrays:
        found = ", ".join(map(repr, arrays)) or "no array of numbers"
        raise ReadError(f"{path}: expected the array 'd_skel' of UTD-MHAD's skeleton files, found {found}."[:300])
    array = arrays["d_skel"]
    if array.ndim == 2:
        array = array[..., None]  # MATLAB drops the last axis of a single frame
    if array.ndim != 3 or array.shape[:2] != (len(JOINTS), 3):
        raise ReadError(f"{path}: expected d_skel [{len(JOINTS)}, 3, frames], found {list(array.shape)}.")
    raw = Raw(
        array.transpose(2, 0, 1)[None], path, "utdmhad", layout=JOINTS, fps=FPS, unit="m", up="y", zeros="joint",
        info=facts_in(Path(path).name, NAME),
    )  # fmt: skip
    return assemble(raw, options)


class UTDMHAD(RecordingSet):
    """UTD-MHAD: ``aA_sS_tT_skeleton.mat``; trained on odd subjects, tested on even ones."""

    name = "utd-mhad"
    title = "UTD-MHAD"
    about = "skeleton .mat files, odd subjects for training"
    example = "Skeleton"
    reader = staticmethod(read)
    suffixes = (".mat",)
    pattern = re.compile(r"a\d+_s\d+_t\d+_skeleton\.mat", re.IGNORECASE)
    classes = CLASSES
    ending = "_skeleton"
    facts = ("label", "subject")

    def columns(self, recording: Skeleton) -> dict[str, Column]:
        """Label, subject, split."""
        return odd_subjects_train(super().columns(recording))


SET = UTDMHAD
FORMAT = Format("utdmhad", (".mat",), "UTD-MHAD skeleton (MATLAB, d_skel [20, 3, frames], Kinect v1)", read)
