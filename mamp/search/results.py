"""What an index answers: hits, with overlapping windows merged, and reports of what became of recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Hit:
    """A part of a recording that is like the query.

    Attributes:
        file: Path below ``folder``, or the name of a clip or recording.
        start: Seconds.
        end: Seconds.
        person: Index in the recording.
        score: Cosine of the best window.
        folder: Folder or store that holds the file; empty for what was added from memory.
        columns: The user's columns of the best window.
    """

    file: str
    start: float
    end: float
    person: int
    score: float
    folder: str = ""
    columns: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the recording is."""
        return Path(self.folder, self.file)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass
class Report:
    """What became of the recordings that were added, by their names.

    Attributes:
        added: New.
        changed: Replaced, since their content is another now.
        moved: Known content under a new name; old name -> new name.
        removed: Gone, and out of the index.
        unchanged: Already there.
        duplicates: Another file with the same content is in the index; name -> that name.
        failed: Name -> what was wrong.
        windows: Rows written.
    """

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    duplicates: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    windows: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        counts = {name: len(value) for name, value in asdict(self).items() if isinstance(value, list | dict)}
        return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing to do"


class Merging:
    """Merges windows of one recording and person that overlap, best first, until there are ``k`` segments.

    A segment is made of all its windows that rank above the window with which a segment too many would begin, so that
    it does not depend on how many windows were looked at.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self.hits: list[Hit] = []
        self.done = False

    def add(self, windows: Iterable[Mapping[str, Any]]) -> None:
        """Take more windows; each is a row with its ``score``, none better than those before."""
        for row in windows:
            if self.done:
                return
            self._take(row)

    def _take(self, row: Mapping[str, Any]) -> None:
        known = ("file", "start", "end", "person", "score", "folder")
        columns = {name: value for name, value in row.items() if name not in known}
        new = Hit(**{name: row[name] for name in known}, columns=columns)
        mine = [
            hit
            for hit in self.hits
            if (hit.folder, hit.file, hit.person) == (new.folder, new.file, new.person)
            and hit.start < new.end
            and new.start < hit.end
        ]
        if not mine and len(self.hits) == self.k:
            self.done = True
            return
        best = mine[0] if mine else new  # hits stay in the order of their best windows
        start, end = min(hit.start for hit in (*mine, new)), max(hit.end for hit in (*mine, new))
        merged = Hit(best.file, start, end, best.person, best.score, best.folder, best.columns)
        if mine:
            self.hits[self.hits.index(best)] = merged
            self.hits = [hit for hit in self.hits if hit not in mine[1:]]
        else:
            self.hits.append(merged)
