"""Write stores: clips are appended to the files, and ``meta.json`` is computed from the files at the end."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from mamp.data.store import FORMAT, WRITER, FloatArray, sha256_of
from mamp.errors import DataError
from mamp.layouts import Layout, stored_body
from mamp.outputs import dump_json, folder_beside, put_in_place, through_links

Mark = tuple[int, int]
"""Size and CRC-32 of a file after some clip."""


class StoreFiles:
    """The files of a store that grows clip by clip, in a folder that is moved into place when complete.

    Attributes:
        marks: File name -> its :data:`Mark` after the last clip.
        columns: The index; each column has one entry per clip.
    """

    def __init__(self, folder: Path, layout: Layout) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.layout = folder, layout
        self.marks: dict[str, Mark] = {}
        self.columns: dict[str, list[Any]] = {}
        self._rows = 0
        self._opened: dict[str, BinaryIO] = {}

    def add(
        self,
        name: str,
        positions: FloatArray,
        fps: float | None,
        confidence: FloatArray | None,
        columns: Mapping[str, Any],
    ) -> None:
        """Append a clip; see :meth:`StoreWriter.add`."""
        check_clip(name, positions, confidence, self.layout)
        if self.columns and (confidence is not None) != ("confidence.bin" in self.marks):
            raise DataError(f"{name}: either all clips of a store have a tracking confidence, or none.")
        self.index(name, positions.shape[0], positions.shape[1], fps, columns)
        for file, values in (("positions.bin", positions), ("confidence.bin", confidence)):
            if values is not None:
                data = np.ascontiguousarray(values, dtype="<f4").tobytes()
                write_all(self._file(file), data)
                size, crc = self.marks.get(file, (0, 0))
                self.marks[file] = (size + len(data), zlib.crc32(data, crc))

    def index(self, name: str, people: int, frames: int, fps: float | None, columns: Mapping[str, Any]) -> None:
        """Add a clip whose positions are already written to the index."""
        row = {"name": name, "first_row": self._rows, "people": people, "frames": frames, "fps": fps or 0.0, **columns}
        if self.columns and set(row) != set(self.columns):
            raise DataError(f"{name}: expected the columns of the clips before it, found {sorted(columns)}.")
        for key, value in row.items():
            self.columns.setdefault(key, []).append(value)
        self._rows += people * frames

    def holds(self, marks: Mapping[str, Mark]) -> bool:
        """Whether the bytes between the current marks and these are as an earlier run wrote them."""
        for file, (size, crc) in marks.items():
            start, before = self.marks.get(file, (0, 0))
            path = self.folder / file
            if not path.exists():
                return False
            with path.open("rb") as stream:
                stream.seek(start)
                if zlib.crc32(stream.read(size - start), before) != crc:
                    return False
        return True

    def finish(self, info: Mapping[str, Any]) -> dict[str, str]:
        """Write ``clips.npz`` and ``meta.json``; returns the SHA-256 of ``positions.bin`` and ``clips.npz``.

        Counts and checksums in ``info`` are ignored: they may describe another store.
        """
        for file in self.marks:
            self._file(file)  # truncates what a killed run wrote after its last mark
        self.close()
        types = {"first_row": np.int64, "people": np.int16, "frames": np.int32, "fps": np.float32}
        arrays = {name: np.array(values, dtype=types.get(name)) for name, values in self.columns.items()}
        np.savez(self.folder / "clips.npz", **arrays)  # type: ignore[arg-type]
        described = {
            "format": FORMAT,
            "writer": WRITER,
            "layout": self.layout.name,
            **stored_body(self.layout),
            "num_clips": len(self.columns["name"]),
            "num_rows": self._rows,
            "sha256": sha256_of(self.folder / "positions.bin"),
            "confidence": "confidence.bin" in self.marks,
        }
        if described["confidence"]:
            described["confidence_sha256"] = sha256_of(self.folder / "confidence.bin")
        free = {name: value for name, value in info.items() if name not in ("confidence_sha256", "body")}
        text = dump_json(described | free | described)
        (self.folder / "meta.json").write_text(text + "\n", encoding="utf-8")
        return {"positions.bin": str(described["sha256"]), "clips.npz": sha256_of(self.folder / "clips.npz")}

    def close(self) -> None:
        """Close the files."""
        for file in self._opened.values():
            file.close()
        self._opened.clear()

    def _file(self, name: str) -> BinaryIO:
        """A file to append to, truncated to its mark."""
        if name not in self._opened:
            path, (size, _) = self.folder / name, self.marks.get(name, (0, 0))
            file = self._opened[name] = path.open("r+b" if path.exists() else "w+b", buffering=0)
            file.truncate(size)
            file.seek(size)
        return self._opened[name]


class StoreWriter:
    """Write a store clip by clip, and move it into place when it is complete.

    Use as a context manager; after an exception nothing is left behind, and an existing store is unchanged.

    Args:
        path: Folder of the store.
        layout: Layout of the joints.
        info: Further content of ``meta.json`` (source, licence, preprocessing). The ``info`` of another store can be
            passed on: counts, ``sha256`` and ``confidence`` are computed from the clips written.
    """

    def __init__(self, path: str | os.PathLike[str], layout: Layout, info: Mapping[str, Any] | None = None) -> None:
        self.path = through_links(Path(path))
        self.layout = layout
        self.info = dict(info or {})

    def __enter__(self) -> StoreWriter:
        self._work = ExitStack()
        try:
            self._files = StoreFiles(self._work.enter_context(folder_beside(self.path)), self.layout)
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
        """Append a clip.

        Args:
            name: Name of the clip.
            positions: [M, T, V, 3] in metres, zeros where a person is absent.
            fps: Frames per second, if known.
            confidence: [M, T, V] tracking confidence, for all clips of a store or none.
            columns: Further columns of the index, such as ``label``; the same for every clip.

        Raises:
            DataError: The clip does not fit the store, or cannot be written.
        """
        try:
            self._files.add(name, positions, fps, confidence, columns)
        except OSError as error:
            raise DataError(f"{self.path}: cannot write the store ({error}).") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if not self._files.columns:
                    raise DataError(f"{self.path}: there is no clip to write.")
                self._files.finish(self.info)
                put_in_place(self._files.folder, self.path)
        except OSError as failure:
            raise DataError(f"{self.path}: cannot write the store ({failure}).") from None
        finally:
            self._files.close()
            self._work.close()


def check_clip(name: str, positions: FloatArray, confidence: FloatArray | None, layout: Layout) -> None:
    """Raise :class:`~mamp.errors.DataError` if the clip cannot be stored with this layout."""
    joints = len(layout.joints)
    if positions.ndim != 4 or positions.shape[2:] != (joints, 3) or not positions.size:
        raise DataError(f"{name}: expected positions [M, T, {joints}, 3], found {positions.shape}.")
    if not np.isfinite(positions).all():
        raise DataError(f"{name}: positions hold NaN or infinity; normalise the recording first.")
    if confidence is not None and confidence.shape != positions.shape[:3]:
        raise DataError(f"{name}: expected confidence {positions.shape[:3]}, found {confidence.shape}.")


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all bytes to an unbuffered file, which may accept fewer at a time."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
