"""Data sets of recordings (:mod:`mamp.readers.sets`): listing, frame rate, preprocessing."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from mamp.config import Preprocessing
from mamp.errors import MissingFileError, RecordingError
from mamp.prepare.dataset import (
    Clip,
    Dataset,
    Item,
    Listing,
    Source,
    add_clip_options,
    normalized_clip,
    store_preprocessing,
)
from mamp.readers import sets
from mamp.readers.find import find_files, key_of
from mamp.readers.sets import RecordingSet
from mamp.skeleton import Skeleton, take_frames


class Recordings(Dataset):
    """The files of a set of recordings, with every k-th frame taken to obtain ``fps``, if given."""

    def __init__(self, recordings: RecordingSet, expected: Preprocessing, fps: float | None = None) -> None:
        self.recordings, self.raw = recordings, recordings.raw
        self.layout = expected.layout
        self.expected = expected
        self.fps = fps

    def list_items(self) -> Listing:
        """One file per recording: that with the first of the suffixes of the set, then the first by name."""
        failed: dict[str, str] = {}
        suffixes, set_ = self.recordings.suffixes, self.recordings
        found = [path for path in find_files(self.raw, suffixes, failed) if set_.is_member(path)]
        if not found and not failed:
            raise MissingFileError(
                f"{self.raw}: expected files of {set_.title} in it ({' or '.join(suffixes)}), found none."
            )
        used: dict[str, Path] = {}
        left_out = {}
        for path in sorted(found, key=lambda path: [end in path.name.lower() for end in suffixes], reverse=True):
            first = used.setdefault(set_.name_of(path), path)
            if first != path:
                left_out[key_of(self.raw, path)] = f"the same recording as {key_of(self.raw, first)}"
        kept = set(used.values())
        items = tuple(Item(key_of(self.raw, path), path) for path in found if path in kept)
        return Listing(items, left_out, failed)

    def read(self, item: Item) -> list[Clip]:
        """Clips of one file."""
        clips = []
        for take in self.recordings.takes(item.path):
            thinned = thin(take.recording, self.fps)
            clip = normalized_clip(thinned, self.expected, take.name, take.columns)
            clip.dropped_frames.update(take.dropped)
            if left := take.recording.num_frames - thinned.num_frames:
                clip.dropped_frames[f"between those at {self.fps:g} frames per second"] = left
            clips.append(clip)
        return clips

    def info(self) -> dict[str, Any]:
        """Source, preprocessing and class names."""
        people = {"max_people": self.expected.max_people, "absent_person": self.expected.absent_person}
        placed = {**store_preprocessing(self.expected), **people}
        found: dict[str, Any] = {"source": self.recordings.title, "preprocessing": placed}
        if self.fps is not None:
            found["resampled_to"] = self.fps
        return found | ({"classes": list(self.recordings.classes)} if self.recordings.classes else {})

    def options(self) -> dict[str, Any]:
        """Adds what the set depends on."""
        return {**self.info(), **self.recordings.depends_on()}


def thin(recording: Skeleton, fps: float | None) -> Skeleton:
    """Take every k-th frame to obtain ``fps`` frames per second; ``None`` keeps all.

    Raises:
        RecordingError: The rate of the recording is unknown, or not a multiple of ``fps``.
    """
    if fps is None or recording.fps == fps:
        return recording
    step = 0 if recording.fps is None else round(recording.fps / fps)
    if recording.fps is None or step < 1 or abs(recording.fps / fps - step) > 0.01 * step:
        rate = "an unknown rate" if recording.fps is None else f"{recording.fps:g} frames per second"
        raise RecordingError(
            f"{recording.name}: {rate} cannot be made {fps:g} by leaving frames out; choose another rate, or keep all."
        )
    return take_frames(recording, slice(None, None, step), fps=fps)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    group = add_clip_options(parser)
    group.add_argument("--fps", type=_rate, metavar="N", help="take every k-th frame to have N a second [keep all]")


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 < rate < 1e6:
        raise argparse.ArgumentTypeError(f"expected frames per second above zero, found {text}")
    return rate


def _open(kind: type[RecordingSet], args: argparse.Namespace) -> Recordings:
    expected = Preprocessing(center=args.center, facing=args.facing, max_people=None, absent_person="none")
    return Recordings(kind(args.raw), expected, args.fps)


SOURCES = tuple(
    Source(
        name,
        f"{kind.title}: {kind.about}",
        f"python -m mamp.prepare {name} {kind.example} store",
        partial(_open, kind),
        _add_arguments,
    )
    for name, kind in sets().items()
)
