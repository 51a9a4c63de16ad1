"""A folder of recordings, in any format that ``mamp.load`` reads."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mamp.config import Preprocessing
from mamp.errors import DataError, MAMPError, MissingFileError, RecordingError
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
from mamp.readers import FORMATS, load
from mamp.readers.find import find_files, key_of
from mamp.readers.options import add_recording_options, reading_options
from mamp.workers import captured_warnings

PEEKED = 10  # files that are tried to see whether recordings have a confidence


class Folder(Dataset):
    """All recordings in a folder and its zip files, named by their relative path.

    Args:
        raw: The folder, searched recursively.
        expected: Preprocessing of the clips.
        labels: CSV file for :func:`read_labels`; adds the column ``label``, of integers if all labels are.
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
        self.expected = expected
        self.labels_file = labels
        self.labels = None if labels is None else read_labels(labels)
        self.reading = reading or {}
        self.confidence = confidence
        self.whole = self.labels is not None and all(label.lstrip("-").isdigit() for label in self.labels.values())

    def list_items(self) -> Listing:
        """All files with a known suffix."""
        suffixes = sorted({suffix for one in FORMATS.values() for suffix in one.suffixes})
        failed: dict[str, str] = {}
        files = find_files(self.raw, suffixes, failed)
        if self.labels_file is not None:
            files = [path for path in files if path.resolve() != self.labels_file.resolve()]
        if not files and not failed:
            raise MissingFileError(f"{self.raw}: expected recordings in it ({', '.join(suffixes)}), found none.")
        items = tuple(Item(key_of(self.raw, path), path) for path in files)
        for name in sorted(set(self.labels or ()) - {item.key for item in items}):
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
        columns: dict[str, Column] = {}
        if self.labels is not None:
            if item.key not in self.labels:
                raise RecordingError(f"{item.key}: has no label in the CSV.")
            label = self.labels[item.key]
            columns["label"] = int(label) if self.whole else label
        recording = load(item.path, **self.reading)
        return [normalized_clip(recording, self.expected, item.key, columns, bool(self.confidence))]

    def info(self) -> dict[str, Any]:
        """Preprocessing of the clips."""
        return {"preprocessing": store_preprocessing(self.expected)}

    def options(self) -> dict[str, Any]:
        """Adds people, labels, reading options and confidence."""
        people = {"max_people": self.expected.max_people, "absent_person": self.expected.absent_person}
        given = {"labels": self.labels, "reading": self.reading, "confidence": self.confidence}
        return {**self.info(), **people, **given}


def read_labels(path: Path) -> dict[str, str]:
    """Read labels from a CSV file with the header ``file,label``, files relative to the folder.

    Raises:
        DataError: The file is malformed, or has two labels for a file.
    """
    labels: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if not {"file", "label"} <= set(rows.fieldnames or ()):
                raise DataError(f"{path}: expected the columns file and label, found {rows.fieldnames or 'nothing'}.")
            for row in rows:
                name, label = (row["file"] or "").strip(), (row["label"] or "").strip()
                if not name or not label:
                    raise DataError(f"{path}: line {rows.line_num}: expected a file and its label, found {row}.")
                if labels.setdefault(Path(name).as_posix(), label) != label:
                    raise DataError(f"{path}: line {rows.line_num}: {name} has a second label.")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot read the labels ({error}).") from None
    return labels


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--labels", type=Path, metavar="CSV", help="columns file (path below RAW_DIR) and label; fills the column label"
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
        "--confidence",
        choices=("yes", "no"),
        help="keep the tracking confidence, for masking by confidence; for recordings without one it is 1 where they "
        "are tracked [yes if the first recording has one]",
    )
    add_recording_options(parser)


def _open(args: argparse.Namespace) -> Folder:
    max_people = 2 if args.max_people is None and args.absent != "none" else args.max_people
    expected = Preprocessing(center=args.center, facing=args.facing, max_people=max_people, absent_person=args.absent)
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
