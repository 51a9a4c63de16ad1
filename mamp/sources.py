"""What is embedded: files, clips of stores and recordings in memory, each with a name and a hash of its content."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mamp.data import ClipStore
from mamp.errors import MAMPError, MissingFileError, RecordingError
from mamp.readers import SUFFIXES, load
from mamp.readers.archive import is_archive
from mamp.readers.files import StrPath, frame_files, read_bytes
from mamp.readers.find import find_files, key_of
from mamp.skeleton import Skeleton, take_frames

_BESIDE = {".amc": ".asf", ".gltf": ".bin"}  # formats that need another file of the same folder
_FILES = ("joints", "markers")  # options of reading that name a file

PART = re.compile(r"(?P<path>.+)@(?P<start>\d+\.?\d*)-(?P<end>\d+\.?\d*)")
MEMORY = ""  # the folder of what is in memory only


@dataclass(frozen=True)
class Source:
    """One recording, not read yet.

    Attributes:
        folder: Absolute path of the folder or store that ``file`` is in; empty for a recording in memory.
        file: Path below the folder, or the name of a clip or recording.
    """

    folder: str
    file: str

    @property
    def key(self) -> str:
        """What no two sources share: the absolute path, or the name of a recording in memory."""
        return os.path.normpath(os.path.join(self.folder, self.file)) if self.folder else self.file  # noqa: PTH118

    def load(self) -> Skeleton:
        """Read the recording."""
        raise NotImplementedError

    def content(self) -> str:
        """SHA-256 of the content; another content is another recording.

        Raises:
            MissingFileError: It is gone.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class FileSource(Source):
    """A file that ``mamp.load`` reads, also in a zip file; ``reading`` are options of it, part of the content."""

    reading: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Skeleton:
        """Read the file."""
        return load(Path(self.folder, self.file), **self.reading)

    def content(self) -> str:
        """Hash of the bytes, of those of other files that they need, and of how they are read."""
        path = Path(self.folder, self.file)
        files = frame_files(path) if path.is_dir() else [path]
        needed = _BESIDE.get(Path(path.name.lower().removesuffix(".gz")).suffix)
        if needed is not None and path.parent.is_dir():
            files += sorted(one for one in path.parent.iterdir() if one.name.lower().endswith(needed))
        files += [Path(self.reading[name]) for name in _FILES if self.reading.get(name) is not None]
        return _sha256(*map(read_bytes, files), _options(self.reading))


@dataclass(frozen=True)
class ClipSource(Source):
    """A clip of a store."""

    store: ClipStore
    clip: int

    def __reduce__(self) -> tuple[Any, ...]:
        return _clip, (self.folder, self.file, self.clip)

    def load(self) -> Skeleton:
        """Read the clip."""
        return self.store.recording(self.clip)

    def content(self) -> str:
        """Hash of the positions."""
        return _hash_recording(self.load())


@dataclass(frozen=True)
class MemorySource(Source):
    """A recording in memory."""

    recording: Skeleton

    def load(self) -> Skeleton:
        """The recording."""
        return self.recording

    def content(self) -> str:
        """Hash of the positions."""
        return _hash_recording(self.recording)


def list_sources(
    given: Any, reading: Mapping[str, Any], failed: dict[str, str], leave_out: Collection[Path] = ()
) -> list[Source]:
    """List the recordings in what a user gave.

    Args:
        given: A recording, or the path of a file, zip file, folder or store; or several of these.
        reading: Options of :func:`mamp.load`.
        failed: Takes the zip files that are damaged.
        leave_out: Files, and folders with all that is in them, that are no recordings.

    Raises:
        MissingFileError: There is no such path, or a folder holds no recordings.
        RecordingError: Something is neither a recording nor a path.
    """
    if isinstance(given, Skeleton):
        return [MemorySource(MEMORY, given.name, given)]
    if isinstance(given, str | os.PathLike):
        return _at_path(Path(given).expanduser(), reading, failed, leave_out)
    if not isinstance(given, Iterable):
        raise RecordingError(f"expected recordings or paths, found {type(given).__name__}. Read files with mamp.load.")
    return [source for one in given for source in list_sources(one, reading, failed, leave_out)]


def _at_path(
    path: Path, reading: Mapping[str, Any], failed: dict[str, str], leave_out: Collection[Path]
) -> list[Source]:
    if is_store(path):
        return _clips(path.absolute())
    if not (path.is_dir() and not _is_recording(path)) and not (path.is_file() and is_archive(path)):
        folder = path.parent if path.is_absolute() else Path.cwd()
        return [FileSource(str(folder), key_of(folder, folder / path), reading)]
    hidden = [os.path.realpath(one) for one in leave_out]
    found = [one for one in find_files(path, SUFFIXES, failed) if not _is_in(one, hidden)]
    if not found and not failed:
        raise MissingFileError(f"{path}: expected recordings in it ({', '.join(SUFFIXES)}), found none.")
    return [FileSource(str(path.absolute()), key_of(path, one), reading) for one in found]


