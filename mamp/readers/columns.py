"""Named columns of a CSV file or a data frame; only those that are asked for need to be numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.files import StrPath, check_numbers, decimal_comma, read_text

MAX_COLUMNS = 100_000


@dataclass(frozen=True, eq=False)
class Columns:
    """Columns of one length.

    Attributes:
        header: Their names; empty if they have none.
        values: Their cells, text or numbers.
        where: File, for messages.
    """

    header: list[str]
    values: Sequence[Sequence[Any] | NDArray[Any]]
    where: str

    def __len__(self) -> int:
        return len(self.values[0]) if self.values else 0

    def find(self, names: Sequence[str]) -> int | None:
        """Index of the first column with one of the names, which are in lower case."""
        lower = [name.lower() for name in self.header]
        return next((lower.index(name) for name in names if name in lower), None)

    def texts(self, index: int) -> list[str]:
        """Cells of a column as text; whole numbers without a decimal point."""
        return [_text(cell) for cell in self.values[index]]

    def numbers(self, index: int) -> NDArray[np.float64]:
        """Cells of a column as numbers; NaN where there is none.

        Raises:
            ReadError: A cell is something else, infinite or absurdly large.
        """
        cells = self.values[index]
        try:
            if isinstance(cells, tuple):  # text of a file: at once, as nearly all columns can be
                column = np.array([float(cell) if cell else np.nan for cell in cells], dtype=np.float64)
            elif isinstance(cells, np.ndarray) and cells.dtype.kind in "iuf":
                column = cells.astype(np.float64)
            else:
                column = self._one_by_one(index)
        except (TypeError, ValueError):
            column = self._one_by_one(index)
        check_numbers(column, self.where)
        return column

    def _one_by_one(self, index: int) -> NDArray[np.float64]:
        values: list[float] = []
        try:
            for cell in self.values[index]:
                values.append(_number(cell))
        except (TypeError, ValueError, OverflowError):
            row, found = len(values) + 1, str(self.values[index][len(values)]).strip()[:40]
            raise ReadError(
                f"{self.where}: expected a number in row {row}, column {index + 1}, found {found!r}."
                f"{decimal_comma(found)}"
            ) from None
        return np.array(values, dtype=np.float64)

    def table(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """Several columns of numbers, [rows, columns]."""
        return np.stack([self.numbers(index) for index in indices], axis=1)


def read_columns(path: StrPath, rows: int | None = None) -> Columns:
    """Columns of a CSV file, separated by commas, semicolons or tabs; without a header if its first row is numbers.

    Args:
        path: The file.
        rows: Read at most this many rows after the header.

    Raises:
        ReadError: The file is missing or empty, or rows differ in length.
    """
    text = read_text(path)
    try:
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), skipinitialspace=True)
        filled = (row for row in lines if len(row) > 1 or any(cell.strip() for cell in row))
        header = [cell.strip() for cell in next(filled, [])]
        if len(header) > MAX_COLUMNS:
            raise ReadError(f"{path}: {len(header)} columns are more than any recording has ({MAX_COLUMNS}).")
        named = not all(_is_number(cell) for cell in header)
        cells = list(islice(filled, rows))
    except csv.Error as error:
        raise ReadError(f"{path}: not a table of cells, or damaged ({error}).") from None
    if not named:
        cells.insert(0, header)
    if not header or not cells:
        raise ReadError(f"{path}: expected a row for each frame after the header, found none.")
    for number, row in enumerate(cells, start=1):
        if len(row) != len(header):
            raise ReadError(
                f"{path}: expected {len(header)} cells a row, found {len(row)} in row {number}. Is it cut?"
                f"{decimal_comma(' '.join(row))}"
            )
    return Columns(header if named else [], list(zip(*cells, strict=True)), str(path))


def _delimiter(text: str) -> str:
    """What separates the cells of the first line that holds anything, as far as they are not quoted."""
    first = next(line for line in text.splitlines() if line.strip())
    bare = re.sub(r'"[^"]*"', "", first)
    return next((mark for mark in ";\t" if mark in bare), ",")


def _number(cell: Any) -> float:
    if isinstance(cell, str):
        return float(cell) if cell and (cell := cell.strip()) else np.nan
    return np.nan if cell is None or str(cell) in ("<NA>", "NaT") else float(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _text(cell: Any) -> str:
    if isinstance(cell, float | np.floating) and cell == int(cell):
        cell = int(cell)
    return str(cell).strip().strip('"')
