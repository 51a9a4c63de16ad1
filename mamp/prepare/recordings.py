"""Sets of recordings that are told by their file names: listing, thinning out, placing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mamp.config import Preprocessing
from mamp.errors import MissingFileError, RecordingError
from mamp.prepare.dataset import (
    Clip,
    Column,
    Dataset,
    Item,
    Listing,
    find_files,
    key_of,
    normalized_clip,
    store_preprocessing,
)
from mamp.readers import load
from mamp.skeleton import Skeleton

T_POSE_LEVEL, T_POSE_STRAIGHT, T_POSE_OPPOSITE, T_POSE_SPEED = 0.3, 0.9, -0.8, 12.0


@dataclass(frozen=True, eq=False)
class Take:
    """What becomes a clip.

    Attributes:
        name: Of the clip.
        recording: At the rate of its file.
        columns: What is known of it.
        dropped: Frames of the file that are not in the recording: why -> how many.
    """

    name: str
    recording: Skeleton
    columns: dict[str, Column]
    dropped: dict[str, int] = field(default_factory=dict)


class Recordings(Dataset):
    """Files of recordings, told by their names.

    Attributes:
        suffixes: Ends of the file names.
        pattern: What the names begin with; files with other names are none of the set.
        reading: Options of :func:`mamp.load`: what the files do not say and the owners do.
        expected: How clips are placed, and how many people are kept.
        fps: Take every k-th frame to have this rate; ``None`` keeps the rate.
        classes: Names of the labels, where they are known.
    """

    title = ""
    suffixes: tuple[str, ...] = ()
    pattern: re.Pattern[str] = re.compile("")
    classes: tuple[str, ...] = ()
    reading: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, raw: Path, expected: Preprocessing, fps: float | None = None) -> None:
        self.raw = raw
        self.layout = expected.layout
        self.expected = expected
        self.fps = fps

    def list_items(self) -> Listing:
        """Files of the set; of two files of one name, the first counts, an ``.amc`` before a ``.bvh``."""
        failed: dict[str, str] = {}
        found = [path for path in find_files(self.raw, self.suffixes, failed) if self.is_member(path)]
        if not found and not failed:
            raise MissingFileError(
                f"{self.raw}: expected files of {self.title} in it ({' or '.join(self.suffixes)}), found none."
            )
        used: dict[str, Path] = {}
        left_out = {}
        order = sorted(found, key=lambda path: [end in path.name.lower() for end in self.suffixes], reverse=True)
        for path in order:
            first = used.setdefault(self.name_of(path), path)
            if first != path:
                left_out[key_of(self.raw, path)] = f"the same recording as {key_of(self.raw, first)}"
        kept = set(used.values())
        items = tuple(Item(key_of(self.raw, path), path) for path in found if path in kept)
        return Listing(items, left_out, failed)

    def is_member(self, path: Path) -> bool:
        """Whether a file with a fitting suffix belongs to the set."""
        return self.pattern.match(path.name) is not None

    def name_of(self, path: Path) -> str:
        """Name of the recording."""
        return path.name.removesuffix(".gz").rpartition(".")[0]

    def takes(self, item: Item) -> list[Take]:
        """What becomes clips of a file: the whole recording."""
        recording = load(item.path, **self.reading)
        return [Take(self.name_of(item.path), recording, self.columns(recording, item))]

    def columns(self, recording: Skeleton, item: Item) -> dict[str, Column]:
        """What is known of a recording."""
        raise NotImplementedError

    def read(self, item: Item) -> list[Clip]:
        """Clips of one file."""
        clips = []
        for take in self.takes(item):
            thinned = thin(take.recording, self.fps)
            clip = normalized_clip(thinned, self.expected, take.name, **take.columns)
            clip.dropped_frames.update(take.dropped)
            if left := take.recording.num_frames - thinned.num_frames:
                clip.dropped_frames[f"between those at {self.fps:g} frames per second"] = left
            clips.append(clip)
        return clips

    def info(self) -> dict[str, Any]:
        """Source, placing and class names for ``meta.json``."""
        people = {"max_people": self.expected.max_people, "absent_person": self.expected.absent_person}
        placed = {**store_preprocessing(self.expected), **people}
        found: dict[str, Any] = {"source": self.title, "preprocessing": placed}
        if self.fps is not None:
            found["resampled_to"] = self.fps
        return found | ({"classes": list(self.classes)} if self.classes else {})


def thin(recording: Skeleton, fps: float | None) -> Skeleton:
    """Take every k-th frame, from the first on, to have ``fps`` frames per second; ``None`` keeps all.

    Raises:
        RecordingError: The rate of the recording is no multiple of it, or unknown.
    """
    if fps is None or recording.fps == fps:
        return recording
    step = 0 if recording.fps is None else round(recording.fps / fps)
    if recording.fps is None or step < 1 or abs(recording.fps / fps - step) > 0.01 * step:
        rate = "an unknown rate" if recording.fps is None else f"{recording.fps:g} frames per second"
        raise RecordingError(
            f"{recording.name}: {rate} cannot be made {fps:g} by leaving frames out; choose another rate, or keep all."
        )
    confidence = None if recording.confidence is None else recording.confidence[:, ::step]
    return recording.replace(positions=recording.positions[:, ::step], confidence=confidence, fps=fps)


def starts_in_t_pose(recording: Skeleton) -> bool:
    """Whether the first frame is a T-pose put before the motion, as in conversions of CMU takes to BVH.

    It is one when both arms are straight (shoulder to wrist at least 0.9 of their length), level (within 17 degrees)
    and opposite (beyond 143 degrees), and a joint gets from there to the second frame faster than 12 metres a second. A
    take that really begins with its arms stretched out moves slower, and keeps its first frame.
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