def named_sources(
    given: Iterable[StrPath], reading: Mapping[str, Any], failed: dict[str, str]
) -> list[tuple[str, Source]]:
    """Recordings at paths, by the names that a user knows them by: the path given, and what is below it.

    Args:
        given: Paths.
        reading: Options of :func:`mamp.load`.
        failed: Takes the folders without recordings, and the zip files and stores that are damaged.
    """
    found: list[tuple[str, Source]] = []
    for one in map(Path, given):
        damaged: dict[str, str] = {}
        try:
            sources = list_sources(one, reading, damaged)
        except MAMPError as error:
            failed[str(one)] = str(error)
            continue
        failed |= {str(one / name): error for name, error in damaged.items()}
        itself = os.path.normpath(one.expanduser().absolute())
        found += [(str(one) if source.key == itself else str(one / source.file), source) for source in sources]
    return found


def known_source(folder: str, file: str, reading: Mapping[str, Any], stores: dict[str, dict[str, Source]]) -> Source:
    """The source of which an index knows folder and file.

    Args:
        folder: Of a row.
        file: Of a row.
        reading: Options of :func:`mamp.load`.
        stores: Takes the clips of the stores that were opened, by their names.

    Raises:
        MissingFileError: It was a clip of a store that has no such clip any more.
    """
    if not is_store(Path(folder)):
        return FileSource(folder, file, reading)
    if folder not in stores:
        stores[folder] = {source.file: source for source in _clips(Path(folder))}
    if file not in stores[folder]:
        raise MissingFileError(f"{folder}: has no clip {file!r} any more.")
    return stores[folder][file]


def load_part(text: str, reading: Mapping[str, Any]) -> Skeleton:
    """Read a file, or the part of it that ``FILE@START-END`` names in seconds.

    Raises:
        RecordingError: There is nothing between the two, or the frame rate is unknown.
        MissingFileError: There is no such file.
    """
    match = PART.fullmatch(text)
    if match is None or Path(text).exists():
        return load(Path(text), **reading)
    recording = load(Path(match["path"]), **reading)
    if recording.fps is None or recording.duration is None:
        raise RecordingError(f"{recording.name}: expected a frame rate to find seconds by, found none. Give fps.")
    start, end = float(match["start"]), float(match["end"])
    first, last = round(start * recording.fps), min(round(end * recording.fps), recording.num_frames)
    if first >= last:
        raise RecordingError(
            f"{text}: expected a part of the {recording.duration:.2f} seconds of the recording, found "
            f"{start:g} to {end:g}."
        )
    return take_frames(recording, slice(first, last))


def is_store(path: Path) -> bool:
    """Whether a folder is a store of ``python -m mamp.prepare``."""
    return (path / "clips.npz").is_file() and (path / "meta.json").is_file()


def _clips(path: Path) -> list[Source]:
    store = ClipStore(path)
    return [ClipSource(str(path), str(name), store, clip) for clip, name in enumerate(store.columns["name"])]


def _is_recording(folder: Path) -> bool:
    """Whether a folder holds the frames of one recording: JSON files with numbers, and no other recordings."""
    frames = frame_files(folder)
    others = [one for one in folder.iterdir() if one.suffix.lower() != ".json"]
    numbered = bool(frames) and all(re.search(r"\d", frame.stem) for frame in frames)
    return numbered and not any(one.is_dir() or one.suffix.lower() in SUFFIXES for one in others)


def _clip(folder: str, file: str, clip: int) -> ClipSource:
    """A clip that came from another process; its store stays open for the next one."""
    return ClipSource(folder, file, _open_store(folder), clip)


@lru_cache(4)
def _open_store(folder: str) -> ClipStore:
    return ClipStore(folder)


def _is_in(path: Path, folders: Collection[str]) -> bool:
    real = Path(os.path.realpath(path))
    return any(str(one) in folders for one in (real, *real.parents))


def _hash_recording(recording: Skeleton) -> str:
    facts = json.dumps([recording.positions.shape, recording.layout.joints, recording.fps])
    arrays = [recording.positions] if recording.confidence is None else [recording.positions, recording.confidence]
    return _sha256(facts.encode(), *(array.tobytes() for array in arrays))


def _options(reading: Mapping[str, Any]) -> bytes:
    given = {name: value for name, value in reading.items() if value not in (None, False)}
    return json.dumps(given, sort_keys=True, default=str).encode() if given else b""


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
