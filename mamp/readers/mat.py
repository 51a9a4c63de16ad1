"""MATLAB files of level 5 (``-v6`` and ``-v7``): the arrays of real numbers in them.

After a header of 128 bytes come elements, each a tag (type and size) and data; an array is an element of elements:
flags, dimensions, name, numbers (MathWorks, "MAT-File Format"). Sizes are checked against the bytes that are there
before anything is allocated.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError

HEADER = 128
MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
NUMERIC = range(6, 16)  # classes double, single, int8 to uint64
COMPLEX = 0x800
MAX_UNPACKED = 256 << 20


def parse_mat(data: bytes, where: str) -> dict[str, NDArray[np.float64]]:
    """Arrays of real numbers by name; arrays of any other kind are left out.

    Raises:
        ReadError: Not such a file, cut, or damaged.
    """
    if data[:19] == b"MATLAB 7.3 MAT-file" or data[:4] == b"\x89HDF":
        raise ReadError(f"{where}: a MATLAB file of version 7.3 (HDF5); save it with save(..., '-v7').")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
    if order is None:
        raise ReadError(f"{where}: expected a MATLAB file of version 5 to 7 (save with '-v7'), found something else.")
    arrays = {}
    try:
        for kind, body in _elements(data[HEADER:], order):
            if kind == COMPRESSED:
                kind, body = next(_elements(_unpack(body), order))
            if kind == MATRIX and (found := _array(body, order)) is not None:
                arrays[found[0]] = found[1]
    except (ValueError, struct.error, zlib.error, StopIteration) as error:
        raise ReadError(f"{where}: damaged or cut MATLAB file ({error}); copy or download it again.") from None
    return arrays


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Type and data of the elements that lie behind one another."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # size, type and up to four bytes of data in eight bytes
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if size > 4:
                raise ValueError("a short element of more than 4 bytes")
        else:
            start, end = at + 8, at + 8 + size
            end += -end % 8 if kind != COMPRESSED else 0
        if start + size > len(data):
            raise ValueError(f"an element of {size} bytes where {len(data) - start} are left")
        yield kind, data[start : start + size]
        at = end


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    data = unpacker.decompress(body, MAX_UNPACKED)
    if unpacker.unconsumed_tail:
        raise ValueError(f"unpacked larger than {MAX_UNPACKED >> 20} MiB")
    return data


def _array(body: bytes, order: str) -> tuple[str, NDArray[np.float64]] | None:
    """Name and numbers of an array; None when it holds no real numbers."""
    parts = _elements(body, order)
    (_, flags), (_, sizes), (_, name) = next(parts), next(parts), next(parts)
    (flag,) = struct.unpack_from(f"{order}I", flags)
    if flag & 0xFF not in NUMERIC or flag & COMPLEX:
        return None
    kind, numbers = next(parts)
    if kind not in TYPES:
        raise ValueError(f"numbers of the unknown type {kind}")
    shape = np.frombuffer(sizes, f"{order}i4").tolist()
    values = np.frombuffer(numbers, f"{order}{TYPES[kind]}")
    if min(shape, default=-1) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"an array of size {shape} with {len(values)} numbers")
    with np.errstate(invalid="ignore"):
        array = values.reshape(shape, order="F").astype(np.float64)
    array[np.isnan(array)] = np.nan  # numpy warns of every use of a signalling NaN
    return name.decode("latin-1"), array
