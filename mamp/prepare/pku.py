"""PKU-MMD I and II: action instances as published, and the untrimmed recordings.

The store has a clip per instance, in camera coordinates: rows ``start`` (from 0) to ``end`` (exclusive), at most 300.
As in the published feeder, which counts the non-empty frames and takes that many from the start, each empty frame
inside an instance drops one at its end. The store in the folder ``untrimmed`` has the complete recordings with their
intervals (:func:`mamp.data.intervals.read_intervals`).
"""

from __future__ import annotations

import argparse
import logging
import re
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.config import Preprocessing
from mamp.data.intervals import write_intervals
from mamp.errors import MissingFileError, ReadError
from mamp.prepare.dataset import Clip, Column, Dataset, Item, Listing, Source, store_preprocessing
from mamp.readers import pku
from mamp.readers.files import read_lines
from mamp.readers.find import find_files, key_of

logger = logging.getLogger(__name__)

Phase = Literal[1, 2]

ACTIONS = len(pku.CLASSES)
MAX_FRAMES = 300
UNTRIMMED = "untrimmed"
NAMES: dict[Phase, re.Pattern[str]] = {1: re.compile(r"\d{4}-[LMR]"), 2: re.compile(r"A\d{2}N\d{2}-[LMR]")}
SPLITS = {"xsub": "subject", "xview": "view"}


class PKU(Dataset):
    """The recordings of phase 1 or 2, in folders or zip files.

    The path of each file contains ``skeleton`` or ``label``. The splits are ``cross-subject.txt`` and
    ``cross-view.txt``, with a hyphen or underscore, with or without ``_v2``.

    Raises:
        MissingFileError: There are no skeletons, labels or splits.
        ReadError: The file of a split is malformed.
    """

    def __init__(self, raw: Path, phase: Phase) -> None:
        self.raw, self.phase = raw, phase
        self.failed: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self.skeletons: dict[str, Path] = {}
        self.labels: dict[str, Path] = {}
        self.train: dict[str, frozenset[str]] = {}
        files = find_files(raw, (".txt",), self.failed)
        for path in files:
            kind = _kind(key_of(raw, path))
            if kind is not None:
                self._take(path, self.skeletons if kind == "skeleton" else self.labels)
        for protocol, word in SPLITS.items():
            found = [path for path in files if _is_split(path.name, word, phase)]
            if found:
                chosen = max(found, key=lambda path: "_v2" in path.name)
                self.train[protocol] = frozenset(self._read_split(chosen))
        parts = {"skeleton/*.txt": self.skeletons, "label/*.txt": self.labels}
        lacking = [what for what, files_of in parts.items() if not files_of]
        if not self.train:
            lacking.append("cross-subject.txt or cross-view.txt")
        if lacking:
            raise MissingFileError(f"{raw}: expected PKU-MMD {phase}; found no {' and no '.join(lacking)} in it.")

    def list_items(self) -> Listing:
        """Recordings with labels, ordered by name."""
        failed = dict(self.failed)
        for have, lack, what in ((self.skeletons, self.labels, "label"), (self.labels, self.skeletons, "skeleton")):
            for name in sorted(have.keys() - lack.keys()):
                failed[key_of(self.raw, have[name])] = f"has no file of {what}s"
        names = sorted(self.skeletons.keys() & self.labels.keys(), key=lambda name: f"{name}.txt")
        return Listing(
            tuple(Item(key_of(self.raw, self.skeletons[name]), self.skeletons[name]) for name in names),
            self.left_out,
            failed,
        )

    def read(self, item: Item) -> list[Clip]:
        """Read the instances of a recording, and the untrimmed recording."""
        name = _stem(item.path.name)
        rows = pku.read_rows(item.path)
        intervals = read_label_file(self.labels[name])
        splits = {f"split_{protocol}": "train" if name in train else "test" for protocol, train in self.train.items()}
        shared: dict[str, Column] = {"view": name[-1], **splits}
        clips = []
        for number, (action, start, end, confidence) in enumerate(intervals.tolist()):
            instance = published_instance(rows, start, end)
            frames = len(rows[start:end]) if start >= 0 else 0
            seen = int((instance.sum(-1) != 0).sum())
            if not seen:
                text = "%s: left out instance %d (rows %d to %d): nobody is seen in it"
                logger.warning(text, name, number, start, end)
                continue
            dropped = {
                f"beyond the first {MAX_FRAMES} of an instance": frames - len(instance),
                "at the end, for as many empty ones inside": len(instance) - seen,
            }
            columns: dict[str, Column] = {"label": action - 1, "video": name, "start": start, "end": end}
            clips.append(
                Clip(
                    f"{name}#{number}",
                    _people(instance[:seen]),
                    pku.FPS,
                    {**columns, "confidence": confidence, **shared},
                    dropped_frames={why: count for why, count in dropped.items() if count},
                )
            )
        whole = {"intervals": write_intervals(intervals), **shared}
        return [*clips, Clip(name, _people(rows, exact=True), pku.FPS, whole, store=UNTRIMMED)]

    def info(self) -> dict[str, Any]:
        """Preprocessing: camera coordinates."""
        return describe(f"PKU-MMD {'I' * self.phase}", list(self.train))

    def options(self) -> dict[str, Any]:
        """Adds the splits and the label files."""
        labels = {name: path.stat().st_mtime_ns if path.exists() else 0 for name, path in sorted(self.labels.items())}
        return {**self.info(), "train": {key: sorted(names) for key, names in self.train.items()}, "labels": labels}

    def _take(self, path: Path, into: dict[str, Path]) -> None:
        key, name = key_of(self.raw, path), _stem(path.name)
        other: Phase = 2 if self.phase == 1 else 1
        if NAMES[other].fullmatch(name):
            self.left_out[key] = f"of the other phase of PKU-MMD ({other})"
        elif not NAMES[self.phase].fullmatch(name):
            example = "0002-L.txt" if self.phase == 1 else "A01N01-L.txt"
            self.failed[key] = f"expected a name such as {example}"
        elif name in into:
            self.failed[key] = f"a second file of this recording; {key_of(self.raw, into[name])} is taken"
        else:
            into[name] = path

    def _read_split(self, path: Path) -> list[str]:
        train, test = parse_split(path)
        for name in sorted({*train, *test} - self.skeletons.keys()):
            self.left_out[name] = "named in a split, but there is no file of it"
        return train


