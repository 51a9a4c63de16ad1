"""``ctrgcn``: the prepared arrays of CTR-GCN and its successors, including the published MAMP.

An ``.npz`` file with ``x_train`` and ``x_test`` [N, T, 150] (two bodies of 25 joints, padded with zeros), and
``y_train`` and ``y_test``, one-hot or numbers. It is read row by row, with little memory.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from math import prod
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from mamp.errors import MAMPError, MissingFileError, ReadError
from mamp.prepare import ntu, pku
from mamp.prepare.converted import Converted, add_file_arguments, run
from mamp.prepare.dataset import Clip, Column, Source
from mamp.readers.arrays import read_npy_header

SPLITS = ("train", "test")
WIDTH = 150
FPS = 30.0
MAX_FRAMES, MAX_CLASSES = 10_000, 100_000
CHUNK = 64 << 20  # bytes of positions read at a time
PROTOCOLS = {  # as file names abbreviate them
    "xsub": r"x?c?[-_]?sub|cs|cross[-_]?subject",
    "xview": r"x?c?[-_]?view|cv|cross[-_]?view",
    "xset": r"x?c?[-_]?set|cross[-_]?set(?:up)?",
}


def convert(path: Path, protocol: str | None = None) -> Converted:
    """Convert an ``.npz`` file of CTR-GCN.

    A clip ends with its last nonzero frame. In PKU-MMD, recognised by its 51 classes, it has as many frames as are not
    zero, counted from the start, as in the published feeder. A copy of the first person counts as absent if the first
    rows have such copies (NTU RGB+D 120 as published).

    Args:
        path: The file.
        protocol: ``xsub``, ``xview`` or ``xset``; by default inferred from the file name.

    Raises:
        MissingFileError: There is no such file.
        ReadError: The file has another format, or is cut.
    """
    parts = {split: (_positions(path, split), _labels(path, split)) for split in SPLITS}
    classes = max(count for _, (_, count) in parts.values())
    for split, (rows, (labels, _)) in parts.items():
        if rows.shape[0] != len(labels):
            raise ReadError(f"{path}: x_{split} has {rows.shape[0]} rows, y_{split} {len(labels)}.")
    protocol = protocol or protocol_of(path)
    absent = _absent_person(parts["train"][0])
    clips = (
        _clips(path, rows, labels, split, protocol, copied=absent == "copy", feeder=classes == pku.ACTIONS)
        for split, (rows, (labels, _)) in parts.items()
    )
    info = _describe(path, classes, [protocol] if protocol else [], absent)
    return Converted(chain.from_iterable(clips), sum(rows.shape[0] for rows, _ in parts.values()), info)


def protocol_of(path: Path) -> str | None:
    """Infer the protocol from a file name such as ``NTU60_XSub.npz``, ``NTU60_CS.npz`` or ``NTU120_CSet.npz``."""
    words = re.split(r"[-_. ]+", path.stem.lower())
    found = [name for name, pattern in PROTOCOLS.items() if any(re.fullmatch(pattern, word) for word in words)]
    return found[0] if len(found) == 1 else None


class _Rows:
    """An array [N, ...] in an ``.npz`` file, read sequentially."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with self._open() as (file, size):
            self.shape, self.dtype, start = _read_header(file, f"{path}: {name}")
            if prod(self.shape) * self.dtype.itemsize != size - start:
                raise ReadError(f"{path}: {name} says {list(self.shape)} {self.dtype}, but holds {size - start} bytes.")

    def chunks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Yield ``rows`` rows at a time."""
        width = prod(self.shape[1:])
        with self._open() as (file, _):
            _read_header(file, "")
            for first in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - first)
                data = file.read(count * width * self.dtype.itemsize)
                if len(data) != count * width * self.dtype.itemsize:
                    raise ReadError(f"{self.path}: {self.name} is cut; copy or download the file again.")
                found = np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
                bad = ~np.isfinite(found).reshape(count, -1).all(axis=1)
                if bad.any():
                    raise ReadError(f"{self.path}: row {first + bad.argmax()} of {self.name} holds NaN or infinity.")
                yield found

    @contextmanager
    def _open(self) -> Iterator[tuple[IO[bytes], int]]:
        """The array as a file, and its size; damaged files can raise anything."""
        name = f"{self.name}.npy"
        try:
            archive = zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise MissingFileError(f"no such file: {self.path}. Check the path.") from None
        except Exception as error:
            raise ReadError(f"{self.path}: not an .npz file, or cut ({error}).") from None
        with archive:
            try:
                file = archive.open(name)
            except Exception as error:
                message = f"{self.path}: expected the arrays x_train, y_train, x_test, y_test ({error})."
                raise ReadError(message) from None
            try:
                yield file, archive.getinfo(name).file_size
            except MAMPError:
                raise
            except Exception as error:
                raise ReadError(f"{self.path}: {name} is damaged ({error}); copy or download it again.") from None


def _read_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, type and offset of the data."""
    shape, fortran, dtype = read_npy_header(file, where)
    if dtype.kind not in "fiub" or fortran or not all(size > 0 for size in shape) or not shape:
        raise ReadError(f"{where}: expected rows of numbers in C order, found {dtype} {list(shape)}.")
    return shape, dtype, file.tell()


