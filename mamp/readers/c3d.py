"""C3D: positions of markers (optical motion capture), in any of the three processor formats, as floats or integers.

Markers become joints as :mod:`mamp.readers.markers` says. The unit is that of POINT:UNITS and the axis that points up
that of POINT:Y_SCREEN; where the file has neither, they are inferred. A marker of negative residual was not seen.

Real writers disagree about everything that positions do not depend on: they count frames from 0 or 1, repeat
parameters, or announce other analog channels than they write. Only what is needed to find the positions is read here,
and where two places of the file disagree, the one that fits the bytes that are there is taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.files import read_bytes
from mamp.readers.markers import Markers, known_unit, marker_format

MAGIC = 0x50  # second byte of every file
BLOCK = 512
DEC, SGI = 85, 86  # processors other than Intel's
LONG = 0xFFFF  # the largest number of frames that the header can say
PARAMETERS = 100_000
POSE = 17  # numbers of the pose of a segment

Parameters = dict[str, Any]


@dataclass(frozen=True)
class _Shape:
    """How the frames lie in the file: ``size`` bytes each from ``start`` on, the markers first."""

    start: int
    frames: int
    markers: int
    size: int


@np.errstate(all="ignore")  # numbers may be anything, a NaN that signals at each use among them
def parse_c3d(data: bytes, where: str) -> Markers:
    """Markers of a file.

    Raises:
        ReadError: The bytes are no such file, or damaged.
    """
    if len(data) < BLOCK or data[1] != MAGIC:
        raise ReadError(
            f"{where}: not a C3D file, or cut: expected a header of {BLOCK} bytes with {MAGIC} as its second."
        )
    section = (max(data[0], 1) - 1) * BLOCK
    processor = data[section + 3] if section + 4 <= len(data) else 0
    numbers = _Numbers(processor)
    parameters = _parameters(data, section + 4, numbers)
    scale = _number(parameters, "POINT:SCALE", float(numbers.floats(data[12:16])[0]))
    if "ROTATION:USED" in parameters and _number(parameters, "POINT:USED", 0) < 1:
        labels, positions = _segments(data, parameters, numbers, where)
    else:
        shape = _shape(data, parameters, numbers, 4 if scale < 0 else 2, where)
        labels, positions = _labels(parameters, shape.markers), _positions(data, shape, scale, numbers)
    rate = _number(parameters, "POINT:RATE", float(numbers.floats(data[20:24])[0]))
    return Markers(
        labels,
        positions,
        fps=rate if 0 < rate < 1e6 else None,
        unit=known_unit(_text(parameters, "POINT:UNITS")),
        up=_up(_text(parameters, "POINT:Y_SCREEN")),
    )


class _Numbers:
    """Numbers as the processor writes them: little-endian (Intel), big-endian (SGI), or those of the VAX (DEC)."""

    def __init__(self, processor: int) -> None:
        self.order = ">" if processor == SGI else "<"
        self.vax = processor == DEC

    def words(self, data: bytes, signed: bool = False) -> NDArray[Any]:
        return np.frombuffer(data[: len(data) // 2 * 2], dtype=self.order + ("i2" if signed else "u2"))

    def floats(self, data: bytes) -> NDArray[np.float32]:
        data = data[: len(data) // 4 * 4]
        if not self.vax:
            return np.frombuffer(data, dtype=self.order + "f4").astype(np.float32)
        swapped = np.frombuffer(data, dtype="<u2").reshape(-1, 2)[:, ::-1].tobytes()
        return np.frombuffer(swapped, dtype="<f4") / np.float32(4)  # the exponent's bias differs by two


def _parameters(data: bytes, at: int, numbers: _Numbers) -> Parameters:
    """Parameters by ``GROUP:NAME``, of repeated ones the first; what does not make sense ends the list."""
    groups: dict[int, str] = {}
    found: list[tuple[int, str, Any]] = []
    for _ in range(PARAMETERS):
        if at + 2 > len(data) or data[at] == 0:
            break
        length = abs(int.from_bytes(data[at : at + 1], "little", signed=True))  # negative: locked
        number = int.from_bytes(data[at + 1 : at + 2], "little", signed=True)
        name = data[at + 2 : at + 2 + length].decode("latin-1").strip().upper()
        at += 2 + length
        if at + 2 > len(data):
            break
        offset = int(numbers.words(data[at : at + 2])[0])
        if number < 0:
            groups.setdefault(-number, name)
        elif number > 0:
            found.append((number, name, _value(data, at + 2, numbers)))
        if offset < 2:
            break
        at += offset
    parameters: Parameters = {}
    for number, name, value in found:
        parameters.setdefault(f"{groups.get(number, '')}:{name}", value)
    return parameters


def _value(data: bytes, at: int, numbers: _Numbers) -> Any:
    """Texts or numbers of one parameter, flat; ``None`` if it is cut."""
    if at + 2 > len(data):
        return None
    kind, rank = int.from_bytes(data[at : at + 1], "little", signed=True), data[at + 1]
    dims = data[at + 2 : at + 2 + rank]
    at += 2 + rank
    raw = data[at : at + abs(kind) * math.prod(dims)]
    if kind == -1:
        width = dims[0] if dims else 1
        return [raw[i : i + width].decode("latin-1").strip(" \0") for i in range(0, len(raw), max(width, 1))]
    if kind == 1:
        return list(raw)
    return {2: numbers.words, 4: numbers.floats}.get(kind, lambda raw: np.zeros(0))(raw).tolist()


def _shape(data: bytes, parameters: Parameters, numbers: _Numbers, width: int, where: str) -> _Shape:
    """How the frames lie; header and parameters are asked, and the first answer that the file can hold is taken."""
    header = numbers.words(data[:24])
    markers = int(_number(parameters, "POINT:USED", header[1]))
    blocks = [int(header[8]), int(_number(parameters, "POINT:DATA_START", 0))]
    start = next(((block - 1) * BLOCK for block in blocks if 1 < block <= len(data) // BLOCK), len(data))
    rest = len(data) - start
    sizes = [width * (4 * markers + analog) for analog in _analog(parameters, header)]
    counts = list(_frames(parameters, header))
    frames = next((count for count in counts if count * min(sizes) <= rest), 0)
    if markers < 1 or frames < 1:
        raise ReadError(
            f"{where}: damaged or cut: {counts[0] if counts else 0} frames of {markers} markers announced in "
            f"{len(data)} bytes."
        )
    # Frames fill whole blocks, so the right size leaves less than one.
    fits = [size for size in sizes if frames * size <= rest]
    filled = [size for size in fits if rest - frames * size < BLOCK]
    return _Shape(start, frames, markers, (filled or fits)[0])


def _frames(parameters: Parameters, header: NDArray[Any]) -> Iterator[int]:
    """Numbers of frames that the file announces. Two bytes hold no more than 65,535; then other parameters say it."""
    ends = [parameters.get(f"TRIAL:ACTUAL_{end}_FIELD") or [] for end in ("START", "END")]
    trial = 0
    if all(len(words) == 2 for words in ends):
        first, last = ((int(low) % (LONG + 1)) + (int(high) << 16) for low, high in ends)
        trial = last - first + 1
    long = int(_number(parameters, "POINT:LONG_FRAMES", 0))
    used = int(_number(parameters, "POINT:FRAMES", 0))
    yield from (count for count in (trial, long) if count > LONG)
    yield from (count for count in (used, int(header[4]) - int(header[3]) + 1, trial) if count > 0)


def _analog(parameters: Parameters, header: NDArray[Any]) -> list[int]:
    """Analog samples of each frame that the file may mean."""
    used = int(_number(parameters, "ANALOG:USED", 0))
    rate, points = _number(parameters, "ANALOG:RATE", 0), _number(parameters, "POINT:RATE", 0)
    ratio = round(rate / points) if points > 0 and 0 < rate / points < LONG else 0
    return list(dict.fromkeys([int(header[2]), used * int(header[9]), used * ratio, 0]))


def _positions(data: bytes, shape: _Shape, scale: float, numbers: _Numbers) -> NDArray[np.float64]:
    """[T, markers, 3], NaN where not seen."""
    table = np.frombuffer(data, np.uint8, shape.frames * shape.size, shape.start).reshape(shape.frames, -1)
    width = 16 if scale < 0 else 8
    raw = np.ascontiguousarray(table[:, : shape.markers * width]).tobytes()
    values = numbers.floats(raw) if scale < 0 else numbers.words(raw, signed=True).astype(np.float32)
    points = values.reshape(shape.frames, shape.markers, 4)
    found = points[..., :3] if scale < 0 else points[..., :3] * np.float32(scale)
    positions: NDArray[np.float64] = np.where(points[..., 3:] < 0, np.nan, found.astype(np.float64))
    positions[np.isnan(positions)] = np.nan  # numpy warns of every use of a signalling NaN
    return positions


def _segments(
    data: bytes, parameters: Parameters, numbers: _Numbers, where: str
) -> tuple[list[str], NDArray[np.float64]]:
    """Labels and origins [T, N, 3] of segments, where a file has their poses but no markers, as Theia3D writes it.

    A pose is a matrix of 4 x 4, column by column, and how sure it is, below zero if the segment was not seen.
    """
    used, ratio = int(_number(parameters, "ROTATION:USED", 0)), int(_number(parameters, "ROTATION:RATIO", 1)) or 1
    start = (int(_number(parameters, "ROTATION:DATA_START", 0)) - 1) * BLOCK
    width = 4 * POSE * used * ratio
    counts = list(_frames(parameters, numbers.words(data[:24])))
    frames = next((count for count in counts if start > 0 < width and start + count * width <= len(data)), 0)
    if not frames:
        raise ReadError(f"{where}: damaged or cut: no markers, and poses of {used} segments that are not there.")
    table = numbers.floats(data[start : start + frames * width]).reshape(frames, ratio, used, POSE)[:, 0]
    origins: NDArray[np.float64] = np.where(table[..., 16:] < 0, np.nan, table[..., 12:15].astype(np.float64))
    origins[np.isnan(origins)] = np.nan
    labels = [str(label) for label in parameters.get("ROTATION:LABELS") or []][:used]
    return labels + [f"segment{number}" for number in range(len(labels), used)], origins


def _labels(parameters: Parameters, markers: int) -> list[str]:
    labels = list(parameters.get("POINT:LABELS") or [])
    for part in range(2, 100):  # 255 to a parameter
        labels += parameters.get(f"POINT:LABELS{part}") or []
    labels = [str(label) for label in labels[:markers]]
    return labels + [f"marker{number}" for number in range(len(labels), markers)]


def _number(parameters: Parameters, name: str, default: float) -> float:
    """First number of a parameter; the default where there is none. Counts are never negative, scales may be."""
    values = parameters.get(name)
    value = values[0] if isinstance(values, list) and values else default
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else float(default)


def _text(parameters: Parameters, name: str) -> str:
    values = parameters.get(name)
    return values[0] if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _up(screen: str) -> str | None:
    """The axis that points up: that of the screen's y."""
    axis = screen.strip().lower().removeprefix("+")
    return axis if axis in ("x", "y", "z", "-x", "-y", "-z") else None


FORMAT = marker_format(
    "c3d", (".c3d",), "C3D markers: joints, a usual marker set, or markers= says which",
    lambda path: parse_c3d(read_bytes(path), str(path)),
)  # fmt: skip
