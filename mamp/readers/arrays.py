"""Arrays: ``.npy`` and ``.npz`` with positions [T, V, 3], [M, T, V, 3], or [T, V*3] (or [T, M*V*3], person by person).

An ``.npz`` holds ``positions`` (or one array of numbers only), and may hold ``confidence`` [M, T, V] or [T, V],
``fps``, ``layout`` (a registered name) or ``joints`` (names) with ``parents``, ``unit`` and ``up``. Pickled objects
are refused.
"""

from __future__ import annotations

import io
import logging
import math
import warnings
import zipfile
from dataclasses import replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.layouts import find_layout
from mamp.readers.archive import CHUNK
from mamp.readers.assemble import DEFAULTS, LayoutLike, Options, Raw, assemble, choose_layout
from mamp.readers.files import StrPath, read_bytes, unpacked_limit
from mamp.readers.format import Format
from mamp.readers.infer import sample_frames
from mamp.readers.shapes import by_shape, split_rows
from mamp.skeleton import Skeleton

logger = logging.getLogger(__name__)

SHAPES = "[frames, joints, 3], [people, frames, joints, 3] or [frames, joints * 3]"


def read(path: StrPath, options: Options = DEFAULTS) -> Skeleton:
    """Read an ``.npy`` or ``.npz`` file.

    Raises:
        ReadError: The file is missing, damaged, holds objects, or its positions have another shape.
        LayoutError: The layout is unknown, or not given and several (or none) have that many joints.
    """
    data = read_bytes(path)
    if data[:4] != b"PK\x03\x04":
        return build(Raw(parse_npy(data, str(path)), path, "numpy"), options)
    arrays = parse_npz(data, str(path))
    positions = arrays.get("positions")
    if positions is None:
        found = [name for name, array in arrays.items() if array.dtype.kind in "iuf" and array.ndim >= 2]
        if len(found) != 1:
            raise ReadError(
                f"{path}: expected an array named 'positions', or one array of numbers; found "
                f"{', '.join(arrays) or 'no array'}."
            )
        positions = arrays[found[0]]
    said = {key: scalar(arrays[key], f"{path}, {key}") for key in ("fps", "layout", "unit", "up") if key in arrays}
    if "layout" not in said and "joints" in arrays:
        said["layout"] = _named(arrays, positions, path)
    options = options.with_defaults(**said)
    return build(Raw(positions, path, "numpy", confidence=arrays.get("confidence")), options)


def build(raw: Raw, options: Options) -> Skeleton:
    """Build the recording of positions in one of the shapes above.

    Raises:
        ReadError: The shape is another one.
        LayoutError: As :func:`read`.
    """
    path = raw.path
    positions = numbers(raw.positions, str(path))
    if options.layout is None and (shaped := by_shape(positions)) is not None:
        logger.warning("%s has the shape %s; taken as %s. Say layout=... if that is wrong.",
                       path, list(positions.shape), shaped.what)  # fmt: skip
        positions = shaped.positions
        raw = replace(raw, layout=shaped.layout, unit=shaped.unit, up=shaped.up, fps=shaped.fps)
        if raw.confidence is not None and raw.confidence.ndim:
            raw = replace(raw, confidence=raw.confidence[..., : positions.shape[-2]])
    if positions.ndim == 2:
        positions = _split_columns(positions, path, options.layout)
    elif positions.ndim == 3:
        positions = positions[None]
    if positions.ndim == 4 and positions.shape[-1] == 2 and options.allow_2d:
        positions = np.concatenate([positions, positions[..., :1] * 0], axis=-1)
    if positions.ndim != 4 or positions.shape[-1] != 3:
        raise ReadError(
            f"{path}: expected positions {SHAPES}, found shape {list(positions.shape)}.{_shape_hint(positions.shape)}"
        )
    if positions.shape[0] > 10 * positions.shape[1] > 0:
        logger.warning("%s: %d people in %d frames; is the order [frames, people, joints, 3]? Expected %s.",
                       path, positions.shape[0], positions.shape[1], SHAPES)  # fmt: skip
    confidence = None if raw.confidence is None else numbers(raw.confidence, f"{path}, confidence")
    if confidence is not None and confidence.ndim == 2:
        confidence = confidence[None]
    return assemble(replace(raw, positions=positions, confidence=confidence), options)


def _shape_hint(shape: tuple[int, ...]) -> str:
    if len(shape) >= 3 and shape[-1] == 2:
        return (
            " Two coordinates look like 2D keypoints, which the weights were not trained on; lift them to 3D, or "
            "say allow_2d=True to go on without depth."
        )
    return " Move the axis of x, y, z to the end." if 3 in shape else ""


def parse_npy(data: bytes, where: str) -> NDArray[Any]:
    """Array of an ``.npy`` file; its size is checked against the bytes that are there before anything is allocated.

    Raises:
        ReadError: Not ``.npy``, cut, or of a type other than numbers and strings.
    """
    buffer = io.BytesIO(data)
    shape, fortran, dtype = read_npy_header(buffer, where)
    if dtype.kind not in "iufUS":
        raise ReadError(f"{where}: expected an array of numbers, found type {dtype}; pickled objects are refused.")
    count, rest = math.prod(shape), len(data) - buffer.tell()
    most = max(rest, CHUNK)  # of an array without elements, whose other sizes may be anything
    if dtype.itemsize == 0 or count * dtype.itemsize > rest or math.prod(max(size, 1) for size in shape) > most:
        raise ReadError(f"{where}: the array is cut: shape {list(shape)} of {dtype} does not fit in {rest} bytes.")
    array: NDArray[Any] = np.frombuffer(data, dtype=dtype, count=count, offset=buffer.tell())
    if dtype.kind == "U" and not _is_text(array):
        raise ReadError(f"{where}: damaged: it holds characters that do not exist.")
    return array.reshape(shape, order="F" if fortran else "C")


