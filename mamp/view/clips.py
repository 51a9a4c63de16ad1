"""The movement behind the points of a map: found, read, and packed into a few hundred bytes each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import MAMPError, MissingFileError
from mamp.layouts import Layout
from mamp.skeleton import Skeleton
from mamp.sources import Source, is_store, known_source, load_part
from mamp.view.points import Part, Points
from mamp.view.scene import Scene

SHORTEST, LONGEST = 2.0, 3.0  # seconds of a part that are shown
RATE = 12.5  # frames per second
PEOPLE = 2
ABSENT = -128


class Finder:
    """Finds and reads the recordings behind points, each once.

    Args:
        points: The points.
        reading: Options of :func:`mamp.load`.
    """

    def __init__(self, points: Points, reading: Mapping[str, Any]) -> None:
        self._points, self._reading = points, reading
        self._stores: dict[str, dict[str, Source]] = {}
        self._last: tuple[Any, Skeleton | None] = (None, None)
        self.failed: dict[str, str] = {}

    def movement(self, part: Part) -> Skeleton | None:
        """The movement of a part, or ``None`` where there is no recording to be found."""
        key = (part.folder, part.name)
        if key != self._last[0]:
            self._last = (key, None if part.name in self.failed else self._read(part))
        recording = self._last[1]
        if recording is None or not recording.tracked.any():
            return None
        rate = recording.fps or 30.0
        first, last = (round(share * recording.num_frames) for share in part.share)
        if part.start is not None and part.end is not None:
            first, last = round(part.start * rate), round(part.end * rate)
        lacks = round(SHORTEST * rate) - (last - first)
        first = max(first - max(lacks, 0) // 2, 0)
        last = min(max(last, first + round(SHORTEST * rate) if lacks > 0 else last), recording.num_frames)
        people = slice(None) if part.person is None else slice(part.person, part.person + 1)
        positions = recording.positions[people, first:last]
        if not np.isfinite(positions).all(-1).any():
            return None
        return recording.replace(positions=positions, confidence=None, allow_2d=True)

    def _read(self, part: Part) -> Skeleton | None:
        try:
            if part.folder is not None:
                return known_source(part.folder, part.name, self._reading, self._stores).load() if part.folder else None
            return self._read_name(Path(part.name).expanduser())
        except MissingFileError:
            return None
        except (MAMPError, OSError) as error:
            self.failed[part.name] = str(error)
            return None

    def _read_name(self, name: Path) -> Skeleton:
        for path in (Path.cwd() / name, self._points.place / name):
            store = next((folder for folder in path.parents if is_store(folder)), None)
            if store is not None:
                clip = path.relative_to(store).as_posix()
                return known_source(str(store), clip, self._reading, self._stores).load()
            if path.exists() or any(parent.is_file() for parent in path.parents):  # in a zip file
                return load_part(str(path), self._reading)
        return load_part(str(name), self._reading)


@dataclass(frozen=True)
class Clip:
    """A few seconds of the joints of the model, as they are seen in a picture.

    Attributes:
        body: Layout of the model.
        metres: What 127 stands for; of another body than a person's, if it were as large as one.
        values: [T, M, V, 2] int8: to the right, and up from a metre above the floor; -128 for what was not tracked.
    """

    body: Layout
    metres: float
    values: NDArray[np.int8]

    @classmethod
    def of(cls, movement: Skeleton) -> Clip | None:
        """Pack a movement, or ``None`` if it has none of the joints of the model."""
        try:
            scene = Scene.of(movement, model=True)
        except MAMPError:
            return None
        count = round(min(movement.num_frames / scene.rate, LONGEST) * RATE)
        frames = np.unique((np.arange(max(count, 1)) * scene.rate / RATE).round().astype(int))
        people = list(scene.people[::-1][:PEOPLE])
        shown = [scene.points(int(frame))[people] for frame in frames if frame < movement.num_frames]
        points = np.stack(shown) / scene.size - np.array([0.0, 1.0])
        metres = float(np.nanmax(np.abs(points)))
        values = np.nan_to_num((points / max(metres, 1e-6) * 127).round(), nan=ABSENT).astype(np.int8)
        return cls(scene.recording.layout, round(metres, 3), values)

    @property
    def changes(self) -> bytes:
        """The first frame, and what is added from one frame to the next, modulo 256: that compresses well."""
        frames = self.values.view(np.uint8).reshape(len(self.values), -1)
        return bytes(np.diff(frames, axis=0, prepend=np.zeros_like(frames[:1])).tobytes())


def bones(body: Layout) -> list[tuple[int, int, str]]:
    """Joint, parent and side (``left``, ``right``, ``middle``) of each bone of a body."""
    sides = {name: side for pair in body.pairs for name, side in zip(pair, ("left", "right"), strict=True)}
    return [
        (joint, parent, sides.get(body.joints[joint], "middle"))
        for joint, parent in enumerate(body.parents)
        if parent >= 0
    ]
