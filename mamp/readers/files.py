"""Bytes, text and tables of numbers from a file, with errors that say what is wrong with it."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mamp.errors import MissingFileError, ReadError
from mamp.readers.archive import CHUNK, list_members, read_member, split_archive

StrPath = str | PathLike[str]

MAX_BYTES = 4 << 30
MOST_UNPACKED = 128 << 20
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")
LARGEST = 1e9  # no coordinate, angle or length of a recording is larger, in any unit


def read_bytes(path: StrPath) -> bytes:
    """Read a file, which may lie in a zip file (``data.zip/file.txt``); unpacked if it is gzipped.

    Raises:
        MissingFileError: There is no such file.
        ReadError: It is a folder, empty, unreadable, or damaged gzip.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ReadError(f"{path} is a folder; expected a file with one recording.")
        inside = None if path.exists() else split_archive(path)
        data = path.read_bytes() if inside is None else read_member(*inside, unpacked_limit)
    except MissingFileError:
        raise
    except FileNotFoundError:
        parent = "" if path.parent.is_dir() else f" (nor the folder {path.parent})"
        raise MissingFileError(f"no such file: {path}{parent}. Check the path.") from None
    except (OSError, ValueError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path} cannot be read: {error}.") from None
    if data[:2] == b"\x1f\x8b":
        try:
            packed, data = len(data), _unpack(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ReadError(f"{path}: damaged or cut gzip file ({error}); copy or download it again.") from None
        if len(data) > unpacked_limit(packed):
            raise ReadError(
                f"{path}: {packed:,} bytes unpack to more than {unpacked_limit(packed):,}; unpack it first."
            )
    if len(data) > MAX_BYTES:
        raise ReadError(f"{path}: larger than {MAX_BYTES >> 30} GiB, too large for one recording; cut it into clips.")
    if not data.strip():
        raise ReadError(f"{path} is empty; expected a recording.")
    return data


def _unpack(data: bytes) -> bytes:
    """Unpacked gzip, read in chunks up to :func:`unpacked_limit` and at most one chunk more."""
    unpacked = bytearray()
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        while len(unpacked) <= unpacked_limit(len(data)) and (chunk := file.read(CHUNK)):
            unpacked += chunk
    return bytes(unpacked)


def unpacked_limit(packed: int) -> int:
    """Largest size that ``packed`` bytes may unpack to; recordings shrink to about a tenth, bombs to a thousandth."""
    return min(MAX_BYTES, max(MOST_UNPACKED, 100 * packed))


def list_folder(folder: Path) -> list[Path]:
    """Files and folders in a folder, or files in a folder of a zip file; empty where there is no such folder.

    Raises:
        ReadError: It may not be read, or the zip file is damaged.
    """
    try:
        if folder.is_dir():
            return sorted(folder.iterdir())
    except OSError as error:
        raise ReadError(f"{folder} cannot be read: {error}.") from None
    inside = split_archive(folder / "_")
    return [] if inside is None else sorted(path for path in list_members(inside[0]) if path.parent == folder)


def frame_files(folder: Path) -> list[Path]:
    """JSON files of a folder, by the last number in their names."""

    def number(file: Path) -> tuple[int, str]:
        numbers = re.findall(r"\d+", file.stem)
        return (int(numbers[-1][:18]) if numbers else -1), file.name

    return sorted((file for file in list_folder(folder) if file.suffix.lower() == ".json"), key=number)


def recording_files(path: StrPath, writer: str) -> list[Path]:
    """A file, or the files of a folder with one frame each, in order.

    Raises:
        MissingFileError: The folder holds none.
    """
    path = Path(path)
    files = frame_files(path) if path.is_dir() else [path]
    if not files:
        raise MissingFileError(f"{path}: expected a folder of JSON files as {writer} writes them, found none.")
    return files


def read_text(path: StrPath) -> str:
    """Read a text file: UTF-8 or UTF-16 with or without byte order mark, else Latin-1; lines end in ``\\n``.

    Raises:
        ReadError: As :func:`read_bytes`, or the file is binary.
    """
    data = read_bytes(path)
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in data and not wide:
        raise ReadError(f"{path}: binary data; this format is text. Give the right format= if it is another one.")
    text = _decode(data, "utf-16" if wide else "utf-8-sig")
    if not text.strip():
        raise ReadError(f"{path} is empty; expected a recording.")
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _decode(data: bytes, encoding: str) -> str:
    """Text of a file; what is not in its encoding is Japanese, if it has names of joints then, or Latin-1."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        japanese = data.decode("cp932", errors="replace")  # MikuMikuDance
        return japanese if re.search("[左右][腕足]", japanese) else data.decode("latin-1")


def read_lines(path: StrPath) -> list[str]:
    """Lines of a text file that hold anything."""
    return [line for line in read_text(path).splitlines() if line.strip()]


def parse_table(
    lines: Sequence[str],
    where: str,
    columns: int | None = None,
    first: int | None = None,
    delimiter: str | None = None,
) -> NDArray[np.float64]:
    """Numbers of lines that hold equally many, separated by white space or by ``delimiter``.

    Args:
        lines: At least one line.
        where: File, and part of it, for messages.
        columns: How many numbers each line must hold.
        first: Only read this many at the start of each line.
        delimiter: What separates the numbers, if not white space.

    Returns:
        [lines, columns] float64, finite or NaN.

    Raises:
        ReadError: Something is not a number, lines differ in length, or a number is infinite or absurdly large.
    """
    usecols = None if first is None else range(first)
    try:
        table = np.loadtxt(lines, dtype=np.float64, comments=None, ndmin=2, usecols=usecols, delimiter=delimiter)
    except ValueError as error:
        reason = str(error).split(";")[0].replace("float64", "a number")
        advice = decimal_comma(lines[0]) or " Is the file cut?"
        raise ReadError(f"{where}: expected rows of equally many numbers; {reason}.{advice}") from None
    if columns is not None and table.shape[1] != columns:
        doubled = delimiter == "," and table.shape[1] == 2 * columns
        advice = decimal_comma("0,0" if doubled else lines[0])
        raise ReadError(f"{where}: expected {columns} numbers a row, found {table.shape[1]}.{advice}")
    check_numbers(table, where)
    return table


def decimal_comma(text: str) -> str:
    """Advice for text that is not a number, or not a row of them, if it looks like decimal commas; else nothing."""
    if any(DECIMAL_COMMA.fullmatch(word) for word in re.split(r"[;\s]+", text[:10_000])):
        return " It seems to have decimal commas: export it with points, 1.5 instead of 1,5."
    return ""


def check_numbers(values: NDArray[np.floating], where: str, *, nan: bool = True) -> None:
    """Refuse infinite or absurd numbers, and NaN where it makes no sense.

    Raises:
        ReadError: There are any.
    """
    # Compared so that NaN, where allowed, passes.
    bad = (values > LARGEST) | (values < -LARGEST)
    if not nan:
        bad |= np.isnan(values)
    if bad.any():
        expected = "NaN (not tracked) or numbers" if nan else "numbers"
        raise ReadError(
            f"{where}: expected {expected} below {LARGEST:g}, found {values[bad].flat[0]}. "
            + ("Write NaN where nothing was tracked." if nan else "Export the file again.")
        )


def parse_int(text: str, where: str, what: str) -> int:
    """An integer of zero or more.

    Raises:
        ReadError: It is not one.
    """
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise ReadError(f"{where}: expected {what}, found {text.strip()[:40]!r}.")
    return value


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, a repeated one with as many underscores as it takes to tell it from those before."""
    found: dict[str, None] = {}
    repeats: Counter[str] = Counter()
    for name in names:
        while (distinct := name + "_" * repeats[name]) in found:
            repeats[name] += 1
        found[distinct] = None
    return list(found)