def read_npy_header(file: IO[bytes], where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type of an ``.npy`` file, read up to its numbers.

    Raises:
        ReadError: It is none, or no array has that shape.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the compiler, which numpy lets read the header
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
    except Exception as error:  # damage to what is evaluated there surfaces as almost any error
        raise ReadError(f"{where}: not an array of numpy, or cut ({str(error)[:120]}).") from None
    if len(shape) > 8 or any(type(size) is not int or size < 0 for size in shape):
        raise ReadError(f"{where}: damaged: no array has the shape {str(list(shape))[:80]}.")
    return shape, fortran, dtype


def _is_text(array: NDArray[Any]) -> bool:
    """Whether all characters of strings exist; numpy would make a broken string of one that does not."""
    codes = array.view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
    return bool(((codes < 0xD800) | ((codes > 0xDFFF) & (codes <= 0x10FFFF))).all())


def npz_names(data: bytes) -> set[str]:
    """Names of the arrays of an ``.npz`` file; empty if it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
    except Exception:  # damage to a zip file surfaces as almost any error, and the reader will tell of it
        return set()


def parse_npz(data: bytes, where: str, names: set[str] | None = None) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` file by name.

    Args:
        data: The file.
        where: Its name, for messages.
        names: Arrays to look for; all, if not given.

    Raises:
        ReadError: Not a zip file, damaged, or as :func:`parse_npy`.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            if names is not None:
                members = [info for info in members if info.filename.removesuffix(".npy") in names]
            if sum(info.file_size for info in members) > unpacked_limit(len(data)):
                raise ReadError(
                    f"{where}: {len(data):,} bytes unpack to more than {unpacked_limit(len(data)):,}, too much for one "
                    "recording; write it again with numpy.savez."
                )
            for info in members:
                name = info.filename.removesuffix(".npy")
                arrays[name] = parse_npy(archive.read(info), f"{where}, array {name!r}")
    except ReadError:
        raise
    except Exception as error:  # damage to a zip file surfaces as almost any error
        raise ReadError(f"{where}: damaged or cut .npz file ({error}); copy or write it again.") from None
    return arrays


def numbers(array: NDArray[Any], where: str) -> NDArray[np.floating]:
    """A copy of an array as floats; raises :class:`ReadError` if it does not hold numbers."""
    if array.dtype.kind not in "iuf":
        raise ReadError(f"{where}: expected numbers, found type {array.dtype}.")
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is infinite, and refused as such
        values = array.astype(np.float64 if array.dtype.itemsize > 4 else np.float32)
    values[np.isnan(values)] = np.nan  # numpy warns of every use of a signalling NaN
    return values


def scalar(array: NDArray[Any], where: str) -> Any:
    """The only value of an array; raises :class:`ReadError` if it has more or less."""
    if array.size != 1:
        raise ReadError(f"{where}: expected one value, found shape {list(array.shape)}.")
    value = array.reshape(()).item()
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _named(arrays: dict[str, NDArray[Any]], positions: NDArray[Any], path: StrPath) -> LayoutLike:
    names, parents = arrays["joints"], arrays.get("parents")
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise ReadError(f"{path}: expected 'joints' to be a list of names, found {names.dtype} {list(names.shape)}.")
    if parents is not None and (parents.shape != names.shape or parents.dtype.kind not in "iu"):
        raise ReadError(f"{path}: expected 'parents' to be {len(names)} integers, found {list(parents.shape)}.")
    joints = [name.decode("latin-1") if isinstance(name, bytes) else name for name in names.tolist()]
    poses = None
    if positions.dtype.kind in "iuf" and positions.ndim in (3, 4) and positions.shape[-2:] == (len(joints), 3):
        poses = sample_frames(positions if positions.ndim == 4 else positions[None])
    return find_layout(joints, None if parents is None else parents.tolist(), poses)


def _split_columns(table: NDArray[np.floating], path: StrPath, layout: LayoutLike | None) -> NDArray[np.floating]:
    """[T, V*3] or [T, M*V*3] -> [M, T, V, 3]."""
    columns = table.shape[1]
    if layout is None:
        people = 2 if columns == 150 else 1  # the width of NTU and PKU with two people
        joints = columns // (3 * people)
    else:
        joints = len(choose_layout(layout, 0, path).joints)
        people = columns // (3 * joints)
    if not columns or columns != people * joints * 3:
        hint = " It looks like 2D keypoints; lift them to 3D." if joints and columns % (2 * joints) == 0 else ""
        wanted = "joints * 3" if layout is None else f"a multiple of {joints * 3} ({joints} joints * 3)"
        raise ReadError(f"{path}: expected {wanted} columns a frame, found {columns}.{hint}")
    return split_rows(table, people)


FORMAT = Format("numpy", (".npz", ".npy"), "arrays [T, V, 3], [M, T, V, 3] or [T, V*3]", read)
