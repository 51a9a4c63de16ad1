"""A folder of recordings, in any format that ``mamp.load`` reads, to a store."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mamp.config import Preprocessing
from mamp.data import StoreWriter
from mamp.errors import DataError, MAMPError, MissingFileError, RecordingError
from mamp.layouts import get_layout
from mamp.preprocessing import normalize
from mamp.readers import FORMATS, load
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)


@dataclass
class FolderReport:
    """What became of the files of a folder.

    Attributes:
        written: Names of the clips of the store, in order.
        failed: What was wrong with each file that was left out.
        frames: Frames that were written.
        people: Most people of a clip.
    """

    written: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    frames: int = 0
    people: int = 0


def find_recordings(folder: Path) -> list[Path]:
    """Files anywhere under a folder whose suffix is that of a format, sorted; hidden ones are left out.

    Raises:
        MissingFileError: There is no such folder, or no such file in it.
    """
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: expected a folder of recordings, found none.")
    suffixes = {suffix for one in FORMATS.values() for suffix in one.suffixes}
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and Path(path.name.lower().removesuffix(".gz")).suffix in suffixes
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise MissingFileError(f"{folder}: expected recordings in it ({', '.join(sorted(suffixes))}), found none.")
    return found


def read_labels(path: Path) -> dict[str, str]:
    """Labels of files from a CSV with the header ``file,label``; files by their path below the folder.

    Raises:
        DataError: It is not such a file, or names a file twice.
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


def build_folder_store(
    folder: Path,
    output: Path,
    expected: Preprocessing,
    labels: Path | None = None,
    strict: bool = False,
    read: Callable[[str], Skeleton] = load,
    info: dict[str, Any] | None = None,
) -> FolderReport:
    """Write every recording under a folder into one store, normalised but neither cropped nor resized.

    A file that cannot be used is left out and told of. Clips are named by their path below the folder.

    Args:
        folder: Looked through to the bottom.
        output: The store.
        expected: How clips are placed, and how many people are kept; written into the store for training to check.
        labels: A CSV for :func:`read_labels`; then every clip has a column ``label``, a whole number where all are.
        strict: Write nothing when a file cannot be used.
        read: Reads a file.
        info: Anything else to keep in ``meta.json``.

    Raises:
        MissingFileError: There is nothing to read.
        DataError: No file could be used, or one could not and ``strict`` was asked for, or the labels are malformed.
    """
    files = find_recordings(folder)
    known = None
    if labels is not None:
        known = read_labels(labels)
        files = [path for path in files if path.resolve() != labels.resolve()]
    whole = known is not None and all(label.lstrip("-").isdigit() for label in known.values())
    report = FolderReport()
    about = {"preprocessing": store_preprocessing(expected), **(info or {})}
    with StoreWriter(output, get_layout(expected.layout), about) as writer:
        for path in tqdm(files, unit="file", delay=2, disable=None):
            name = path.relative_to(folder).as_posix()
            try:
                columns: dict[str, Any] = {} if known is None else {"label": _label(known, name, whole)}
                recording = read(str(path))
                clip = normalize(recording, expected)
                positions = clip.positions[: clip.num_present]
                writer.add(name, positions, recording.fps, **columns)
            except (MAMPError, OSError) as error:
                report.failed[name] = str(error)
                logger.warning("left out %s: %s", name, str(error).partition("\n")[0])
                continue
            report.written.append(name)
            report.frames += positions.shape[1]
            report.people = max(report.people, len(positions))
        for name in sorted(set(known or ()) - {path.relative_to(folder).as_posix() for path in files}):
            report.failed[name] = "is labelled, but there is no such file"
            logger.warning("left out %s: it is labelled, but there is no such file", name)
        if not report.written:
            raise DataError(f"{folder}: none of the {len(files)} files could be used; {output} was not written.")
        if strict and report.failed:
            raise DataError(f"{len(report.failed)} of {len(files)} files could not be used; {output} was not written.")
    return report


def store_preprocessing(expected: Preprocessing) -> dict[str, Any]:
    """What of the preprocessing is already done to the clips of a store."""
    return {name: getattr(expected, name) for name in ("layout", "unit", "up", "center", "center_joint", "facing")}


def _label(labels: dict[str, str], name: str, whole: bool) -> str | int:
    if name not in labels:
        raise RecordingError(f"{name}: has no label in the CSV.")
    return int(labels[name]) if whole else labels[name]
