"""Poses in a body-centred frame: where joints are relative to the pelvis of a person of one size who faces one way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mamp.config import Preprocessing
from mamp.errors import RecordingError
from mamp.layouts import body_of
from mamp.preprocessing import normalize
from mamp.skeleton import Skeleton

FloatArray = NDArray[np.float32]

HEIGHT = 1.7  # metres


def one_person(recording: Skeleton, person: int | None) -> Skeleton:
    """The recording of one person alone.

    Args:
        recording: The recording.
        person: Which one; may be left out where there is only one.

    Raises:
        RecordingError: There is no such person, or several and none is named.
    """
    if not isinstance(recording, Skeleton):
        raise RecordingError(f"expected a mamp.Skeleton, found {type(recording).__name__}. Read files with mamp.load.")
    there = np.flatnonzero(recording.tracked.any(axis=(1, 2))).tolist()
    if person is None and len(there) == 1:
        person = there[0]
    if person not in there:
        found = ", ".join(map(str, there)) or "nobody"
        wish = "one person, or which of them" if person is None else f"person {person}"
        raise RecordingError(f"{recording.name}: expected {wish}, found {found}.")
    here = slice(person, int(person or 0) + 1)
    confidence = None if recording.confidence is None else recording.confidence[here]
    return recording.replace(positions=recording.positions[here], confidence=confidence)


def body_centred(recording: Skeleton) -> FloatArray:
    """Positions [T, V, 3] of the joints of the body, those of the model, in metres from its root in each frame.

    The body is scaled to 1.70 m by the lengths of its trunk and limbs, and turned about the vertical so that over the
    recording it faces the camera on average: leaning and turning remain, where somebody stood does not. NaN where a
    joint was not tracked.

    Args:
        recording: Of one person.
    """
    layout = body_of(recording.layout)
    expected = Preprocessing(
        layout=layout.name, facing=bool(layout.facing), height=HEIGHT, max_people=1, absent_person="none"
    )
    clip = normalize(recording, expected, keep_gaps=True)
    positions = np.where(clip.tracked[0][..., None], clip.positions[0], np.float32(np.nan))
    # The root is filled in where it was not tracked, or everything would be missing there.
    centred = positions - clip.positions[0][:, [layout.parents.index(-1)]]
    poses = np.full((recording.num_frames, *centred.shape[1:]), np.nan, np.float32)
    poses[clip.frames] = centred
    return poses
