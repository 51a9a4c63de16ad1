"""A store of clips of any length: one flat file of positions, read in place, and a small index.

A store is a folder::

    meta.json       format, layout, preprocessing, counts, sha256 of the positions
    positions.bin   float32 [rows, V, 3], little-endian; a clip of M people and T frames is M * T rows, person by person
    clips.npz       one array per column: name, first_row, people, frames, fps, and any of label, subject, camera, ...
    confidence.bin  float32 [rows, V], only if the recordings have a tracking confidence
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import DataError
from mamp.layouts import Layout, adopt_body, get_layout
from mamp.outputs import recover
from mamp.skeleton import WHOLE, Skeleton

logger = logging.getLogger(__name__)

FORMAT = 1
WRITER = 2
"""Earlier writers could copy checksums and counts of another store into ``meta.json``."""
QUICK = 64 << 20  # largest positions.bin of such a store that is verified when it is opened, in bytes
REQUIRED = ("name", "first_row", "people", "frames", "fps")
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


class ClipStore:
    """Read access to a store. Opening reads the index; frames are read from disk on demand.

    Frames are read with ``pread`` rather than memory-mapped: mapped pages count towards the memory of the process, and
    a mapped file that shrinks kills it. Stores can be pickled, and shared by threads and forked workers.

    Attributes:
        path: The folder.
        layout: Layout of the joints.
        columns: The index; each column has one entry per clip.
        info: Content of ``meta.json``.

    Raises:
        DataError: The folder is not a store, or is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        recover(self.path)
        if not self.path.is_dir():
            raise DataError(f"{self.path}: expected a folder written by python -m mamp.prepare, found none.")
        try:
            self.info: dict[str, Any] = json.loads((self.path / "meta.json").read_text(encoding="utf-8"))
            with (self.path / "clips.npz").open("rb") as index, np.load(index, allow_pickle=False) as columns:
                self.columns = {name: columns[name] for name in columns.files}
        except Exception as error:  # damaged files can raise anything
            raise DataError(
                f"{self.path}: not a store of clips, or damaged ({error}). Make one with python -m mamp.prepare."
            ) from None
        found = self.info.get("format") if isinstance(self.info, dict) else None
        if found != FORMAT or not isinstance(self.info.get("layout"), str):
            raise DataError(
                f"{self.path}: expected a meta.json of store format {FORMAT} with a layout, found format {found!r}; "
                "prepare the data again with this version of mamp."
            )
        missing = [name for name in REQUIRED if name not in self.columns]
        if missing:
            raise DataError(f"{self.path}: clips.npz lacks the columns {', '.join(missing)}; prepare the data again.")
        adopt_body(self.info, str(self.path))
        self.layout: Layout = get_layout(self.info["layout"])
        self._files: dict[str, int] = {}
        self._check_index()
        writer = self.info.get("writer")
        if not isinstance(writer, int) or writer < WRITER:
            self._correct_info()
        for file, values in (("positions.bin", 3), ("confidence.bin", 1))[: 2 if self.has_confidence else 1]:
            expected = self.num_rows * len(self.layout.joints) * values * 4
            size = (self.path / file).stat().st_size if (self.path / file).exists() else 0
            if size != expected:
                raise DataError(f"{self.path}: {file} has {size} bytes, the index needs {expected}; prepare again.")

    def _check_index(self) -> None:
        """Check that clips are contiguous and columns complete."""
        advice = "expected contiguous clips and one entry per clip in each column; prepare the data again."
        lengths = {values.shape[:1] for values in self.columns.values()}
        whole = all(self.columns[name].dtype.kind in "iu" for name in ("first_row", "people", "frames"))
        if len(lengths) != 1 or lengths & {(), (0,)} or not whole:
            raise DataError(f"{self.path}: clips.npz is damaged: {advice}")
        rows = self.columns["people"].astype(np.int64) * self.columns["frames"]
        if rows.min() < 1 or not np.array_equal(self.columns["first_row"], rows.cumsum() - rows):
            raise DataError(f"{self.path}: clips.npz is damaged: {advice}")

    def _correct_info(self) -> None:
        """Correct the ``meta.json`` of an older writer from the files, with a warning."""
        positions = self.path / "positions.bin"
        true: dict[str, Any] = {
            "num_clips": len(self),
            "num_rows": self.num_rows,
            "confidence": (self.path / "confidence.bin").exists(),
        }
        if positions.is_file() and positions.stat().st_size <= QUICK:
            true["sha256"] = sha256_of(positions)
        false = [name for name, value in true.items() if self.info.get(name, value) != value]
        if false:
            logger.warning(
                "%s: %s in meta.json belong to other clips, as older versions could copy them from another store; the "
                "files take precedence. Write the store again to correct meta.json.", self.path, " and ".join(false),
            )  # fmt: skip
            self.info.update({name: true[name] for name in false})

    def verify(self) -> None:
        """Compare the files with the checksums in ``meta.json``; :class:`DataError` if they differ."""
        stated = {"positions.bin": self.info.get("sha256"), "confidence.bin": self.info.get("confidence_sha256")}
        for file, expected in stated.items():
            if expected is None:
                continue
            found = sha256_of(self.path / file)
            if found != expected:
                raise DataError(
                    f"{self.path}: {file} has the sha256 {found}, meta.json states {expected}: the positions were "
                    "changed, or meta.json is that of another store. Prepare the data again, or write the store again."
                )

    def __len__(self) -> int:
        return len(self.columns["name"])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    @property
    def num_rows(self) -> int:
        """Rows of positions: people times frames, summed over all clips."""
        return int((self.columns["people"].astype(np.int64) * self.columns["frames"]).sum())

    @property
    def has_confidence(self) -> bool:
        """Whether the clips have a tracking confidence."""
        return bool(self.info.get("confidence", False))

    @property
    def protocols(self) -> list[str]:
        """Protocols with a column ``split_PROTOCOL``."""
        return [name.removeprefix("split_") for name in self.columns if name.startswith("split_")]

    def split_column(self, protocol: str | None = None) -> str:
        """Name of the column that divides the clips into training and test clips.

        ``split_PROTOCOL`` if a protocol is named, else ``split``. A store with a single protocol may have either column
        for it: ``split``, if ``meta.json`` names the protocol, or ``split_PROTOCOL``, which is then the default.

        Raises:
            DataError: There is no such column, or there are several.
        """
        has_split, known = "split" in self.columns, self.protocols
        if protocol is None and not has_split and len(known) == 1:
            return f"split_{known[0]}"
        column = "split" if protocol is None else f"split_{protocol}"
        if column in self.columns:
            return column
        if has_split and not known and self.info.get("protocols") == [protocol]:
            return "split"
        if known:
            advice = f"no split of the name {protocol!r}; " if protocol else ""
            advice += f"choose one of its protocols: {', '.join(known)}."
        elif has_split:
            advice = "it has one split that names no protocol. Leave the protocol out to use it."
        else:
            advice = (
                "to train on all of them: data.split none. They are not divided into training and test clips; a packed "
                "set is by python -m mamp.prepare ... --test COLUMN=VALUE."
            )
        raise DataError(f"{self.path}: the clips have no column {column!r}; {advice}")

    def split(self, name: str | None, protocol: str | None = None) -> IntArray:
        """Indices of the clips of a split; the one rule that training, evaluation and readout go by.

        Args:
            name: ``train``, ``test``, or what else the column holds; ``None`` takes all clips.
            protocol: Which split of a set that has several; see :meth:`split_column`.

        Raises:
            DataError: There is no such split, or no clip in it; or all clips are asked for under a protocol that
                keeps some for testing.
        """
        if name is None and (protocol is None or not (self.protocols or "split" in self.columns)):
            return np.arange(len(self))
        splits = self.columns[self.split_column(protocol)].astype(str)
        if name is None:
            if (splits == "test").any():
                raise DataError(
                    f"{self.path}: all clips are asked for, but the protocol {protocol} keeps "
                    f"{int((splits == 'test').sum())} of them for testing. Take the split 'train', or name no protocol."
                )
            return np.arange(len(self))
        found = np.flatnonzero(splits == name)
        if not len(found):
            raise DataError(f"{self.path}: no clip of the split {name!r}; there are {', '.join(np.unique(splits))}.")
        return found

    def read(self, clip: int, start: int = 0, length: int | None = None) -> FloatArray:
        """Positions [M, length, V, 3] of one clip, from frame ``start`` on; to the end by default."""
        return self._read("positions.bin", (3,), clip, start, length)

    def read_confidence(self, clip: int, start: int = 0, length: int | None = None) -> FloatArray:
        """Tracking confidence [M, length, V] of the same frames; :class:`DataError` if the store has none."""
        if not self.has_confidence:
            raise DataError(f"{self.path}: the recordings of this store have no tracking confidence.")
        return self._read("confidence.bin", (), clip, start, length)

    def _read(self, file: str, values: tuple[int, ...], clip: int, start: int, length: int | None) -> FloatArray:
        frames, people = int(self.columns["frames"][clip]), int(self.columns["people"][clip])
        length = frames - start if length is None else length
        out = np.empty((people, length, len(self.layout.joints), *values), "<f4")
        first = int(self.columns["first_row"][clip]) + start + np.arange(people) * frames
        self.read_rows(first, np.full(people, length), out, file)
        return out

    def read_rows(self, first: IntArray, length: IntArray, out: FloatArray, file: str = "positions.bin") -> None:
        """Read many runs of rows into one array, packed one after another; each run lies within one clip.

        Args:
            first: [N] first row of each run.
            length: [N] number of rows of each run.
            out: Contiguous float32 array for all runs, [F, V, 3]; [F, V] for ``confidence.bin``.
            file: ``positions.bin`` or ``confidence.bin``.
        """
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
        """File descriptor, closed with the store."""
        if file not in self._files:
            try:
                descriptor = os.open(self.path / file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            except OSError as error:
                raise DataError(f"{self.path}: cannot read {file} ({error}).") from None
            weakref.finalize(self, os.close, descriptor)
            self._files[file] = descriptor
        return self._files[file]

    def recording(self, clip: int) -> Skeleton:
        """One clip as a :class:`~mamp.skeleton.Skeleton`; people who are absent in a frame are NaN again.

        All frames belong to a clip, empty ones at its ends too: ``info`` says so (:data:`mamp.skeleton.WHOLE`), and
        they are encoded as they are trained on.
        """
        positions = self.read(clip)
        absent = ~positions.any(axis=(2, 3))
        positions[absent] = np.nan
        confidence = self.read_confidence(clip) if self.has_confidence else None
        fps = float(self.columns["fps"][clip])
        columns = {name: values[clip].item() for name, values in self.columns.items() if name not in REQUIRED}
        name = str(self.columns["name"][clip])
        return Skeleton(positions, self.layout, fps if fps > 0 else None, confidence, name, WHOLE | columns)

    def recordings(self) -> Iterator[Skeleton]:
        """All clips, one after another."""
        return (self.recording(clip) for clip in range(len(self)))


def _read_at(descriptor: int, into: memoryview, offset: int) -> int:
    """Read from an offset, safely for threads and forked processes; returns the number of bytes read."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [into], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows, where processes share no descriptor
    data = os.read(descriptor, into.nbytes)
    into[: len(data)] = data
    return len(data)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file; :class:`DataError` if it cannot be read."""
    try:
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None