def _positions(path: Path, split: str) -> _Rows:
    rows = _Rows(path, f"x_{split}")
    if len(rows.shape) != 3 or rows.shape[2] != WIDTH or rows.dtype.kind != "f" or rows.shape[1] > MAX_FRAMES:
        raise ReadError(
            f"{path}: expected x_{split} [N, T, {WIDTH}] of two bodies of 25 joints, T up to {MAX_FRAMES}; found "
            f"{rows.dtype} {list(rows.shape)}."
        )
    return rows


def _labels(path: Path, split: str) -> tuple[NDArray[np.int64], int]:
    """Labels [N] and number of classes."""
    rows = _Rows(path, f"y_{split}")
    if len(rows.shape) > 2 or prod(rows.shape) > 1 << 26:
        raise ReadError(f"{path}: expected labels [N] or one-hot [N, classes] in y_{split}, found {list(rows.shape)}.")
    found = next(rows.chunks(rows.shape[0]))
    if found.ndim == 1:
        if not (found == np.floor(found)).all() or found.min() < 0 or found.max() >= MAX_CLASSES:
            raise ReadError(f"{path}: expected whole numbers from 0, below {MAX_CLASSES}, in y_{split}.")
        return found.astype(np.int64), int(found.max()) + 1
    if not (((found == 0) | (found == 1)).all() and (found.sum(1) == 1).all()):
        raise ReadError(f"{path}: expected a single 1 in each row of y_{split}, and zeros.")
    return found.argmax(1), found.shape[1]


def _absent_person(rows: _Rows) -> Literal["zeros", "copy"]:
    """Padding of an absent second person, judged by the first rows."""
    first = next(rows.chunks(min(rows.shape[0], _rows_at_a_time(rows))))
    there = first[..., :75].any((1, 2))
    return "copy" if (there & (first[..., :75] == first[..., 75:]).all((1, 2))).any() else "zeros"


def _clips(
    path: Path, rows: _Rows, labels: NDArray[np.int64], split: str, protocol: str | None, copied: bool, feeder: bool
) -> Iterator[Clip]:
    column = f"split_{protocol}" if protocol else "split"
    number = 0
    for chunk in rows.chunks(_rows_at_a_time(rows)):
        for row in chunk:
            wide, number = _trimmed(row, feeder), number + 1
            if not len(wide):
                continue  # nobody is seen in it
            people = rearrange(wide.astype(np.float32), "t (m v c) -> m t v c", m=2, c=3)
            alone = np.array_equal(*people) if copied else not people[1].any()
            known: dict[str, Column] = {"label": int(labels[number - 1]), column: split}
            yield Clip(f"{split}-{number - 1:06}", people[:1] if alone else people, FPS, known)


def _rows_at_a_time(rows: _Rows) -> int:
    return max(1, CHUNK // (prod(rows.shape[1:]) * rows.dtype.itemsize))


def _trimmed(row: NDArray[Any], feeder: bool) -> NDArray[Any]:
    if feeder:
        return row[: int((row.sum(-1) != 0).sum())]
    seen = np.flatnonzero(row.any(-1))
    return row[: seen[-1] + 1] if len(seen) else row[:0]


def _describe(path: Path, classes: int, protocols: list[str], absent: Literal["zeros", "copy"]) -> dict[str, Any]:
    if classes in (60, 120):
        return ntu.describe(cast(ntu.Benchmark, classes), protocols, absent)
    if classes == pku.ACTIONS:
        return pku.describe("PKU-MMD", protocols)
    known = {"layout": "ntu25", "unit": "m", "max_people": 2, "absent_person": absent}
    return {"source": path.stem, "protocols": protocols, "preprocessing": known}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_file_arguments(parser)
    parser.add_argument("--protocol", choices=tuple(PROTOCOLS), help="which split it is [that of the file name]")


SOURCE = Source(
    "ctrgcn",
    "NTU RGB+D or PKU-MMD as prepared for CTR-GCN: an .npz of x_train, y_train, x_test, y_test",
    "python -m mamp.prepare ctrgcn NTU60_XSub.npz store",
    add_arguments=_add_arguments,
    run=lambda args: run(args, lambda path: convert(path, args.protocol)),
)
