"""Tables of cells: named columns of a CSV file or a data frame, and rows of the tables of motion capture.

Only the columns that are asked for need to be numbers. In the tables of motion capture cells may be empty or missing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.files import StrPath, check_numbers, decimal_comma, read_text

MAX_COLUMNS = 100_000

Cells = NDArray[np.float64]


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


def split_cells(text: str, where: str) -> list[list[str]]:
    """Rows of cells, separated by tabs, semicolons or commas; an empty line is an empty row.

    Raises:
        ReadError: A quoted cell is damaged.
    """
    delimiter = next((mark for mark in "\t;" if mark in text[:10_000]), ",")
    return [[cell.strip() for cell in row] for row in _rows(text, delimiter, where)]


def parse_cells(rows: Sequence[Sequence[str]], columns: Sequence[int], where: str, *, ended: bool = True) -> Cells:
    """Numbers [rows, columns] of some columns, NaN where a cell is empty.

    Args:
        rows: Cells of each frame; rows may end before their last columns, which were not seen then.
        columns: Which to take.
        where: File, for messages.
        ended: Whether the text ends with a line's end; if not, its last row may be cut.

    Raises:
        ReadError: There are no rows, a cell is no number, infinite or absurdly large, or the last row is cut.
    """
    if not rows:
        raise ReadError(f"{where}: expected frames after the header, found none.")
    if len(columns) > MAX_COLUMNS:
        raise ReadError(f"{where}: {len(columns)} columns are more than any recording has ({MAX_COLUMNS}).")
    width = max(columns, default=-1) + 1
    if len(rows[-1]) < width and (not ended or (len(rows) > 1 and all(len(row) >= width for row in rows[:-1]))):
        raise ReadError(f"{where}: the last row has {len(rows[-1])} of {width} cells. Is the file cut?")
    table = np.full((len(rows), len(columns)), np.nan)
    for number, row in enumerate(rows):
        if len(row) < width:
            row = [*row, *[""] * (width - len(row))]
        try:
            table[number] = [float(cell) if (cell := row[at]) and not cell.isspace() else np.nan for at in columns]
        except ValueError as error:
            raise ReadError(
                f"{where}: row {number + 1} of the frames: {str(error)[:80]}.{decimal_comma(' '.join(row))}"
            ) from None
    check_numbers(table, where)
    return table


def read_columns(path: StrPath, rows: int | None = None) -> Columns:
    """Columns of a CSV file, separated by commas, semicolons or tabs; without a header if its first row is numbers.

    Args:
        path: The file.
        rows: Read at most this many rows after the header.

    Raises:
        ReadError: The file is missing or empty, or rows differ in length.
    """
    text = read_text(path)
    lines = _rows(text, _delimiter(text), str(path), skipinitialspace=True)
    filled = (row for row in lines if len(row) > 1 or any(cell.strip() for cell in row))
    header = [cell.strip() for cell in next(filled, [])]
    if len(header) > MAX_COLUMNS:
        raise ReadError(f"{path}: {len(header)} columns are more than any recording has ({MAX_COLUMNS}).")
    named = not all(_is_number(cell) for cell in header)
    cells = list(islice(filled, rows))
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


def _rows(text: str, delimiter: str, where: str, **how: Any) -> Iterator[list[str]]:
    try:
        yield from csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, **how)
    except csv.Error as error:
        raise ReadError(f"{where}: not a table of cells, or damaged ({error}).") from None


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
