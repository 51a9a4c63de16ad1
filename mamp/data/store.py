"""A store of clips of any length: one flat file of positions that is read in place, and a small index.

A store is a folder::

    meta.json       format, layout, what the positions are, counts, sha256 of the positions
    positions.bin   float32 [rows, V, 3], little-endian; a clip of M people and T frames is M * T rows, person by person
    clips.npz       one array a column: name, first_row, people, frames, fps, and any of label, subject, camera, ...
    confidence.bin  float32 [rows, V], only where the recordings have a tracking confidence
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError
from mamp.layouts import Layout, get_layout
from mamp.skeleton import Skeleton

FORMAT = 1
REQUIRED = ("name", "first_row", "people", "frames", "fps")
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


class ClipStore:
    """Read access to a store. Opening reads the index only; frames are read from disk when asked for.

    Frames are read where they lie and not mapped into memory: pages of a map would count as memory of the process, up
    to the size of the store, and a map of a file that shrinks kills the process. Threads and forked workers may share
    a store; pickling keeps the path.

    Attributes:
        path: The folder.
        layout: Joints of the positions.
        columns: One array a column, each with one entry a clip.
        info: What ``meta.json`` says.

    Raises:
        DataError: The folder is not a store, or is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(f"{self.path}: expected a folder written by python -m mamp.prepare, found none.")
        try:
            self.info: dict[str, Any] = json.loads((self.path / "meta.json").read_text(encoding="utf-8"))
            with (self.path / "clips.npz").open("rb") as index, np.load(index, allow_pickle=False) as columns:
                self.columns = {name: columns[name] for name in columns.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self.path}: not a store of clips, or damaged ({error}). Make one with python -m mamp.prepare."
            ) from None
        found = self.info.get("format") if isinstance(self.info, dict) else None
        if found != FORMAT or "layout" not in self.info:
            raise DataError(
                f"{self.path}: expected a meta.json of store format {FORMAT} with a layout, found format {found!r}; "
                "prepare the data again with this version of mamp."
            )
        missing = [name for name in REQUIRED if name not in self.columns]
        if missing:
            raise DataError(f"{self.path}: clips.npz lacks the columns {', '.join(missing)}; prepare the data again.")
        self.layout: Layout = get_layout(self.info["layout"])
        self._files: dict[str, int] = {}
        self._check_index()
        for file, values in (("positions.bin", 3), ("confidence.bin", 1))[: 2 if self.has_confidence else 1]:
            expected = self.num_rows * len(self.layout.joints) * values * 4
            size = (self.path / file).stat().st_size if (self.path / file).exists() else 0
            if size != expected:
                raise DataError(f"{self.path}: {file} has {size} bytes, the index needs {expected}; prepare again.")

    def _check_index(self) -> None:
        """Clips lie behind one another, and every column has one entry a clip."""
        advice = "expected clips behind one another and one entry a clip in each column; prepare the data again."
        lengths = {values.shape[:1] for values in self.columns.values()}
        if len(lengths) != 1 or lengths & {(), (0,)}:
            raise DataError(f"{self.path}: clips.npz is damaged: {advice}")
        rows = self.columns["people"].astype(np.int64) * self.columns["frames"]
        if rows.min() < 1 or not np.array_equal(self.columns["first_row"], rows.cumsum() - rows):
            raise DataError(f"{self.path}: clips.npz is damaged: {advice}")

    def __len__(self) -> int:
        return len(self.columns["name"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    @property
    def num_rows(self) -> int:
        """Rows of positions: people times frames, over all clips."""
        return int((self.columns["people"].astype(np.int64) * self.columns["frames"]).sum())

    @property
    def has_confidence(self) -> bool:
        """Whether the clips have a tracking confidence."""
        return bool(self.info.get("confidence", False))

    def read(self, clip: int, start: int = 0, length: int | None = None, out: FloatArray | None = None) -> FloatArray:
        """Positions [M, length, V, 3] of frames ``start`` to ``start + length`` of one clip.

        Args:
            clip: Index of the clip.
            start: First frame.
            length: How many frames; to the end by default.
            out: Contiguous float32 array to read into; it takes the first people if it has room for fewer than M.
        """
        return self._read("positions.bin", (3,), clip, start, length, out)

    def read_confidence(
        self, clip: int, start: int = 0, length: int | None = None, out: FloatArray | None = None
    ) -> FloatArray:
        """Tracking confidence [M, length, V] of the same frames.

        Raises:
            DataError: The store has none.
        """
        if not self.has_confidence:
            raise DataError(f"{self.path}: the recordings of this store have no tracking confidence.")
        return self._read("confidence.bin", (), clip, start, length, out)

    def _read(
        self, file: str, values: tuple[int, ...], clip: int, start: int, length: int | None, out: FloatArray | None
    ) -> FloatArray:
        frames = int(self.columns["frames"][clip])
        if out is None:
            length = frames - start if length is None else length
            out = np.empty((self.columns["people"][clip], length, len(self.layout.joints), *values), "<f4")
        first = int(self.columns["first_row"][clip]) + start + np.arange(len(out)) * frames
        self._read_runs(file, first, np.full(len(out), out.shape[1]), out)
        return out

    def read_rows(self, first: IntArray, length: IntArray, out: FloatArray) -> None:
        """Positions of many runs of rows, packed behind one another; a run lies inside one clip.

        Args:
            first: [N] first row of each run.
            length: [N] rows of each run.
            out: [F, V, 3] contiguous float32 array to read into, with room for all runs.
        """
        self._read_runs("positions.bin", first, length, out)

    def read_confidence_rows(self, first: IntArray, length: IntArray, out: FloatArray) -> None:
        """Tracking confidence of the same rows, into ``out`` [F, V]."""
        self._read_runs("confidence.bin", first, length, out)

    def _read_runs(self, file: str, first: IntArray, length: IntArray, out: FloatArray) -> None:
        if not out.size:
            return
        row_bytes = out.nbytes // int(length.sum())
        descriptor, into = self._open(file), out.data.cast("B")
        at = 0
        for row, offset, size in zip(first, (first * row_bytes).tolist(), (length * row_bytes).tolist(), strict=True):
            if _read_at(descriptor, into[at : at + size], offset) != size:
                clip = np.searchsorted(self.columns["first_row"], row, side="right") - 1
                name = self.columns["name"][clip]
                raise DataError(f"{self.path}: {file} ended in clip {name}; prepare the data again.")
            at += size

    def _open(self, file: str) -> int:
        """Descriptor of a file of the store, closed with the store."""
        if file not in self._files:
            try:
                descriptor = os.open(self.path / file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError as error:
                raise DataError(f"{self.path}: cannot read {file} ({error}).") from None
            weakref.finalize(self, os.close, descriptor)
            self._files[file] = descriptor
        return self._files[file]

    def recording(self, clip: int) -> Skeleton:
        """One clip as a :class:`~mamp.skeleton.Skeleton`; people who are absent in a frame are NaN again."""
        positions = self.read(clip)
        absent = ~positions.any(axis=(2, 3))
        positions[absent] = np.nan
        confidence = self.read_confidence(clip) if self.has_confidence else None
        fps = float(self.columns["fps"][clip])
        info = {name: values[clip].item() for name, values in self.columns.items() if name not in REQUIRED}
        name = str(self.columns["name"][clip])
        return Skeleton(positions, self.layout, fps if fps > 0 else None, confidence, name, info)

    def recordings(self) -> Iterator[Skeleton]:
        """All clips, one after another."""
        return (self.recording(clip) for clip in range(len(self)))


def _read_at(descriptor: int, into: memoryview, offset: int) -> int:
    """Read a file from an offset, whatever other threads and forked processes read at the same time; bytes read."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [into], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows, where processes share no descriptor
    data = os.read(descriptor, into.nbytes)
    into[: len(data)] = data
    return len(data)


class StoreWriter:
    """Write a store clip by clip, and put it in its place only when it is whole.

    Use as a context manager; an exception inside leaves nothing behind, and an existing store as it was.

    Args:
        path: The folder to write.
        layout: Joints of the positions.
        info: Anything to keep in ``meta.json`` (source, licence, coordinates).
    """

    def __init__(self, path: str | os.PathLike[str], layout: Layout, info: dict[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.layout = layout
        self.info = dict(info or {})
        self._columns: dict[str, list[Any]] = {name: [] for name in REQUIRED}
        self._hash = hashlib.sha256()
        self._rows = 0
        self._has_confidence = False

    def __enter__(self) -> StoreWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = self.path.with_name(f".{self.path.name}-{os.getpid()}-{secrets.token_hex(4)}")
            self._temporary.mkdir()
            self._file: BinaryIO = (self._temporary / "positions.bin").open("wb")
            self._confidence: BinaryIO = (self._temporary / "confidence.bin").open("wb")
        except OSError as error:
            raise DataError(f"{self.path}: cannot write here ({error}).") from None
        return self

    def add(
        self,
        name: str,
        positions: FloatArray,
        fps: float | None = None,
        confidence: FloatArray | None = None,
        **columns: Any,
    ) -> None:
        """Append a clip: positions [M, T, V, 3] in metres, zeros where a person is absent; confidence [M, T, V].

        Every clip needs the same columns, and confidence if the first one has it.
        """
        check_clip(name, positions, confidence, self.layout)
        if self._columns["name"] and set(columns) != set(self._columns) - set(REQUIRED):
            raise DataError(f"{name}: expected the columns of the clips before it, found {sorted(columns)}.")
        if self._columns["name"] and (confidence is not None) != self._has_confidence:
            raise DataError(f"{name}: either all clips of a store have a tracking confidence, or none.")
        self._has_confidence = confidence is not None
        people, frames = positions.shape[:2]
        data = np.ascontiguousarray(positions, dtype="<f4").tobytes()
        try:
            if confidence is not None:
                self._confidence.write(np.ascontiguousarray(confidence, dtype="<f4").tobytes())
            self._file.write(data)
        except OSError as error:
            raise DataError(f"{self.path}: cannot write the store ({error}).") from None
        self._hash.update(data)
        row = {"name": name, "first_row": self._rows, "people": people, "frames": frames, "fps": fps or 0.0, **columns}
        for key, value in row.items():
            self._columns.setdefault(key, []).append(value)
        self._rows += people * frames

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._file, self._confidence:  # closes both, and so fails where the disk is full
                pass
            if kind is None:
                self._finish()
        except OSError as failure:
            raise DataError(f"{self.path}: cannot write the store ({failure}).") from None
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _finish(self) -> None:
        if not self._columns["name"]:
            raise DataError(f"{self.path}: there is no clip to write.")
        if not self._has_confidence:
            (self._temporary / "confidence.bin").unlink()
        digest = self._hash.hexdigest()
        write_index(self._temporary, self.layout, self._columns, digest, self._has_confidence, self.info)
        put_in_place(self._temporary, self.path)


def check_clip(name: str, positions: FloatArray, confidence: FloatArray | None, layout: Layout) -> None:
    """Raise :class:`~mamp.errors.DataError` unless a store with this layout takes the clip."""
    joints = len(layout.joints)
    if positions.ndim != 4 or positions.shape[2:] != (joints, 3) or not positions.size:
        raise DataError(f"{name}: expected positions [M, T, {joints}, 3], found {positions.shape}.")
    if not np.isfinite(positions).all():
        raise DataError(f"{name}: positions hold NaN or infinity; normalise the recording first.")
    if confidence is not None and confidence.shape != positions.shape[:3]:
        raise DataError(f"{name}: expected confidence {positions.shape[:3]}, found {confidence.shape}.")


def write_index(
    folder: Path, layout: Layout, columns: dict[str, list[Any]], sha256: str, confidence: bool, info: dict[str, Any]
) -> None:
    """Write ``clips.npz`` and ``meta.json`` beside positions that are written.

    Args:
        folder: Where the positions are.
        layout: Their joints.
        columns: One entry a clip in each, those of :data:`REQUIRED` among them.
        sha256: Of the file of positions.
        confidence: Whether there is a file of confidence.
        info: Anything to keep in ``meta.json``.
    """
    types = {"first_row": np.int64, "people": np.int16, "frames": np.int32, "fps": np.float32}
    arrays = {name: np.array(values, dtype=types.get(name)) for name, values in columns.items()}
    np.savez(folder / "clips.npz", **arrays)  # type: ignore[arg-type]
    meta = {
        "format": FORMAT,
        "layout": layout.name,
        "num_clips": len(columns["name"]),
        "num_rows": int((arrays["people"].astype(np.int64) * arrays["frames"]).sum()),
        "sha256": sha256,
        "confidence": confidence,
        **info,
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


def put_in_place(folder: Path, path: Path) -> None:
    """Rename a finished folder to its name; what was there goes."""
    old = path.with_name(f".{path.name}-old-{os.getpid()}")
    if path.exists():
        path.rename(old)
    folder.rename(path)
    shutil.rmtree(old, ignore_errors=True)
