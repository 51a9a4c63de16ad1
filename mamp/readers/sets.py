"""``RecordingSet``: a data set as its owners distribute it: which files belong to it, and what is known of each.

A new data set is one file of this package with its ``SET``, and its ``FORMAT`` where the files have a format of their
own, and one line in :data:`mamp.readers.load.READERS`; ``python -m mamp.prepare`` then has it as a source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamp.errors import RecordingError
from mamp.skeleton import Skeleton

Column = str | int | float | bool


@dataclass(frozen=True, eq=False)
class Take:
    """What becomes a clip.

    Attributes:
        name: Of the clip.
        recording: At the rate of its file.
        columns: What is known of it: label, subject, ... The same columns for all clips of a set.
        dropped: Frames of the file that are not in the recording: why -> how many.
    """

    name: str
    recording: Skeleton
    columns: dict[str, Column]
    dropped: dict[str, int] = field(default_factory=dict)


class RecordingSet:
    """Recordings in any arrangement of folders and zip files, recognised by their file names.

    Args:
        raw: Folder or zip file.

    Attributes:
        name: What users call the set.
        title: Its full name.
        about: What the files are, in a line.
        example: Folder as downloaded, and usual options, for the help.
        suffixes: Ends of the file names; of two files of one recording, that with the earlier suffix is taken.
        pattern: What the file names begin with; others are not of the set.
        reader: Reads a file.
        classes: Names of the labels, where they are known.
        ending: Of the file names, before the suffix, that is no part of the name of the recording.
        facts: What the reader finds that becomes columns.
    """

    name = ""
    title = ""
    about = ""
    example = ""
    suffixes: tuple[str, ...] = ()
    pattern: re.Pattern[str] = re.compile("")
    reader: Callable[..., Skeleton]
    classes: tuple[str, ...] = ()
    ending = ""
    facts: tuple[str, ...] = ()

    def __init__(self, raw: Path) -> None:
        self.raw = raw

    def is_member(self, path: Path) -> bool:
        """Whether a file with a fitting suffix belongs to the set."""
        return self.pattern.match(path.name) is not None

    def name_of(self, path: Path) -> str:
        """Name of the recording."""
        return re.sub(f"{self.ending}$", "", path.name.removesuffix(".gz").rpartition(".")[0], flags=re.IGNORECASE)

    def takes(self, path: Path) -> list[Take]:
        """What becomes clips of a file: by default the whole recording."""
        recording = self.read(path)
        return [Take(self.name_of(path), recording, self.columns(recording))]

    def read(self, path: Path) -> Skeleton:
        """Read a file."""
        return self.reader(path)

    def columns(self, recording: Skeleton) -> dict[str, Column]:
        """What is known of a recording.

        Raises:
            RecordingError: The reader did not find one of the facts.
        """
        missing = [name for name in self.facts if name not in recording.info]
        if missing:
            raise RecordingError(f"{recording.name}: expected a file name that gives {' and '.join(missing)}.")
        return {name: recording.info[name] for name in self.facts}

    def depends_on(self) -> dict[str, Any]:
        """What the clips depend on beside their files, as plain values."""
        return {}


def facts_in(name: str, pattern: re.Pattern[str]) -> dict[str, int]:
    """Numbers in a file name by the groups of a pattern; labels count from 1 there, and from 0 here."""
    match = pattern.search(name)
    found = {} if match is None else {key: int(value) for key, value in match.groupdict().items()}
    return found | {"label": found["label"] - 1} if "label" in found else found


def odd_subjects_train(columns: dict[str, Column]) -> dict[str, Column]:
    """Add the usual split of several sets: trained on odd subjects, tested on even ones."""
    return {**columns, "split": "train" if int(columns["subject"]) % 2 else "test"}
