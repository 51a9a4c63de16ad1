"""What a kind of raw data has to say for the engine to make a store of it.

A source is three things. A :class:`Source` is its sub-command: a name, help, arguments, and ``open``, which makes of
the command line a :class:`Dataset`. A dataset lists its :class:`Item` s, in the order in which their clips stand in the
store, and reads one of them. The engine does the rest: processes, progress, resuming, the report, the store.

    class Jumps(Dataset):
        def __init__(self, raw: Path) -> None:
            self.raw = raw

        def list_items(self) -> Listing:
            return Listing(tuple(Item(key_of(self.raw, path), path) for path in find_files(self.raw, (".bvh",))))

        def read(self, item: Item) -> list[Clip]:
            return [normalized_clip(load(item.path), Preprocessing(), item.key, label=0)]

    SOURCES = (Source("jumps", "our jumps", "python -m mamp.prepare jumps raw store", open=lambda a: Jumps(a.raw)),)

A path may lead into a zip file (``data.zip/folder/file.txt``): every reader of the package takes it, and nothing is
ever unpacked to disk. :func:`mamp.readers.find.find_files` returns such paths.
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
    """One thing to read, usually a file.

    Attributes:
        key: Its name in messages and reports; every item has its own.
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
        columns: What else is known of the clip: label, subject, ... Every clip of a store has the same ones.
        confidence: [M, T, V] tracking confidence, in all clips of a store or none.
        dropped_frames: Frames of the raw recording that are not in the clip: why -> how many.
        dropped_people: People (or tracks) that are not in the clip: why -> how many.
        store: Which store it is for: ``""`` the store itself, else the name of one in a folder below it.
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
    """What there is to read.

    Attributes:
        items: In the order of the store.
        left_out: Left out on purpose, as the data set's protocols do: key -> why.
        failed: Found, but broken: key -> why. An error with the option ``strict``.
    """

    items: tuple[Item, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


class Dataset:
    """Raw data of one kind; is sent to worker processes, so its attributes are plain values.

    Attributes:
        raw: The folder (or file) that was given; the output may not lie inside.
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
        """Clips of one item; none, with a reason in the log as a warning, where it holds nothing of use.

        Raises:
            MAMPError: The item is broken; it is left out and reported.
        """
        raise NotImplementedError

    def info(self) -> dict[str, Any]:
        """What ``meta.json`` of the store says beside what every store says: ``preprocessing``, source, splits."""
        return {}

    def options(self) -> dict[str, Any]:
        """What the clips depend on beside the files; preparing goes on only with the same."""
        return self.info()


@dataclass(frozen=True)
class Source:
    """A kind of raw data, as a sub-command ``python -m mamp.prepare NAME RAW_DIR OUT_DIR``.

    Attributes:
        name: What the user types.
        help: One line.
        example: A command line that works.
        open: Makes the dataset of the command line (``args.raw``, ``args.output`` and the source's own arguments).
        add_arguments: Adds the source's own arguments, if it has any, beside RAW_DIR, OUT_DIR and the engine's.
        failed_status: Exit status when files were left out because they are broken.
        run: Does everything itself instead, engine and all; then ``add_arguments`` adds the positional ones too.
    """

    name: str
    help: str
    example: str
    open: Callable[[argparse.Namespace], Dataset] | None = None
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    failed_status: int = 0
    run: Callable[[argparse.Namespace], int] | None = None


def normalized_clip(recording: Skeleton, expected: Preprocessing, name: str, **columns: Column) -> Clip:
    """A recording as a clip: placed as ``expected`` says, neither cropped nor resized, in the joints of the model.

    Raises:
        MAMPError: It cannot be used.
    """
    from mamp.preprocessing import normalize

    clip = normalize(recording, expected)
    left = recording.num_frames - len(clip.frames)
    return Clip(
        name,
        clip.positions[: clip.num_present],
        recording.fps,
        columns,
        dropped_frames={"nobody is tracked": left} if left else {},
    )


def store_preprocessing(expected: Preprocessing) -> dict[str, Any]:
    """What of the preprocessing is already done to the clips of a store, for training to check."""
    return {name: getattr(expected, name) for name in ("layout", "unit", "up", "center", "center_joint", "facing")}
