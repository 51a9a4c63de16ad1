"""The CSV file that labels the recordings of a folder: as a whole, or their parts."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamp.errors import DataError

SPLITS = ("train", "test")


@dataclass
class Labels:
    """What the file says, by path below the folder, with forward slashes.

    Attributes:
        whole: Label of each recording; empty if the file labels parts.
        parts: Start and end in seconds, and label, of the parts of each recording; ``None`` if it labels whole ones.
        split: ``train`` or ``test``, if there is a column ``split``.
    """

    whole: dict[str, str] = field(default_factory=dict)
    parts: dict[str, list[tuple[float, float, str]]] | None = None
    split: dict[str, str] | None = None

    @property
    def files(self) -> set[str]:
        """All recordings in the file."""
        return {*self.whole, *(self.parts or ())}

    @property
    def classes(self) -> list[str]:
        """Labels of parts, sorted."""
        return sorted({label for rows in (self.parts or {}).values() for _, _, label in rows})


def read_labels(path: Path) -> Labels:
    """Read a CSV file with the columns ``file`` and ``label``, or ``file``, ``start``, ``end`` and ``label``.

    Files are relative to the folder; times are in seconds. With ``start`` and ``end``, a file may have any number of
    rows, and one that says nothing else states that there is nothing in the recording. A column ``split`` may hold
    ``train`` or ``test``.

    Raises:
        DataError: The file is malformed, or says two things of a recording.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            columns = set(rows.fieldnames or ())
            if not {"file", "label"} <= columns or ("start" in columns) != ("end" in columns):
                raise DataError(
                    f"{path}: expected the columns file and label, and perhaps start and end, found "
                    f"{rows.fieldnames or 'nothing'}."
                )
            found = Labels(parts={} if "start" in columns else None, split={} if "split" in columns else None)
            for row in rows:
                _take(found, {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)},
                      f"{path}: line {rows.line_num}")  # fmt: skip
            return found
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot read the labels ({error}).") from None


def _take(found: Labels, row: dict[str, str], where: str) -> None:
    """Add a row to what is found."""
    name, label = row["file"], row["label"]
    if not name or (not label and found.parts is None):
        raise DataError(f"{where}: expected a file and its label, found {row}.")
    name = Path(name).as_posix()
    if found.parts is None:
        _one_of(found.whole, name, label, f"{where}: {name} has a second label.")
    else:
        rows = found.parts.setdefault(name, [])
        if label or row["start"] or row["end"]:
            rows.append(_part(row, where))
    if found.split is not None:
        if row["split"] not in SPLITS:
            raise DataError(f"{where}: split: expected train or test, found {row['split']!r}.")
        _one_of(found.split, name, row["split"], f"{where}: {name} is in another split above.")


def _part(row: dict[str, str], where: str) -> tuple[float, float, str]:
    try:
        start, end = float(row["start"]), float(row["end"])
    except ValueError:
        start, end = 1.0, 0.0
    if not 0 <= start < end < float("inf") or not row["label"]:
        raise DataError(f"{where}: expected start and end in seconds, the start first, and a label; found {row}.")
    return start, end, row["label"]


def _one_of(known: dict[str, Any], name: str, value: str, complaint: str) -> None:
    if known.setdefault(name, value) != value:
        raise DataError(complaint)
