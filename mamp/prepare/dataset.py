"""What a kind of raw data provides so that :mod:`mamp.prepare.build` can make a store of it.

A :class:`Source` is a sub-command: a name, help, arguments, and ``open``, which turns the parsed command line into a
:class:`Dataset`. A dataset lists its items in the order of the store, and reads one of them into clips. Processes,
progress, resuming, the report and the store are taken care of. Recordings that are recognised by their file names need
none of this, only a :class:`mamp.readers.sets.RecordingSet`.

    class Jumps(Dataset):
        def __init__(self, raw: Path) -> None:
            self.raw = raw

        def list_items(self) -> Listing:
            return Listing(tuple(Item(key_of(self.raw, path), path) for path in find_files(self.raw, (".bvh",))))

        def read(self, item: Item) -> list[Clip]:
            return [normalized_clip(load(item.path), Preprocessing(), item.key, {"label": 0})]

    SOURCES = (Source("jumps", "our jumps", "python -m mamp.prepare jumps raw store", open=lambda a: Jumps(a.raw)),)

A path may lead into a zip file (``data.zip/folder/file.txt``): every reader takes it, and nothing is unpacked to disk.
:func:`mamp.readers.find.find_files` returns such paths.
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
from mamp.skeleton import Skeleton

FloatArray = NDArray[np.float32]
Column = str | int | float | bool


@dataclass(frozen=True)
class Item:
    """Something to read, usually a file.

    Attributes:
        key: Its name in messages and reports, unique.
        path: The file, which may lie in a zip file.
    """

    key: str
    path: Path


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip of the store.

    Attributes:
        name: Name of the clip.
        positions: [M, T, V, 3] in metres, zeros where a person is absent; V joints of the dataset's layout.
        fps: Frames per second, if known.
        columns: What else is known of the clip: label, subject, ... The same columns for every clip of a store.
        confidence: [M, T, V] tracking confidence, for all clips of a store or none.
        dropped_frames: Frames of the raw recording that are not in the clip: reason -> number.
        dropped_people: People (or tracks) that are not in the clip: reason -> number.
        store: The store it belongs to: ``""`` for the main one, or the name of a folder in it with another.
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
    """What became of one item.

    Attributes:
        key: The item.
        clips: Its clips.
        error: Why it could not be used.
        warnings: (kind, text) of each warning of the readers.
    """

    key: str
    clips: tuple[Clip, ...] = ()
    error: str | None = None
    warnings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Listing:
    """What was found.

    Attributes:
        items: In the order of the store.
        left_out: Left out on purpose, as the protocols of the data set do: key -> reason.
        failed: Found, but broken: key -> reason. An error with the option ``strict``.
    """

    items: tuple[Item, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Dataset:
    """Raw data of one kind. Pickled for worker processes, so its attributes are plain values.

    Attributes:
        raw: The folder (or file) given; the output may not lie in it.
        layout: Name of the joint layout of the clips.
    """

    raw: Path
    layout: str = "ntu25"

    def list_items(self) -> Listing:
        """Everything there is to read.

        Raises:
            MissingFileError: There is no such folder, or nothing of this kind in it.
        """
        raise NotImplementedError

    def read(self, item: Item) -> list[Clip]:
        """Read the clips of one item; none, with a warning that says why, if it holds nothing of use.

        Raises:
            MAMPError: The item is broken; it is left out and reported.
        """
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """What ``meta.json`` states beyond what every store states: ``preprocessing``, source, protocols, classes."""
        return {}

    def options(self) -> dict[str, Any]:
        """What the clips depend on beside the files; only a run with the same options resumes."""
        return self.info()


@dataclass(frozen=True)
class Source:
    """A kind of raw data, as a sub-command ``python -m mamp.prepare NAME RAW_DIR OUT_DIR``.

    Attributes:
        name: What users type.
        help: One line.
        example: A command line that works.
        open: Makes the dataset from the parsed arguments (``args.raw``, ``args.output`` and the source's own).
        add_arguments: Adds the source's own arguments, if it has any.
        failed_status: Exit status when files were left out because they are broken.
        run: Does everything, in place of ``open``; then ``add_arguments`` also adds the positional arguments.
    """

    name: str
    help: str
    example: str
    open: Callable[[argparse.Namespace], Dataset] | None = None
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    failed_status: int = 0
    run: Callable[[argparse.Namespace], int] | None = None


def normalized_clip(
    recording: Skeleton,
    expected: Preprocessing,
    name: str,
    columns: dict[str, Column] | None = None,
    with_confidence: bool = False,
) -> Clip:
    """Normalise a recording into a clip in the joints of the model, neither cropped nor resized.

    Args:
        recording: Any recording.
        expected: How the clip is placed.
        name: Of the clip.
        columns: What is known of the clip.
        with_confidence: Give the clip the confidence of the recording, 1 where it has none, and 0 for joints that were
            not tracked and are filled in.

    Raises:
        MAMPError: The recording cannot be used.
    """
    from mamp.preprocessing import normalize

    clip = normalize(recording, expected)
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
    """The preprocessing that the clips of a store went through, for training to check."""
    return {name: getattr(expected, name) for name in ("layout", "unit", "up", "center", "center_joint", "facing")}