def describe(source: str, protocols: list[str]) -> dict[str, Any]:
    """Content of ``meta.json`` for PKU-MMD."""
    placed = store_preprocessing(Preprocessing(center="none", max_people=2, absent_person="zeros"))
    return {
        "source": source,
        "protocols": protocols,
        "classes": list(pku.CLASSES),
        "preprocessing": {**placed, "max_people": 2, "absent_person": "zeros"},
    }


def parse_split(path: Path) -> tuple[list[str], list[str]]:
    """Read the training and test recordings of a split file: names after a heading, separated by commas or spaces."""
    lists: dict[str, list[str]] = {"train": [], "test": []}
    current = None
    for line in read_lines(path):
        heading, colon, rest = line.partition(":")
        if colon:
            current = "train" if "train" in heading.lower() else "test"
        elif current is None:
            break
        else:
            rest = line
        lists[str(current)] += [_stem(name) for name in re.split(r"[,\s]+", rest) if name]
    both = set(lists["train"]) & set(lists["test"])
    if not lists["train"] or both:
        found = f"{min(both)} in both lists" if both else "none"
        raise ReadError(f"{path}: expected a line 'Training videos:' and their names after it, found {found}.")
    return lists["train"], lists["test"]


def read_label_file(path: Path) -> NDArray[np.int64]:
    """Rows ``action,start,end,confidence`` of a recording, [n, 4]; action counts from 1.

    Raises:
        ReadError: A row is not of that kind.
    """
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        words = [word for word in re.split(r"[,\s]+", line) if word]
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) not in (3, 4) or not all(value.is_integer() for value in row) or not 1 <= row[0] <= ACTIONS:
            raise ReadError(
                f"{path}, row {number}: expected action (1 to {ACTIONS}), start, end, confidence; found {line[:40]!r}."
            )
        rows.append([int(value) for value in [*row, 0][:4]])
    return np.array(rows, dtype=np.int64)


def published_instance(rows: NDArray[np.float32], start: int, end: int) -> NDArray[np.float32]:
    """Rows [start, end) of a recording [T, 150], at most 300; none where all of them sum to exactly 0."""
    instance = rows[start:end] if start >= 0 else rows[:0]
    return instance[:MAX_FRAMES] if instance.sum() != 0 else instance[:0]


def _people(rows: NDArray[np.float32], exact: bool = False) -> NDArray[np.float32]:
    """[T, 150] -> [M, T, 25, 3]; one person if the second never appears; ``exact`` keeps one of negative zeros."""
    positions = rearrange(rows, "t (m v c) -> m t v c", m=2, c=3)
    there = positions[1].any() or (exact and np.signbit(positions[1]).any())
    return positions if there else positions[:1]


def _kind(key: str) -> str | None:
    """Kind of a file, by the nearest folder (or zip file) above it whose name says it."""
    for part in reversed(key.lower().split("/")[:-1]):
        for kind in ("skeleton", "label"):
            if kind in part:
                return kind
    return None


def _stem(name: str) -> str:
    return name.strip().removesuffix(".gz").removesuffix(".txt")


def _is_split(name: str, word: str, phase: Phase) -> bool:
    return re.fullmatch(rf"cross[-_]{word}(_v{phase})?\.txt", name.lower()) is not None


def _open(phase: Phase, args: argparse.Namespace) -> PKU:
    return PKU(args.raw, phase)


SOURCES = tuple(
    Source(
        f"pku{phase}",
        f"PKU-MMD {'I' * phase}: folders of skeletons and labels, and the files of the splits",
        f"python -m mamp.prepare pku{phase} pku{phase} store",
        partial(_open, phase),
    )
    for phase in NAMES
)
