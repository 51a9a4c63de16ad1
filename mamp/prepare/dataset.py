"""The interface of raw data sets to :mod:`mamp.prepare.build`.

A :class:`Source` is a sub-command: a name, help, arguments, and ``open``, which creates a :class:`Dataset` from the
parsed command line. A dataset lists its items, and reads one of them into clips; parallel reading, progress, resuming,
report and store come for free. Recordings that are identified by their file names only need a
:class:`mamp.readers.sets.RecordingSet`.

    class Jumps(Dataset):
        def __init__(self, raw: Path) -> None:
            self.raw = raw

        def list_items(self) -> Listing:
            return Listing(tuple(Item(key_of(self.raw, path), path) for path in find_files(self.raw, (".bvh",))))

        def read(self, item: Item) -> list[Clip]:
            return [normalized_clip(load(item.path), Preprocessing(), item.key, {"label": 0})]

    SOURCES = (Source("jumps", "our jumps", "python -m mamp.prepare jumps raw store", open=lambda a: Jumps(a.raw)),)

Paths may lead into a zip file (``data.zip/folder/file.txt``), which is not unpacked: all readers accept them, and
:func:`mamp.readers.find.find_files` returns them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.config import Preprocessing
from mamp.layouts import get_layout
from mamp.preprocessing import normalize
from mamp.skeleton import WHOLE, Skeleton

FloatArray = NDArray[np.float32]
Column = str | int | float | bool


@dataclass(frozen=True)
class Item:
    """Something to read, usually a file; ``key`` is its unique name in messages and reports."""

    key: str
    path: Path


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip of the store.

    Attributes:
        name: Name of the clip.
        positions: [M, T, V, 3] in metres, zeros where a person is absent; V joints of the layout of the dataset.
        fps: Frames per second, if known.
        columns: Further columns, such as label and subject; the same for every clip of a store.
        confidence: [M, T, V] tracking confidence, for all clips of a store or none.
        dropped_frames: Frames of the recording that are not in the clip: reason -> number.
        dropped_people: People or tracks that are not in the clip: reason -> number.
        store: ``""`` for the main store, or the name of a folder in it with another store.
    """

    name: str
    positions: FloatArray
    fps: float | None = None
    columns: dict[str, Column] = field(default_factory=dict)
    confidence: FloatArray | None = None
    dropped_frames: dict[str, int] = field(default_factory=dict)
    dropped_people: dict[str, int] = field(default_factory=dict)
    store: str = ""


@dataclass(frozen=True)
class ItemResult:
    """The clips of an item, or the error, and the warnings of the readers."""

    key: str
    clips: tuple[Clip, ...] = ()
    error: str | None = None
    warnings: tuple[tuple[str, str], ...] = ()  # kind and text


@dataclass(frozen=True)
class Listing:
    """The items of a dataset.

    Attributes:
        items: Items in the order of the store.
        left_out: Items excluded on purpose, as by the protocols of the data set: key -> reason.
        failed: Broken items: key -> reason. An error with the option ``strict``.
    """

    items: tuple[Item, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Dataset:
    """A raw data set. Must be picklable, for worker processes.

    Attributes:
        raw: The folder or file given; the output must not lie in it.
        layout: Name of the layout of the clips.
    """

    raw: Path
    layout: str = "ntu25"

    def list_items(self) -> Listing:
        """List the items; :class:`MissingFileError` if there are none."""
        raise NotImplementedError

    def read(self, item: Item) -> list[Clip]:
        """Read the clips of an item; may be empty, with a warning that says why.

        Raises:
            MAMPError: The item is broken; it is left out and reported.
        """
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """Additional content of ``meta.json``: ``preprocessing``, ``source``, ``protocols``, ``classes``."""
        return {}

    def options(self) -> dict[str, Any]:
        """Everything besides the files that the clips depend on; only a run with the same options can resume."""
        return self.info()


@dataclass(frozen=True)
class Source:
    """A sub-command ``python -m mamp.prepare NAME RAW_DIR OUT_DIR``.

    Attributes:
        name: Name of the sub-command.
        help: One line.
        example: Example command line.
        open: Creates the dataset from the parsed arguments.
        add_arguments: Adds arguments of the source, if any.
        failed_status: Exit status if broken files were left out.
        run: Replaces ``open`` and the build; ``add_arguments`` then also adds the positional arguments.
    """

    name: str
    help: str
    example: str
    open: Callable[[argparse.Namespace], Dataset] | None = None
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    failed_status: int = 0
    run: Callable[[argparse.Namespace], int] | None = None


def add_clip_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add ``--center`` and ``--facing`` in a group of options of the clips."""
    group = parser.add_argument_group("clips", "how they are placed; the recipe must expect the same")
    choices = ("clip", "none")
    text = "spine of the first frame at the origin [%(default)s]"
    group.add_argument("--center", choices=choices, default="clip", help=text)
    group.add_argument("--facing", action="store_true", help="turn each clip towards the camera")
    return group


def normalized_clip(
    recording: Skeleton,
    expected: Preprocessing,
    name: str,
    columns: dict[str, Column] | None = None,
    with_confidence: bool = False,
    untrimmed: bool = False,
) -> Clip:
    """Normalise a recording into a clip, neither cropped nor resized.

    Args:
        recording: The recording.
        expected: Preprocessing of the clip.
        name: Name of the clip.
        columns: Columns of the clip.
        with_confidence: Store the confidence of the recording, or 1 if it has none; 0 for filled joints.
        untrimmed: Keep every frame, with the nearest pose where nobody is tracked, so that times stay what they are.

    Raises:
        MAMPError: The recording cannot be used.
    """
    if untrimmed:
        recording = recording.replace(info={**recording.info, **WHOLE})
    clip = normalize(recording, expected, keep_gaps=untrimmed)
    left = recording.num_frames - len(clip.frames)
    confidence = None
    if with_confidence:
        confidence = clip.tracked[: clip.num_present].astype(np.float32)
        known = recording.to_layout(expected.layout).confidence
        if known is not None:
            confidence *= np.nan_to_num(known[clip.people][:, clip.frames]).clip(0, 1)
    return Clip(
        name,
        clip.positions[: clip.num_present],
        recording.fps,
        columns or {},
        confidence,
        dropped_frames={"nobody is tracked": left} if left else {},
    )


def store_preprocessing(expected: Preprocessing) -> dict[str, Any]:
    """Preprocessing as stated in ``meta.json``, for training to check."""
    names = ("layout", "unit", "up", "center", "center_joint", "facing", "height")
    found = {name: getattr(expected, name) for name in names}
    if expected.center != "none":
        found["center_joint"] = get_layout(expected.layout).center_of(expected.center_joint)
    return found
