"""``Segments``: what an untrimmed recording shows, and when; and the same as labels of its frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mamp.errors import RecordingError

IntArray = NDArray[np.int64]

BACKGROUND = 0
"""Number of frames and steps that belong to no class; the classes count from 1."""


@dataclass(frozen=True)
class Segment:
    """A part of a recording.

    Attributes:
        start: Seconds.
        end: Seconds.
        label: Name of the class, or a letter for what recurs; empty for what is known to be nothing else.
        score: From 0 to 1, of two segments the surer one has the higher.
    """

    start: float
    end: float
    label: str
    score: float | None = None


@dataclass(frozen=True)
class Segments(Sequence[Segment]):
    """Segments of a recording in the order of time; also a sequence of :class:`Segment`.

    Attributes:
        start: Seconds.
        end: Seconds.
        label: Name of the class of each, or a letter for what recurs.
        score: From 0 to 1, if there is one: of two segments the surer one has the higher.

    Raises:
        RecordingError: They are not equally many, or one does not start before it ends.
    """

    start: Sequence[float]
    end: Sequence[float]
    label: Sequence[str]
    score: Sequence[float | None] = ()

    def __post_init__(self) -> None:
        if not self.score:
            object.__setattr__(self, "score", [None] * len(self.start))
        if not len(self.start) == len(self.end) == len(self.label) == len(self.score):
            raise RecordingError(
                f"expected as many ends, labels and scores as starts, found {len(self.end)}, {len(self.label)} and "
                f"{len(self.score)} for {len(self.start)}."
            )
        for start, end in zip(self.start, self.end, strict=True):
            if not 0 <= start < end < np.inf:
                raise RecordingError(f"expected segments that start before they end, found {start} to {end} s.")

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Segments:
        """Segments in the order of time."""
        found = sorted(segments, key=lambda one: (one.start, one.end))
        names = ("start", "end", "label", "score")
        return cls(*([getattr(one, name) for one in found] for name in names))

    def __len__(self) -> int:
        return len(self.start)

    @overload
    def __getitem__(self, number: int) -> Segment: ...

    @overload
    def __getitem__(self, number: slice) -> Segments: ...

    def __getitem__(self, number: int | slice) -> Segment | Segments:
        columns = (self.start[number], self.end[number], self.label[number], self.score[number])
        return Segments(*columns) if isinstance(number, slice) else Segment(*columns)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Segment]:
        return (self[number] for number in range(len(self)))


def label_frames(segments: Segments, classes: Sequence[str], frames: int, fps: float) -> IntArray:
    """Class [T] of each frame, from 1, in the order of ``classes``; 0 outside of segments. Later ones win overlaps.

    Raises:
        RecordingError: A segment is of another class.
    """
    number = {label: place for place, label in enumerate(classes, 1)}
    if unknown := set(segments.label) - set(number):
        raise RecordingError(f"expected segments of the classes {', '.join(classes)}; found {min(unknown)!r}.")
    return label_rows([(number[one.label], round(one.start * fps), round(one.end * fps)) for one in segments], frames)


def label_rows(rows: ArrayLike, frames: int) -> IntArray:
    """The same of rows [n, 3] of class, first frame and end."""
    labels = np.full(frames, BACKGROUND, np.int64)
    for label, start, end in np.asarray(rows, np.int64).reshape(-1, 3).tolist():
        labels[start:end] = label
    return labels


def runs(labels: NDArray[np.integer], background: bool = False) -> IntArray:
    """Rows [n, 3] of class, first frame and end (exclusive) of what has one label in ``labels`` [T].

    Args:
        labels: Class of each frame.
        background: Also take runs of the background, 0.
    """
    if not len(labels):
        return np.zeros((0, 3), np.int64)
    cuts = np.flatnonzero(np.diff(labels)) + 1
    first = np.concatenate([[0], cuts])
    rows = np.stack([labels[first], first, np.append(cuts, len(labels))], axis=1).astype(np.int64)
    return rows if background else rows[rows[:, 0] != BACKGROUND]


def to_csv(files: Iterable[tuple[str, Segments]]) -> str:
    """A table with the columns file, start, end, label and score, as ``python -m mamp.prepare folder`` takes it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "start", "end", "label", "score"])
    for file, segments in files:
        for one in segments:
            score = "" if one.score is None else f"{one.score:.4g}"
            writer.writerow([file, f"{one.start:.6g}", f"{one.end:.6g}", one.label, score])
    return text.getvalue()
