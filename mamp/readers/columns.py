"""Named columns of a CSV file or a data frame; only those that are asked for need to be numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mamp.errors import ReadError
from mamp.readers.files import StrPath, check_numbers, decimal_comma, read_lines


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
        values = []
        try:
            for cell in self.values[index]:
                values.append(np.nan if _is_blank(cell) else float(cell))
        except (TypeError, ValueError, OverflowError):
            row, found = len(values) + 1, str(self.values[index][len(values)]).strip()[:40]
            raise ReadError(
                f"{self.where}: expected a number in row {row}, column {index + 1}, found {found!r}."
                f"{decimal_comma(found)}"
            ) from None
        column = np.array(values, dtype=np.float64)
        check_numbers(column, self.where)
        return column

    def table(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """Several columns of numbers, [rows, columns]."""
        return np.stack([self.numbers(index) for index in indices], axis=1)


def read_columns(path: StrPath) -> Columns:
    """Columns of a CSV file, separated by commas, semicolons or tabs; without a header if its first row is numbers.

    Raises:
        ReadError: The file is missing or empty, or rows differ in length.
    """
    lines = read_lines(path)
    header, delimiter = split_header(lines[0])
    named = not all(_is_number(cell) for cell in header)
    if named and len(lines) < 2:
        raise ReadError(f"{path}: expected a row for each frame after the header, found none.")
    rows = [line.split(delimiter) for line in lines[1 if named else 0 :]]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ReadError(
                f"{path}: expected {len(header)} cells a row, found {len(row)} in row {number}. Is it cut?"
                f"{decimal_comma(' '.join(row))}"
            )
    return Columns(header if named else [], list(zip(*rows, strict=True)), str(path))


def split_header(line: str) -> tuple[list[str], str]:
    """Cells of the first line of a CSV file, and what separates them."""
    delimiter = next((mark for mark in ";\t" if mark in line), ",")
    return [cell.strip().strip('"') for cell in line.split(delimiter)], delimiter


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip(' \t\r\n"')) or str(cell) in ("<NA>", "NaT")


def _text(cell: Any) -> str:
    if isinstance(cell, float | np.floating) and cell == int(cell):
        cell = int(cell)
    return str(cell).strip().strip('"')
