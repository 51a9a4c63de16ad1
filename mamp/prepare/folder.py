"""A folder of recordings, in any format that ``mamp.load`` reads."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mamp.config import Preprocessing
from mamp.data.intervals import write_intervals
from mamp.errors import MAMPError, MissingFileError, RecordingError
from mamp.layouts import adopt, body_of, get_layout
from mamp.prepare.dataset import (
    Clip,
    Column,
    Dataset,
    Item,
    Listing,
    Source,
    add_clip_options,
    normalized_clip,
    store_preprocessing,
)
from mamp.prepare.labels import read_labels
from mamp.readers import SUFFIXES, load
from mamp.readers.find import find_files, key_of
from mamp.readers.options import add_recording_options, reading_options
from mamp.skeleton import Skeleton, resolve_layout
from mamp.workers import captured_warnings

PEEKED = 10  # files that are tried to see whether recordings have a confidence


class Folder(Dataset):
    """All recordings in a folder and its zip files, named by their relative path.

    Args:
        raw: The folder, searched recursively.
        expected: Preprocessing of the clips.
        labels: CSV file for :func:`mamp.prepare.labels.read_labels`; adds the column ``label``, of integers if all
            labels are, or the column ``intervals`` if it labels parts, and the column ``split`` if it has it.
        reading: Options of :func:`mamp.load`.
        confidence: Store the tracking confidence; by default if the first readable recording has one.

    Raises:
        DataError: The labels are malformed.
    """

    def __init__(
        self,
        raw: Path,
        expected: Preprocessing,
        labels: Path | None = None,
        reading: dict[str, Any] | None = None,
        confidence: bool | None = None,
    ) -> None:
        self.raw = raw
        self.layout = expected.layout
        self.body = get_layout(expected.layout)
        self.expected = expected
        self.labels_file = labels
        self.labels = None if labels is None else read_labels(labels)
        self.reading = reading or {}
        self.confidence = confidence
        whole = () if self.labels is None else self.labels.whole.values()
        self.numbers = all(label.lstrip("-").isdigit() for label in whole)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        adopt(self.body, str(self.raw))  # a worker process does not know what this one registered

    def list_items(self) -> Listing:
        """All files with a known suffix."""
        failed: dict[str, str] = {}
        files = find_files(self.raw, SUFFIXES, failed)
        if self.labels_file is not None:
            files = [path for path in files if path.resolve() != self.labels_file.resolve()]
        if not files and not failed:
            raise MissingFileError(f"{self.raw}: expected recordings in it ({', '.join(SUFFIXES)}), found none.")
        items = tuple(Item(key_of(self.raw, path), path) for path in files)
        for name in sorted((set() if self.labels is None else self.labels.files) - {item.key for item in items}):
            failed[name] = "has a label, but there is no such file"
        if self.confidence is None:
            self.confidence = self._first_has_confidence(items)
        return Listing(items, failed=failed)

    def _first_has_confidence(self, items: Sequence[Item]) -> bool:
        for item in items[:PEEKED]:
            with suppress(MAMPError, OSError), captured_warnings():
                return load(item.path, **self.reading).confidence is not None
        return False

    def read(self, item: Item) -> list[Clip]:
        """Read one recording."""
        if self.labels is not None and item.key not in self.labels.files:
            raise RecordingError(f"{item.key}: has no label in the CSV.")
        recording = load(item.path, **self.reading)
        columns = self._columns(item.key, recording)
        untrimmed = self.labels is not None and self.labels.parts is not None
        return [normalized_clip(recording, self.expected, item.key, columns, bool(self.confidence), untrimmed)]

    def _columns(self, key: str, recording: Skeleton) -> dict[str, Column]:
        """Label or intervals, and split."""
        labels, columns = self.labels, dict[str, Column]()
        if labels is None:
            return columns
        if labels.split is not None:
            columns["split"] = labels.split[key]
        if labels.parts is None:
            columns["label"] = int(labels.whole[key]) if self.numbers else labels.whole[key]
            return columns
        if recording.fps is None:
            raise RecordingError(f"{key}: its intervals are in seconds, and its frame rate is unknown; give it.")
        rows = []
        for start, end, label in labels.parts[key]:
            first, last = round(start * recording.fps), min(round(end * recording.fps), recording.num_frames)
            if first >= last:
                raise RecordingError(
                    f"{key}: expected intervals within its {recording.duration:g} s, found {start:g} to {end:g} s."
                )
            rows.append([labels.classes.index(label) + 1, first, last, 0])
        columns["intervals"] = write_intervals(rows)
        return columns

    def info(self) -> dict[str, Any]:
        """Preprocessing of the clips."""
        known = {} if self.labels is None or self.labels.parts is None else {"classes": self.labels.classes}
        return {"preprocessing": store_preprocessing(self.expected), **known}

    def options(self) -> dict[str, Any]:
        """Adds people, labels, reading options and confidence."""
        people = {"max_people": self.expected.max_people, "absent_person": self.expected.absent_person}
        labels = None if self.labels is None else asdict(self.labels)
        given = {"labels": labels, "reading": self.reading, "confidence": self.confidence}
        return {**self.info(), **people, **given}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="CSV",
        help="columns file (path below RAW_DIR) and label; with start and end, in seconds, it labels parts of "
        "untrimmed recordings, any number of each (a row with nothing but the file says that there are none); a "
        "column split, train or test, is kept",
    )
    group = add_clip_options(parser)
    group.add_argument("--max-people", type=int, metavar="N", help="keep those who move most [all; 2 with --absent]")
    group.add_argument(
        "--absent",
        choices=("zeros", "copy", "none"),
        default="none",
        help="a person who is missing in some frames is zeros there (zeros, copy: as published for two people), or "
        "holds the nearest pose (none) [%(default)s]",
    )
    group.add_argument(
        "--body",
        metavar="NAME|JSON",
        help="layout of the clips, for another body than a person's [that of the body of --layout, ntu25 without]",
    )
    group.add_argument(
        "--confidence",
        choices=("yes", "no"),
        help="keep the tracking confidence, for masking by confidence; for recordings without one it is 1 where they "
        "are tracked [yes if the first recording has one]",
    )
    add_recording_options(parser)


def _open(args: argparse.Namespace) -> Folder:
    max_people = 2 if args.max_people is None and args.absent != "none" else args.max_people
    wanted = args.body or args.layout
    body = "ntu25" if wanted is None else body_of(resolve_layout(wanted)).name
    expected = Preprocessing(
        layout=body, center=args.center, facing=args.facing, max_people=max_people, absent_person=args.absent
    )
    confidence = None if args.confidence is None else args.confidence == "yes"
    return Folder(args.raw, expected, args.labels, reading_options(args), confidence)


SOURCE = Source(
    "folder",
    "every recording under a folder, in any format that mamp reads",
    "python -m mamp.prepare folder recordings store --labels labels.csv",
    _open,
    _add_arguments,
    failed_status=1,
)
